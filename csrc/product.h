// C (+)= A W for a few rows A and a matrix W that is used many times and therefore packed once.
//
// W is kept in panels of two registers' columns: the panel of columns p has, for every k in turn,
// W[k, p..p + PANEL - 1].  A tile holds ROWS rows of C in registers while k runs, so that every
// number of the panel that is loaded is used ROWS times.
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

ELMAN_INLINE int64_t panels(int64_t columns) { return (columns + PANEL - 1) / PANEL; }
ELMAN_INLINE int64_t packed_size(int64_t k, int64_t columns) {
    return panels(columns) * PANEL * k;
}

// Panels first..last of W (k, columns); with `transposed`, w holds W^T (columns, k).
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
        // Blocks of 16 x 16 keep both the lines read and those written in the first cache.
        for (int64_t i0 = 0; i0 < k; i0 += 16)
            for (int64_t c0 = 0; c0 < count; c0 += 16) {
                const int64_t i1 = i0 + 16 < k ? i0 + 16 : k, c1 = c0 + 16 < count ? c0 + 16 : count;
                for (int64_t c = c0; c < c1; ++c)
                    for (int64_t i = i0; i < i1; ++i)
                        to[i * PANEL + c] = w[(column + c) * k + i];
            }
    }
}

// COLUMNS registers side by side, two from each panel; the last is cut to `last`.
//
// Given the panel that follows, it is fetched into the second cache meanwhile: a large matrix comes
// from further away at every step.
template <int ROWS, int COLUMNS, bool AHEAD>
void tile(const float* a, int64_t lda, const float* packed, int64_t k, float* c, int64_t ldc,
          bool add, Lanes last, const float* next) {
    Vec sums[ROWS][COLUMNS];
    for (int r = 0; r < ROWS; ++r)
        for (int j = 0; j < COLUMNS; ++j) {
            sums[r][j] = set(0);
            if (add) PREFETCH(c + r * ldc + j * WIDTH, 3);  // wanted below, and maybe far away
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
            const Vec x = set(a[r * lda + i]);
            for (int j = 0; j < COLUMNS; ++j) sums[r][j] = fma(x, w[j], sums[r][j]);
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

template <int ROWS, bool AHEAD>
void rows_by_panels(const float* a, int64_t lda, const float* packed, int64_t k, int64_t columns,
                    int64_t first, int64_t last, float* c, int64_t ldc, bool add, const float* next) {
    // Few rows leave registers free: then several panels at once keep the multipliers busy.
    constexpr int WIDE = ROWS == 1 ? 8 : ROWS <= 3 ? 4 : 2;
    for (int64_t p = first; p < last;) {
        const int64_t column = p * PANEL, rest = columns - column;
        const float* from = packed + column * k;
        if (WIDE > 2 && p + WIDE / 2 <= last && rest > (WIDE - 1) * WIDTH) {
            const Lanes lanes(rest - (WIDE - 1) * WIDTH);
            tile<ROWS, WIDE, AHEAD>(a, lda, from, k, c + column, ldc, add, lanes, next);
            p += WIDE / 2;
            continue;
        }
        if (rest > WIDTH)
            tile<ROWS, 2, AHEAD>(a, lda, from, k, c + column, ldc, add, Lanes(rest - WIDTH), next);
        else
            tile<ROWS, 1, AHEAD>(a, lda, from, k, c + column, ldc, add, Lanes(rest), next);
        ++p;
    }
}

using Rows = void (*)(const float*, int64_t, const float*, int64_t, int64_t, int64_t, int64_t,
                      float*, int64_t, bool, const float*);
template <bool AHEAD>
constexpr Rows BY_ROWS[] = {
    nullptr, rows_by_panels<1, AHEAD>, rows_by_panels<2, AHEAD>, rows_by_panels<3, AHEAD>,
    rows_by_panels<4, AHEAD>, rows_by_panels<5, AHEAD>, rows_by_panels<6, AHEAD>,
#if defined(__AVX512F__) || defined(__aarch64__)
    rows_by_panels<7, AHEAD>, rows_by_panels<8, AHEAD>, rows_by_panels<9, AHEAD>,
    rows_by_panels<10, AHEAD>, rows_by_panels<11, AHEAD>, rows_by_panels<12, AHEAD>,
#endif
};

// Panels first..last of C (rows, columns) (+)= A (rows, k) W.  A matrix that is larger than the cache
// is best gone through in turns from both ends: what was used last is still there.
void product(int64_t rows, const float* a, int64_t lda, const float* packed, int64_t k,
             int64_t columns, int64_t first, int64_t last, float* c, int64_t ldc, bool add,
             bool from_end) {
    const int64_t blocks = (rows + MAX_ROWS - 1) / MAX_ROWS;
    if (blocks <= 1) {
        if (rows) BY_ROWS<false>[rows](a, lda, packed, k, columns, first, last, c, ldc, add, nullptr);
        return;
    }
    const bool large = packed_size(k, columns) > 200000;
    // One panel after the other, so that it is read from the second cache once.
    for (int64_t i = first; i < last; ++i) {
        const int64_t p = from_end ? first + last - 1 - i : i, next = from_end ? p - 1 : p + 1;
        const bool ahead = large && i + 1 < last;
        for (int64_t b = 0, row = 0; b < blocks; ++b) {
            const int64_t n = (rows - row + blocks - b - 1) / (blocks - b);
            (b == 0 && ahead ? BY_ROWS<true> : BY_ROWS<false>)[n](
                a + row * lda, lda, packed, k, columns, p, p + 1, c + row * ldc, ldc, add,
                packed + next * PANEL * k);
            row += n;
        }
    }
}

}  // namespace
