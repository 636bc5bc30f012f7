// Products of float32 matrices on AMX, at the accuracy of float32.
//
// AMX multiplies bfloat16 (8 significant bits) and adds in float32.  A float32 number is the sum of
// three bfloat16 numbers, x = x0 + x1 + x2, each the rounded remainder of the previous ones; six of
// the nine products of the parts matter at 24 bits and are computed (Henry, Tang, Heinecke 2019,
// arXiv:1904.06376):
//
//     x y = x0 y0 + (x0 y1 + x1 y0) + (x0 y2 + x1 y1 + x2 y0) + O(2^-24)
//
// Unlike in a float32 product, an infinity gives NaN, and so do numbers above 3.38e38, which have no
// bfloat16; subnormal parts count as zero.
//
// A tile holds 16 rows of 16 pairs of bfloat16.  In A a row is a row, and pairs run along k; in B a
// row is a pair of k, and columns are columns.  A block of C is 2 x 2 tiles, kept in four tile
// registers while k runs; strips of A and B, two tiles wide, lie packed in the order of use.
#pragma once

#include "bfloat16.h"

namespace {

constexpr int64_t SIDE = 16, DEPTH = 32;      // of a tile: rows or columns, and steps of k
constexpr int64_t TILE = SIDE * DEPTH;        // bfloat16 numbers
constexpr int64_t BLOCK = 2 * SIDE;           // rows and columns of a block of C
constexpr int64_t STRIP = 2 * 3 * TILE;       // one step of a strip: two tiles in three parts each

// The steps of a matrix factor: rows (of A) or columns (of B) lie `stride` floats apart, and steps of
// the sum over k `k_stride`; one of the two is 1.
struct Factor { const float* p; int64_t stride, k_stride; };

// Two registers of floats as three of bfloat16: `low` in the first half of each, `high` in the other.
ELMAN_INLINE void split(__m512 low, __m512 high, __m512i (&parts)[3]) {
    for (int i = 0;; ++i) {
        parts[i] = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
        if (i == 2) return;
        const auto back = [](__m256i half) {
            return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
        };
        low = _mm512_sub_ps(low, back(_mm512_castsi512_si256(parts[i])));
        high = _mm512_sub_ps(high, back(_mm512_extracti64x4_epi64(parts[i], 1)));
    }
}

ELMAN_INLINE __mmask16 first(int64_t n) {
    return n >= 16 ? 0xffff : n <= 0 ? 0 : static_cast<__mmask16>((1u << n) - 1);
}

// One tile in three parts: `outer` rows of A or columns of B, `depth` steps of k, zeros beyond.
// ALONG: k runs along memory, else the rows (columns) do.  OF_A: as a tile of A, else of B.
template <bool ALONG, bool OF_A>
ELMAN_INLINE void split_tile(const float* p, int64_t stride, int64_t outer, int64_t depth, uint16_t* to) {
    __m512i parts[3][16];
    const __m512i pairs = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19,
        3, 18, 2, 17, 1, 16, 0);
    for (int i = 0; i < 16; ++i) {
        __m512 low, high;
        if (ALONG) {
            const bool there = i < outer;
            low = _mm512_maskz_loadu_ps(there ? first(depth) : 0, p + i * stride);
            high = _mm512_maskz_loadu_ps(there ? first(depth - 16) : 0, p + i * stride + 16);
        } else {
            low = _mm512_maskz_loadu_ps(2 * i < depth ? first(outer) : 0, p + 2 * i * stride);
            high = _mm512_maskz_loadu_ps(2 * i + 1 < depth ? first(outer) : 0, p + (2 * i + 1) * stride);
        }
        __m512i three[3];
        split(low, high, three);
        for (int j = 0; j < 3; ++j)
            parts[j][i] = ALONG ? three[j] : _mm512_permutexvar_epi16(pairs, three[j]);
    }
    for (int j = 0; j < 3; ++j) {
        if (ALONG != OF_A) transpose(parts[j]);
        for (int i = 0; i < 16; ++i) _mm512_store_si512(to + j * TILE + i * DEPTH, parts[j][i]);
    }
}

// A strip of A or B: rows (columns) first.., k from..from + 32 * tiles.
template <bool OF_A>
void pack_strip(const Factor& x, int64_t first, int64_t outer, int64_t from, int64_t k, int64_t tiles,
                uint16_t* to) {
    const bool along = x.k_stride == 1;
    for (int64_t t = 0; t < tiles; ++t)
        for (int64_t half = 0; half < 2; ++half, to += 3 * TILE) {
            const int64_t o = first + half * SIDE, d = from + t * DEPTH;
            const float* p = x.p + o * x.stride + d * x.k_stride;
            if (o >= outer)
                std::memset(to, 0, 3 * TILE * sizeof(uint16_t));
            else if (along)
                split_tile<true, OF_A>(p, x.stride, outer - o, k - d, to);
            else
                split_tile<false, OF_A>(p, x.k_stride, outer - o, k - d, to);
        }
}

// 32 x 32 of C.  Tile registers 0-3 hold it, 4 and 5 a part of A, 6 and 7 a part of B.
void block_of_tiles(const uint16_t* a, const uint16_t* b, int64_t tiles, float* c, int64_t ldc, bool add) {
    const int64_t row = ldc * 4;
    finish_writing();
    if (add) {
        _tile_loadd(0, c, row);
        _tile_loadd(1, c + SIDE, row);
        _tile_loadd(2, c + SIDE * ldc, row);
        _tile_loadd(3, c + SIDE * ldc + SIDE, row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
#define LOAD_A(part) \
    _tile_loadd(4, a + (part) * TILE, 64); \
    _tile_loadd(5, a + (3 + (part)) * TILE, 64)
#define LOAD_B(part) \
    _tile_loadd(6, b + (part) * TILE, 64); \
    _tile_loadd(7, b + (3 + (part)) * TILE, 64)
#define MULTIPLY \
    _tile_dpbf16ps(0, 4, 6); \
    _tile_dpbf16ps(1, 4, 7); \
    _tile_dpbf16ps(2, 5, 6); \
    _tile_dpbf16ps(3, 5, 7)
    for (int64_t t = 0; t < tiles; ++t, a += STRIP, b += STRIP) {
        // The small products first; every step but the last changes one side only.
        LOAD_A(0); LOAD_B(2); MULTIPLY;
        LOAD_B(1); MULTIPLY;
        LOAD_A(1); MULTIPLY;
        LOAD_B(0); MULTIPLY;
        LOAD_A(2); MULTIPLY;
        LOAD_A(0); MULTIPLY;
    }
#undef LOAD_A
#undef LOAD_B
#undef MULTIPLY
    _tile_stored(0, c, row);
    _tile_stored(1, c + SIDE, row);
    _tile_stored(2, c + SIDE * ldc, row);
    _tile_stored(3, c + SIDE * ldc + SIDE, row);
}

}  // namespace
