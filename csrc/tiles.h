// Products of matrices on AMX: of bfloat16 numbers, or of float32 numbers at the accuracy of float32.
//
// AMX multiplies bfloat16 (8 significant bits) and adds in float32.  A float32 number is the sum of
// three bfloat16 numbers, x = x0 + x1 + x2, each the rounded remainder of the previous ones.  Six
// of the nine products of the parts matter at 24 bits and are computed (Henry, Tang, Heinecke 2019,
// arXiv:1904.06376):
//
//     x y = x0 y0 + (x0 y1 + x1 y0) + (x0 y2 + x1 y1 + x2 y0) + O(2^-24)
//
// Infinities, and finite numbers above the largest bfloat16, cannot be split in this way.  The
// functions that pack a strip report them, and strips.h multiplies such a strip as floats; in the
// cross-entropy they give NaN.  Subnormal parts count as zero.
//
// A tile has 16 rows of 16 pairs of bfloat16.  A row of a tile of A is a row of A, whose pairs run
// along k.  A row of a tile of B is a pair of successive k, and its columns are columns of B.  A
// block of C is 2 x 2 tiles, which stay in four tile registers while k runs.  Strips of A and B are
// two tiles wide, and packed in the order of use.  PARTS is the number of parts of a number: 1 if
// it is rounded, 3 if it is split.
#pragma once

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#define ELMAN_AMX 1

#include "product.h"

namespace {

constexpr int64_t SIDE = 16, DEPTH = 32;      // rows or columns, and steps of k, of a tile
constexpr int64_t TILE = SIDE * DEPTH;        // bfloat16 numbers in a tile
constexpr int64_t BLOCK = 2 * SIDE;           // rows and columns of a block of C
constexpr float LARGEST = 3.3895314e38f;      // the largest bfloat16 number

// The size in numbers of one step of a strip, which has two tiles of each part.
template <int PARTS>
constexpr int64_t STRIP = 2 * PARTS * TILE;

ELMAN_INLINE int64_t tiles_of(int64_t k) { return (k + DEPTH - 1) / DEPTH; }
ELMAN_INLINE int64_t blocks(int64_t n) { return (n + BLOCK - 1) / BLOCK; }

// The configuration of eight tiles of 16 rows of 64 bytes, in the format that the processor reads.
struct alignas(64) TileSizes {
    uint8_t palette = 1, start = 0, zero[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// It is a constant, because on the stack the compiler could drop parts that it considers unread.
const TileSizes TILE_SIZES;

class Tiles {  // configures the tiles of this thread as long as this object lives
public:
    Tiles() { _tile_loadconfig(&TILE_SIZES); }
    ~Tiles() { _tile_release(); }
};

// Ensures that writes are in memory before tiles are loaded: GCC's intrinsics do not declare their
// reads.
ELMAN_INLINE void finish_writing() { __asm__ volatile("" ::: "memory"); }

ELMAN_INLINE __mmask16 first(int64_t n) {
    return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1);
}
ELMAN_INLINE __m512 widened(__m256i half) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
// Reads floats from memory that has floats or bfloat16 numbers.
ELMAN_INLINE __m512 read(const float* p, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, p); }
ELMAN_INLINE __m512 read(const uint16_t* p, __mmask16 mask) {
    return widened(_mm256_maskz_loadu_epi16(mask, p));
}

// Returns the lanes that cannot be split.  NaN can be split, and makes all its products NaN, as it
// should.
ELMAN_INLINE __mmask16 beyond(__m512 x) {
    return _mm512_cmp_ps_mask(_mm512_abs_ps(x), _mm512_set1_ps(LARGEST), _CMP_GT_OQ);
}

// Splits two registers of floats into PARTS registers of bfloat16, with `low` in the first half of
// each and `high` in the second.
template <int PARTS>
ELMAN_INLINE void split(__m512 low, __m512 high, __m512i (&parts)[PARTS]) {
    for (int i = 0;; ++i) {
        parts[i] = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
        if (i == PARTS - 1) return;
        low = _mm512_sub_ps(low, widened(_mm512_castsi512_si256(parts[i])));
        high = _mm512_sub_ps(high, widened(_mm512_extracti64x4_epi64(parts[i], 1)));
    }
}

// Splits any numbers: parts are cut, not rounded, so that their sum is the number even beyond
// LARGEST.
template <int PARTS>
void split_any(__m512 low, __m512 high, __m512i (&parts)[PARTS]) {
    alignas(64) float x[32];
    alignas(64) uint16_t out[PARTS][32];
    _mm512_store_ps(x, low);
    _mm512_store_ps(x + 16, high);
    for (int i = 0; i < 32; ++i)
        for (int part = 0; part < PARTS; ++part) {
            uint32_t bits;
            std::memcpy(&bits, x + i, 4);
            out[part][i] = static_cast<uint16_t>(bits >> 16);
            bits &= 0xffff0000;
            float cut;
            std::memcpy(&cut, &bits, 4);
            x[i] = std::isfinite(x[i]) ? x[i] - cut : 0;
        }
    for (int part = 0; part < PARTS; ++part) parts[part] = _mm512_load_si512(out[part]);
}

// Packs one step of half a strip: `outer` rows of A or columns of B and `depth` steps of k, with
// zeros beyond.  With ALONG the vectors row(0).. run along k, one for each row or column; otherwise
// they run across k, one for each step of k.  With OF_A the result is a tile of A, otherwise of B.
// Returns whether there is a number that cannot be split.
template <int PARTS, bool ALONG, bool OF_A, bool ANY, class RowOf>
ELMAN_INLINE bool split_tile(const RowOf& row, int64_t at, int64_t outer, int64_t depth, uint16_t* to) {
    __m512i parts[PARTS][16];
    const __m512i pairs = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19,
        3, 18, 2, 17, 1, 16, 0);
    __mmask16 large = 0;
    for (int i = 0; i < 16; ++i) {
        __m512 low = _mm512_setzero_ps(), high = low;
        if (ALONG) {
            if (i < outer) low = read(row(i) + at, first(depth)), high = read(row(i) + at + 16, first(depth - 16));
        } else {
            if (2 * i < depth) low = read(row(2 * i) + at, first(outer));
            if (2 * i + 1 < depth) high = read(row(2 * i + 1) + at, first(outer));
        }
        if (PARTS > 1) large |= beyond(low) | beyond(high);
        __m512i three[PARTS];
        ANY ? split_any(low, high, three) : split(low, high, three);
        for (int j = 0; j < PARTS; ++j)
            parts[j][i] = ALONG ? three[j] : _mm512_permutexvar_epi16(pairs, three[j]);
    }
    for (int j = 0; j < PARTS; ++j) {
        if (ALONG != OF_A) transpose(parts[j]);
        for (int i = 0; i < 16; ++i) _mm512_storeu_si512(to + j * TILE + i * DEPTH, parts[j][i]);
    }
    return large;
}

// Packs one step of a strip of A or B, from k0 on: at most 32 rows (columns) of outer0..outer.
// Returns whether it has numbers that cannot be split.
template <int PARTS, bool ALONG, bool OF_A, class RowOf>
bool pack_step(const RowOf& row, int64_t outer0, int64_t outer, int64_t k0, int64_t k, uint16_t* to) {
    bool any = false;
    for (int64_t half = 0; half < 2; ++half, to += PARTS * TILE) {
        const int64_t o = outer0 + half * SIDE, at = ALONG ? k0 : o, from = ALONG ? o : k0;
        const auto vector = [&](int64_t i) { return row(from + i); };
        if (o >= outer)
            std::memset(to, 0, PARTS * TILE * sizeof(uint16_t));
        else if (split_tile<PARTS, ALONG, OF_A, false>(vector, at, outer - o, k - k0, to))
            any |= split_tile<PARTS, ALONG, OF_A, true>(vector, at, outer - o, k - k0, to);
    }
    return any;
}

// Packs a whole strip of `tiles` steps.
template <int PARTS, bool ALONG, bool OF_A, class RowOf>
bool pack_strip(const RowOf& row, int64_t outer0, int64_t outer, int64_t k0, int64_t k, int64_t tiles, uint16_t* to) {
    bool any = false;
    for (int64_t t = 0; t < tiles; ++t)
        any |= pack_step<PARTS, ALONG, OF_A>(row, outer0, outer, k0 + t * DEPTH, k, to + t * STRIP<PARTS>);
    return any;
}

// The vectors of a dense matrix.
template <class T>
struct Dense {
    const T* p;
    int64_t stride;
    const T* operator()(int64_t i) const { return p + i * stride; }
};

// Computes ROWS x COLUMNS tiles of C, which begin with `from`; a step of 0 repeats its row.  Tile
// registers 0-3 hold C, 4 and 5 a part of A, and 6 and 7 a part of B.
template <int PARTS, int ROWS, int COLUMNS>
void block_of_tiles(const uint16_t* a, const uint16_t* b, int64_t tiles, const float* from, int64_t from_step,
                    float* c, int64_t ldc) {
    const int64_t row = ldc * 4, from_row = from_step * 4;
    finish_writing();
    if (from) {
        _tile_loadd(0, from, from_row);
        if (COLUMNS == 2) { _tile_loadd(1, from + SIDE, from_row); }
        if (ROWS == 2) { _tile_loadd(2, from + SIDE * from_step, from_row); }
        if (ROWS == 2 && COLUMNS == 2) { _tile_loadd(3, from + SIDE * from_step + SIDE, from_row); }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    // With several parts the next step is fetched into the L1 cache meanwhile; with one part this
    // was slower.
    const auto fetch = [&](int64_t part) {
        for (int64_t i = 0; i < 2 * TILE; i += 32) {
            PREFETCH(a + STRIP<PARTS> + part * 2 * TILE + i, 3);
            PREFETCH(b + STRIP<PARTS> + part * 2 * TILE + i, 3);
        }
    };
#define LOAD_A(part) \
    _tile_loadd(4, a + (part) * TILE, 64); \
    if (ROWS == 2) { _tile_loadd(5, a + (PARTS + (part)) * TILE, 64); }
#define LOAD_B(part) \
    _tile_loadd(6, b + (part) * TILE, 64); \
    if (COLUMNS == 2) { _tile_loadd(7, b + (PARTS + (part)) * TILE, 64); }
#define MULTIPLY \
    _tile_dpbf16ps(0, 4, 6); \
    if (COLUMNS == 2) { _tile_dpbf16ps(1, 4, 7); } \
    if (ROWS == 2) { _tile_dpbf16ps(2, 5, 6); } \
    if (ROWS == 2 && COLUMNS == 2) { _tile_dpbf16ps(3, 5, 7); }
    for (int64_t t = 0; t < tiles; ++t, a += STRIP<PARTS>, b += STRIP<PARTS>) {
        if constexpr (PARTS == 1) {
            LOAD_A(0) LOAD_B(0) MULTIPLY
        } else {
            // The small products come first; most products change one side only.
            LOAD_A(0) LOAD_B(2) MULTIPLY
            fetch(0);
            LOAD_B(1) MULTIPLY
            LOAD_A(1) MULTIPLY
            fetch(1);
            LOAD_B(0) MULTIPLY
            LOAD_A(2) MULTIPLY
            fetch(2);
            LOAD_A(0) MULTIPLY
        }
    }
#undef LOAD_A
#undef LOAD_B
#undef MULTIPLY
    _tile_stored(0, c, row);
    if (COLUMNS == 2) { _tile_stored(1, c + SIDE, row); }
    if (ROWS == 2) { _tile_stored(2, c + SIDE * ldc, row); }
    if (ROWS == 2 && COLUMNS == 2) { _tile_stored(3, c + SIDE * ldc + SIDE, row); }
}

}  // namespace

#endif
