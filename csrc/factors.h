// The factors of a step's product, C (+)= A W, in the form that an instruction set multiplies fastest.
//
// `parts` is 0 for floats (product.h), 1 for numbers rounded to bfloat16, and 3 for float32 numbers
// split into three bfloat16 parts (tiles.h).  Panels of W have PANEL columns in every form.
#pragma once

#include "product.h"
#include "strips.h"

namespace {

// Panels of a product, in up to four pieces.
struct Ranges {
    int count = 1;
    int64_t first[4] = {}, last[4] = {};
};

ELMAN_INLINE int64_t padded_k(int64_t k) { return (k + 31) / 32 * 32; }

#if defined(ELMAN_AMX)

constexpr bool BFLOAT16 = true, TILED = true;  // it multiplies bfloat16, and it does so on tiles

// ROWS_OF_PARTS and DEPTH_OF_PARTS: fewest rows of a thread, and numbers of a row, for which
// products of three parts are faster than products of floats.  ROWS_BESIDE_LARGE: fewest rows for
// which a thread reads alone a matrix that does not fit into its L2 cache; half as many suffice for
// one part.  SHARED_MATRIX: fewest numbers of a matrix of one part that threads share.
constexpr int64_t ROWS_OF_PARTS = 32, DEPTH_OF_PARTS = 64, ROWS_BESIDE_LARGE = 32, SHARED_MATRIX = 1 << 19;

template <int PARTS>
struct Strips {
    static int64_t packed(int64_t k, int64_t columns) { return blocks(columns) * strip_size<PARTS>(tiles_of(k)) / 2; }
    static int64_t prepared(int64_t rows, int64_t k) { return packed(k, rows); }

    template <class T>
    static void pack_numbers(const T* w, int64_t k, int64_t columns, bool transposed, int64_t first, int64_t last, float* to) {
        const int64_t tiles = tiles_of(k);
        auto* strip = reinterpret_cast<uint16_t*>(to) + first * strip_size<PARTS>(tiles);
        for (int64_t p = first; p < last; ++p, strip += strip_size<PARTS>(tiles))
            if (transposed)
                write_strip<PARTS, true, false>(Dense<T>{w, k}, p * BLOCK, columns, 0, k, tiles, strip);
            else
                write_strip<PARTS, false, false>(Dense<T>{w, columns}, p * BLOCK, columns, 0, k, tiles, strip);
    }

    static void pack(const float* w, bool bf16, int64_t k, int64_t columns, bool transposed, int64_t first, int64_t last, float* to) {
        if (bf16)
            pack_numbers(reinterpret_cast<const uint16_t*>(w), k, columns, transposed, first, last, to);
        else
            pack_numbers(w, k, columns, transposed, first, last, to);
    }

    static void prepare(const float* a, int64_t lda, int64_t rows, int64_t k, int64_t first, int64_t step, float* to) {
        const int64_t tiles = tiles_of(k);
        for (int64_t s = first; s < blocks(rows); s += step)
            write_strip<PARTS, true, true>(Dense<float>{a, lda}, s * BLOCK, rows, 0, k, tiles,
                                           reinterpret_cast<uint16_t*>(to) + s * strip_size<PARTS>(tiles));
    }

    static void multiply(int64_t rows, const float* a, const float* packed, int64_t k, int64_t columns, int64_t first,
                         int64_t last, float* c, int64_t ldc, bool add, bool from_end) {
        const int64_t tiles = tiles_of(k), size = strip_size<PARTS>(tiles);
        const auto *left = reinterpret_cast<const uint16_t*>(a), *right = reinterpret_cast<const uint16_t*>(packed);
        for (int64_t i = first; i < last; ++i) {
            const int64_t p = from_end ? first + last - 1 - i : i, width = columns - p * BLOCK;
            for (int64_t s = 0; s < blocks(rows); ++s) {
                float* to = c + s * BLOCK * ldc + p * BLOCK;
                const int64_t n = rows - s * BLOCK;
                multiply_block<PARTS>(left + s * size, right + p * size, tiles, add ? to : nullptr, ldc, to, ldc,
                                      n < BLOCK ? n : BLOCK, width < BLOCK ? width : BLOCK);
            }
        }
    }
};

#else

#if defined(__AVX512BF16__)
constexpr bool BFLOAT16 = true;
#else
// Without instructions for bfloat16 such numbers are multiplied as floats, which is only more
// exact.
constexpr bool BFLOAT16 = false;
#endif
constexpr int64_t ROWS_OF_PARTS = INT64_MAX, DEPTH_OF_PARTS = 0, ROWS_BESIDE_LARGE = 1 << 30, SHARED_MATRIX = 0;
constexpr bool TILED = false;

class Tiles {
public:
    Tiles() {}  // a constructor prevents the warning about an unused variable
};

// Pairs of bfloat16 numbers, which one instruction multiplies; numbers are not split into parts.
template <int PARTS>
struct Strips {
    static int64_t packed(int64_t k, int64_t columns) { return panels(columns) * PANEL * words<true>(k); }
    static int64_t prepared(int64_t rows, int64_t k) { return rows * padded_k(k) / 2; }

    static void pack(const float* w, bool, int64_t k, int64_t columns, bool transposed, int64_t first, int64_t last, float* to) {
#if defined(__AVX512BF16__)
        pack_words<true>(w, k, columns, transposed, first, last, to);
#else
        ::pack(w, k, columns, transposed, first, last, to);
#endif
    }

    static void prepare(const float* a, int64_t lda, int64_t rows, int64_t k, int64_t first, int64_t step, float* to) {
#if defined(__AVX512BF16__)
        auto* rounded = reinterpret_cast<uint16_t*>(to);
        for (int64_t r = first; r < rows; r += step)
            for (int64_t i = 0; i < k; i += 32)
                _mm512_storeu_si512(rounded + r * padded_k(k) + i, words_along<true>(a + r * lda + i, k - i));
#else
        (void)a, (void)lda, (void)rows, (void)k, (void)first, (void)step, (void)to;
#endif
    }

    static void multiply(int64_t rows, const float* a, const float* packed, int64_t k, int64_t columns, int64_t first,
                         int64_t last, float* c, int64_t ldc, bool add, bool from_end) {
        product<DOTS>(rows, a, padded_k(k) / 2, packed, words<DOTS>(k), columns, first, last, c, ldc, add, from_end);
    }
};

#endif

// Returns the size in floats of W (k, columns) when packed.
ELMAN_INLINE int64_t factor_size(int parts, int64_t k, int64_t columns) {
    return parts == 0 ? packed_size(k, columns) : parts == 1 ? Strips<1>::packed(k, columns) : Strips<3>::packed(k, columns);
}

// Packs panels first..last of W, which can be bfloat16 in memory; with `transposed`, w is W^T
// (columns, k).
ELMAN_INLINE void pack_factor(int parts, const float* w, bool bf16, int64_t k, int64_t columns, bool transposed,
                              int64_t first, int64_t last, float* to) {
    if (parts == 0) return pack(w, k, columns, transposed, first, last, to);
    (parts == 1 ? Strips<1>::pack : Strips<3>::pack)(w, bf16, k, columns, transposed, first, last, to);
}

// Returns the size in floats of A (rows, k) when prepared; without parts A is used in place.
ELMAN_INLINE int64_t prepared_size(int parts, int64_t rows, int64_t k) {
    return parts == 0 ? 0 : parts == 1 ? Strips<1>::prepared(rows, k) : Strips<3>::prepared(rows, k);
}

}  // namespace
