// Products of bfloat16 numbers with sums in float: on the tiles of AMX, or by AVX-512's instruction for
// pairs (product.h).
//
// On tiles:
// A tile is 16 rows of 64 bytes: 16 x 32 numbers of A, or 32 x 16 of W with two successive k side by
// side.  W is packed as such tiles, panels of 32 columns one after the other, in each of which k
// runs.  Rows of A are padded to 16, and k to 32 with zeros.
#pragma once

#include "product.h"

#if defined(__AMX_BF16__) && defined(__AVX512BF16__)
#define ELMAN_AMX 1
#endif

namespace {

ELMAN_INLINE int64_t padded_k(int64_t k) { return (k + 31) / 32 * 32; }
// In floats, two numbers each.
ELMAN_INLINE int64_t packed_size_bf16(int64_t k, int64_t columns) {
    return (columns + 31) / 32 * 32 * padded_k(k) / 2;
}

#if defined(ELMAN_AMX)

constexpr bool BFLOAT16 = true;  // this instruction set multiplies it

// Eight tiles of 16 rows of 64 bytes, as the instruction that sets them up reads it.
struct alignas(64) TileSizes {
    uint8_t palette = 1, start = 0, zero[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// A constant in memory: on the stack the compiler could drop the parts it believes to be unread.
const TileSizes TILE_SIZES;

// Writes must be in memory before tiles are loaded: GCC's intrinsics do not declare their reads.
ELMAN_INLINE void finish_writing() { __asm__ volatile("" ::: "memory"); }

class Tiles {  // of this thread, as long as this object lives
public:
    Tiles() { _tile_loadconfig(&TILE_SIZES); }
    ~Tiles() { _tile_release(); }
};

uint16_t to_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 64);  // NaN
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// One tile of W from row k0 and column c0 on; w holds W (k, columns), or W^T.
void pack_tile(const float* w, int64_t k, int64_t columns, bool transposed, int64_t k0, int64_t c0, uint16_t* to) {
    for (int64_t i = 0; i < 32; ++i)
        for (int64_t j = 0; j < 16; ++j) {
            const int64_t row = k0 + i, column = c0 + j;
            const bool inside = column < columns && row < k;
            to[i / 2 * 32 + j * 2 + i % 2] =
                !inside ? 0 : to_bf16(transposed ? w[column * k + row] : w[row * columns + column]);
        }
}

// One tile of W that is wholly inside.
void pack_whole_tile(const float* w, int64_t k, int64_t columns, bool transposed, int64_t k0, int64_t c0, uint16_t* to) {
    if (transposed) {  // two successive k of one column lie side by side already
        alignas(64) uint32_t pairs[16][16];
        for (int64_t j = 0; j < 16; ++j) {
            const float* from = w + (c0 + j) * k + k0;
            const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + 16), _mm512_loadu_ps(from));
            std::memcpy(pairs[j], &rounded, 64);
        }
        auto* out = reinterpret_cast<uint32_t*>(to);
        for (int64_t i = 0; i < 16; ++i)
            for (int64_t j = 0; j < 16; ++j) out[i * 16 + j] = pairs[j][i];
        return;
    }
    alignas(64) uint16_t order[32];
    for (int i = 0; i < 32; ++i) order[i] = static_cast<uint16_t>(i / 2 + i % 2 * 16);
    const __m512i interleave = _mm512_load_si512(order);
    for (int64_t i = 0; i < 16; ++i) {
        const float* from = w + (k0 + 2 * i) * columns + c0;
        const __m512bh rounded = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from + columns), _mm512_loadu_ps(from));
        __m512i bits;
        std::memcpy(&bits, &rounded, 64);
        _mm512_storeu_si512(to + i * 32, _mm512_permutexvar_epi16(interleave, bits));
    }
}

void pack_bf16(const float* w, int64_t k, int64_t columns, bool transposed, int64_t first, int64_t last, float* packed) {
    const int64_t kp = padded_k(k);
    for (int64_t p = first; p < last; ++p) {
        auto* to = reinterpret_cast<uint16_t*>(packed) + p * 32 * kp;
        for (int64_t k0 = 0; k0 < kp; k0 += 32)
            for (int64_t c0 = p * 32; c0 < p * 32 + 32; c0 += 16, to += 512)
                (k0 + 32 <= k && c0 + 16 <= columns ? pack_whole_tile : pack_tile)(w, k, columns, transposed, k0, c0, to);
    }
}

// Rows first, first + step... of n rows (k) become bfloat16 rows of padded_k(k).
void round_rows(const float* from, int64_t ld, int64_t first, int64_t n, int64_t step, int64_t k, uint16_t* to) {
    const int64_t kp = padded_k(k);
    for (int64_t r = first; r < n; r += step)
        for (int64_t i = 0; i < kp; i += 16) {
            const Vec x = i < k ? load(from + r * ld + i, Lanes(k - i)) : set(0);
            const __m256bh rounded = _mm512_cvtneps_pbh(x.v);
            std::memcpy(to + r * kp + i, &rounded, 32);
        }
}

template <int A>  // tiles of 16 rows
ELMAN_INLINE void tile_bf16(const uint16_t* a, const uint16_t* w, int64_t kp, float (*sums)[256]) {
    const int64_t stride = kp * 2;
    finish_writing();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t k0 = 0; k0 < kp; k0 += 32, w += 1024) {
        _tile_loadd(4, a + k0, stride);
        if (A == 2) {
            _tile_loadd(5, a + 16 * kp + k0, stride);
        }
        _tile_loadd(6, w, 64);
        _tile_loadd(7, w + 512, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (A == 2) {
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    if (A == 2) {
        _tile_stored(2, sums[2], 64);
        _tile_stored(3, sums[3], 64);
    }
}

// Panels first..last of C (rows, columns) (+)= A W; A has memory for rows rounded up to 16.
void product_bf16(int64_t rows, const uint16_t* a, const float* packed, int64_t k, int64_t columns,
                  int64_t first, int64_t last, float* c, int64_t ldc, bool add, bool from_end) {
    alignas(64) float sums[4][256];
    const int64_t kp = padded_k(k);
    for (int64_t i = first; i < last; ++i) {
        const int64_t p = from_end ? first + last - 1 - i : i;
        const uint16_t* w = reinterpret_cast<const uint16_t*>(packed) + p * 32 * kp;
        for (int64_t row = 0; row < rows; row += 32) {
            const int64_t n = rows - row < 32 ? rows - row : 32;
            if (n > 16)
                tile_bf16<2>(a + row * kp, w, kp, sums);
            else
                tile_bf16<1>(a + row * kp, w, kp, sums);
            for (int64_t half = 0; half < 2; ++half) {
                const int64_t column = p * 32 + half * 16;
                if (column >= columns) break;
                const Lanes l(columns - column);
                for (int64_t r = 0; r < n; ++r) {
                    float* to = c + (row + r) * ldc + column;
                    const Vec sum = load(sums[r / 16 * 2 + half] + r % 16 * 16);
                    store(to, add ? load(to, l) + sum : sum, l);
                }
            }
        }
    }
}

#elif defined(__AVX512BF16__)

constexpr bool BFLOAT16 = true;
class Tiles {
public:
    Tiles() {}  // as if it had some: the variable counts as used
};
void pack_bf16(const float* w, int64_t k, int64_t columns, bool transposed, int64_t first, int64_t last, float* packed) {
    pack_words<true>(w, k, columns, transposed, first, last, packed);
}
// Rows first, first + step... of n rows (k) become bfloat16 rows of padded_k(k).
void round_rows(const float* from, int64_t ld, int64_t first, int64_t n, int64_t step, int64_t k, uint16_t* to) {
    for (int64_t r = first; r < n; r += step)
        for (int64_t i = 0; i < k; i += 32)
            _mm512_storeu_si512(to + r * padded_k(k) + i, words_along<true>(from + r * ld + i, k - i));
}
void product_bf16(int64_t rows, const uint16_t* a, const float* packed, int64_t k, int64_t columns,
                  int64_t first, int64_t last, float* c, int64_t ldc, bool add, bool from_end) {
    product<true>(rows, reinterpret_cast<const float*>(a), padded_k(k) / 2, packed, words<true>(k), columns,
                  first, last, c, ldc, add, from_end);
}

#else

// Without such instructions numbers given as bfloat16 are multiplied as floats, which is only more exact.
constexpr bool BFLOAT16 = false;
class Tiles {
public:
    Tiles() {}  // as if it had some: the variable counts as used
};
void pack_bf16(const float*, int64_t, int64_t, bool, int64_t, int64_t, float*) {}
void round_rows(const float*, int64_t, int64_t, int64_t, int64_t, int64_t, uint16_t*) {}
void product_bf16(int64_t, const uint16_t*, const float*, int64_t, int64_t, int64_t, int64_t, float*, int64_t, bool, bool) {}

#endif

}  // namespace
