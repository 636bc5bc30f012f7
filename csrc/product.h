// C (+)= A W for a few rows A and a matrix W that is used many times and therefore packed once.
//
// W is kept in panels of two registers' columns: the panel of columns p has, for every k in turn,
// W[k, p..p + PANEL - 1].  A tile keeps ROWS rows of C in registers while k runs, so that every
// number that is loaded from the panel is used ROWS times.
//
// Matrices consist of words of 32 bits: a float, or with DOT a pair of bfloat16 numbers with
// successive k, which one instruction multiplies and adds up in float.  `k` counts words.
#pragma once

#include "vector.h"

namespace {

#if defined(__GNUC__)
#define PREFETCH(p, level) __builtin_prefetch((p), 0, (level))
#else
#define PREFETCH(p, level)
#endif

constexpr int PANEL = 2 * WIDTH;
constexpr int MAX_ROWS = REGISTERS == 32 ? 12 : 6;

// Returns a row stride that is not a power of two, so that rows fall into different sets of the
// cache.
ELMAN_INLINE int64_t padded_width(int64_t n) { return (n + 15) / 16 * 16 + 16; }
ELMAN_INLINE int64_t panels(int64_t columns) { return (columns + PANEL - 1) / PANEL; }
ELMAN_INLINE int64_t packed_size(int64_t k, int64_t columns) {
    return panels(columns) * PANEL * k;
}

#if defined(__AVX512BF16__)
constexpr bool DOTS = true;  // whether there is an instruction for DOT
#else
constexpr bool DOTS = false;
#endif

template <bool DOT>
ELMAN_INLINE int64_t words(int64_t k) { return DOT ? (k + 1) / 2 : k; }

template <bool DOT>
ELMAN_INLINE Vec multiply_add(Vec a, Vec b, Vec sum) {
#if defined(__AVX512BF16__)
    if (DOT) {
        __m512bh x, y;
        std::memcpy(&x, &a, 64);
        std::memcpy(&y, &b, 64);
        return {_mm512_dpbf16_ps(sum.v, x, y)};
    }
#endif
    return fma(a, b, sum);
}

// Returns words that each consist of a number of `first` and one of `second`, rounded.
ELMAN_INLINE Vec pairs(Vec first, Vec second) {
#if defined(__AVX512BF16__)
    const __m512i order = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3,
        18, 2, 17, 1, 16, 0);
    __m512i bits;
    const __m512bh rounded = _mm512_cvtne2ps_pbh(second.v, first.v);
    std::memcpy(&bits, &rounded, 64);
    return {_mm512_castsi512_ps(_mm512_permutexvar_epi16(order, bits))};
#else
    (void)second;
    return first;
#endif
}

#if defined(__AVX512F__)

// Transposes a square of 16 x 16 words of 32 bits, by exchanging halves of halves.
ELMAN_INLINE void transpose(__m512i (&r)[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; ++j) {
            r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
            r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
        }
    for (int i = 0; i < 4; ++i)
        for (int h = 0; h < 2; ++h) {
            t[8 * h + i] = _mm512_shuffle_i32x4(r[8 * h + i], r[8 * h + i + 4], 0x88);
            t[8 * h + i + 4] = _mm512_shuffle_i32x4(r[8 * h + i], r[8 * h + i + 4], 0xdd);
        }
    for (int i = 0; i < 8; ++i) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    }
}

// Returns 16 words from n numbers that lie side by side, and zeros beyond them.
template <bool DOT>
ELMAN_INLINE __m512i words_along(const float* p, int64_t n) {
#if defined(__AVX512BF16__)
    if (DOT) {
        const Vec low = load(p, Lanes(n)), high = n > 16 ? load(p + 16, Lanes(n - 16)) : set(0);
        __m512i bits;
        const __m512bh rounded = _mm512_cvtne2ps_pbh(high.v, low.v);
        std::memcpy(&bits, &rounded, 64);
        return bits;
    }
#endif
    return _mm512_castps_si512(load(p, Lanes(n)).v);
}

// Packs panels first..last of W (k, columns); with `transposed`, w is W^T (columns, k).
template <bool DOT>
void pack_words(const float* w, int64_t k, int64_t columns, bool transposed, int64_t first, int64_t last,
                float* packed) {
    const int64_t kw = words<DOT>(k), each = DOT ? 2 : 1;
    for (int64_t p = first; p < last; ++p) {
        float* to = packed + p * PANEL * kw;
        for (int64_t c = 0; c < PANEL; c += WIDTH) {
            const int64_t column = p * PANEL + c;
            const Lanes there(columns - column < 0 ? 0 : columns - column);
            if (!transposed) {
                for (int64_t i = 0; i < kw; ++i) {
                    const float* from = w + each * i * columns + column;
                    const Vec low = load(from, there);
                    const bool pair = DOT && each * i + 1 < k;
                    store(to + i * PANEL + c, DOT ? pairs(low, pair ? load(from + columns, there) : set(0)) : low);
                }
                continue;
            }
            for (int64_t i0 = 0; i0 < kw; i0 += 16) {
                __m512i square[16];
                for (int64_t j = 0; j < 16; ++j)
                    square[j] = column + j < columns
                                    ? words_along<DOT>(w + (column + j) * k + each * i0, k - each * i0)
                                    : _mm512_setzero_si512();
                transpose(square);
                for (int64_t i = 0; i < 16 && i0 + i < kw; ++i)
                    _mm512_storeu_si512(to + (i0 + i) * PANEL + c, square[i]);
            }
        }
    }
}

ELMAN_INLINE void pack(const float* w, int64_t k, int64_t columns, bool transposed, int64_t first,
                       int64_t last, float* packed) {
    pack_words<false>(w, k, columns, transposed, first, last, packed);
}

#else

// Packs panels first..last of W (k, columns); with `transposed`, w is W^T (columns, k).
void pack(const float* w, int64_t k, int64_t columns, bool transposed, int64_t first, int64_t last,
          float* packed) {
    for (int64_t p = first; p < last; ++p) {
        float* to = packed + p * PANEL * k;
        const int64_t column = p * PANEL;
        const int64_t count = columns - column < PANEL ? columns - column : PANEL;
        if (count < PANEL) std::memset(to, 0, sizeof(float) * PANEL * k);
        if (!transposed) {
            for (int64_t i = 0; i < k; ++i)
                std::memcpy(to + i * PANEL, w + i * columns + column, sizeof(float) * count);
            continue;
        }
        // Blocks of 16 x 16 keep the lines that are read and written in the L1 cache.
        for (int64_t i0 = 0; i0 < k; i0 += 16)
            for (int64_t c0 = 0; c0 < count; c0 += 16) {
                const int64_t i1 = i0 + 16 < k ? i0 + 16 : k, c1 = c0 + 16 < count ? c0 + 16 : count;
                for (int64_t c = c0; c < c1; ++c)
                    for (int64_t i = i0; i < i1; ++i)
                        to[i * PANEL + c] = w[(column + c) * k + i];
            }
    }
}

#endif

// The layout of the words of A: a[row * lda + k], or a[k * lda + row].
enum Order { ROW_MAJOR, K_MAJOR };

// Multiplies COLUMNS registers side by side, two from each panel; the last is cut to `last`.
//
// With AHEAD the next panel is fetched into the L2 cache meanwhile, because a large matrix is read
// from a slower memory at every step.
template <int ROWS, int COLUMNS, bool AHEAD, bool DOT, Order ORDER>
void tile(const float* a, int64_t lda, const float* packed, int64_t k, float* c, int64_t ldc,
          bool add, Lanes last, const float* next) {
    Vec sums[ROWS][COLUMNS];
    for (int r = 0; r < ROWS; ++r)
        for (int j = 0; j < COLUMNS; ++j) {
            sums[r][j] = set(0);
            PREFETCH(c + r * ldc + j * WIDTH, 3);  // used below, and possibly not in the cache
        }
    const int64_t panel = k * PANEL;
#pragma GCC unroll 2
    for (int64_t i = 0; i < k; ++i) {
        if (AHEAD)
            for (int j = 0; j < COLUMNS; ++j)
                PREFETCH(next + i * PANEL + j * WIDTH, 2);
        Vec w[COLUMNS];
        for (int j = 0; j < COLUMNS; ++j)
            w[j] = load(packed + (j / 2) * panel + i * PANEL + (j % 2) * WIDTH);
        for (int r = 0; r < ROWS; ++r) {
            const Vec x = set(ORDER == ROW_MAJOR ? a[r * lda + i] : a[i * lda + r]);
            for (int j = 0; j < COLUMNS; ++j) sums[r][j] = multiply_add<DOT>(x, w[j], sums[r][j]);
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int j = 0; j < COLUMNS; ++j) {
            float* to = c + r * ldc + j * WIDTH;
            if (j + 1 < COLUMNS)
                store(to, add ? load(to) + sums[r][j] : sums[r][j]);
            else
                store(to, add ? load(to, last) + sums[r][j] : sums[r][j], last);
        }
}

template <int ROWS, bool AHEAD, bool DOT, Order ORDER>
void rows_by_panels(const float* a, int64_t lda, const float* packed, int64_t k, int64_t columns,
                    int64_t first, int64_t last, float* c, int64_t ldc, bool add, const float* next) {
    // Few rows leave registers free, and several panels at once then keep the multipliers busy.
    constexpr int WIDE = ROWS == 1 ? 8 : ROWS <= 3 ? 4 : 2;
    for (int64_t p = first; p < last;) {
        const int64_t column = p * PANEL, rest = columns - column;
        const float* from = packed + column * k;
        if (WIDE > 2 && p + WIDE / 2 <= last && rest > (WIDE - 1) * WIDTH) {
            const Lanes lanes(rest - (WIDE - 1) * WIDTH);
            tile<ROWS, WIDE, AHEAD, DOT, ORDER>(a, lda, from, k, c + column, ldc, add, lanes, next);
            p += WIDE / 2;
            continue;
        }
        if (rest > WIDTH)
            tile<ROWS, 2, AHEAD, DOT, ORDER>(a, lda, from, k, c + column, ldc, add, Lanes(rest - WIDTH), next);
        else
            tile<ROWS, 1, AHEAD, DOT, ORDER>(a, lda, from, k, c + column, ldc, add, Lanes(rest), next);
        ++p;
    }
}

using Strip = void (*)(const float*, int64_t, const float*, int64_t, int64_t, int64_t, int64_t,
                      float*, int64_t, bool, const float*);
template <bool AHEAD, bool DOT = false, Order ORDER = ROW_MAJOR>
constexpr Strip BY_ROWS[] = {
    nullptr,
#define ROWS(n) rows_by_panels<n, AHEAD, DOT, ORDER>
    ROWS(1), ROWS(2), ROWS(3), ROWS(4), ROWS(5), ROWS(6),
#if defined(__AVX512F__) || defined(__aarch64__)
    ROWS(7), ROWS(8), ROWS(9), ROWS(10), ROWS(11), ROWS(12),
#endif
#undef ROWS
};

// Computes panels first..last of C (rows, columns) (+)= A (rows, k) W.  A matrix larger than the
// cache is best traversed from alternating ends, because the panels used last are still in the
// cache.
template <bool DOT = false>
void product(int64_t rows, const float* a, int64_t lda, const float* packed, int64_t k,
             int64_t columns, int64_t first, int64_t last, float* c, int64_t ldc, bool add,
             bool from_end) {
    const int64_t blocks = (rows + MAX_ROWS - 1) / MAX_ROWS;
    const bool large = packed_size(k, columns) > 200000;
    if (blocks <= 1 && (!large || rows <= 3)) {
        // From the end, take four panels at a time, because a single row multiplies so many at
        // once.
        const int64_t together = from_end ? 4 : last - first;
        for (int64_t end = last; rows && end > first; end -= together)
            BY_ROWS<false, DOT>[rows](a, lda, packed, k, columns, end - together > first ? end - together : first, end, c,
                                      ldc, add, nullptr);
        return;
    }
    // Take one panel after another, so that each is read from the L2 cache once.
    for (int64_t i = first; i < last; ++i) {
        const int64_t p = from_end ? first + last - 1 - i : i, next = from_end ? p - 1 : p + 1;
        const bool ahead = large && i + 1 < last;
        for (int64_t b = 0, row = 0; b < blocks; ++b) {
            const int64_t n = (rows - row + blocks - b - 1) / (blocks - b);
            (b == 0 && ahead ? BY_ROWS<true, DOT> : BY_ROWS<false, DOT>)[n](
                a + row * lda, lda, packed, k, columns, p, p + 1, c + row * ldc, ldc, add,
                packed + next * PANEL * k);
            row += n;
        }
    }
}

}  // namespace
