// Products over all steps of a part: the contribution of the inputs to the gates, and the gradients
// of inputs and matrices.  Packing and the tile are those of product.h.  Blocks fit the caches,
// operands stay in the caller's memory without being copied or transposed, and sums are floats.
#pragma once

#include "bfloat16.h"
#include "factors.h"
#include "kernels.h"
#include "team.h"
#include "whole_tiles.h"

namespace {

#if defined(ELMAN_AMX)
constexpr bool PAIRS = false;  // tiles are faster
#else
constexpr bool PAIRS = DOTS;
#endif
constexpr int64_t ROWS_AT_ONCE = 8 * MAX_ROWS;  // rows of A for each pass over W
constexpr int64_t DEPTH_AT_ONCE = 256;          // words of k in a block of an outer product
constexpr int64_t DEEPEST = 512;                // words of k that are summed up in registers
constexpr int64_t STRIPS = 4;                   // strips of MAX_ROWS columns of A that are packed together

// Returns row n as floats, in place or converted into `to`.
const float* row_of(const Rows& m, int64_t n, int64_t width, float* to) {
    const int64_t step = n / m.per_step, at = n % m.per_step;
    const bool initial = step == m.initial_step;
    const void* p = initial ? m.initial : m.p;
    const int64_t offset = initial ? at * width : step * m.step + at * m.row;
    if (!m.bf16) return static_cast<const float*>(p) + offset;
    const auto* from = static_cast<const uint16_t*>(p) + offset;
    for (int64_t i = 0; i < width; ++i) to[i] = to_float(from[i]);
    return to;
}

ELMAN_INLINE int64_t share_of(int64_t n, int thread, int threads) { return n * thread / threads; }

struct Team { int threads; bool by_columns; };

// Returns the depth of the blocks of k in which W is packed, each like a separate matrix; W^T is
// one block.
template <bool DOT>
int64_t depth_of(const Product& it) {
    const int64_t all = words<DOT>(it.K), blocks = it.transposed ? 1 : (all + DEEPEST - 1) / DEEPEST;
    return (all + blocks - 1) / blocks;
}

template <bool DOT>
void pack_blocks(const Product& it, int thread, int threads, float* to) {
    const int64_t each = DOT ? 2 : 1, depth = each * depth_of<DOT>(it), n = panels(it.columns);
    for (int64_t k0 = 0; k0 < it.K; k0 += depth) {
        const int64_t k = it.K - k0 < depth ? it.K - k0 : depth;
        const float* from = it.transposed ? it.w : it.w + k0 * it.columns;
        pack_factor(DOT ? 1 : 0, from, false, k, it.columns, it.transposed, share_of(n, thread, threads), share_of(n, thread + 1, threads), to);
        to += words<DOT>(k) * n * PANEL;
    }
}

// Computes C = A W for this thread's rows, or for its columns if there are few rows.
template <bool DOT>
void multiply_rows(const Product& it, const float* packed, float* own, int thread, const Team& team) {
    const int64_t kw = words<DOT>(it.K), lda = DOT ? padded_k(it.K) / 2 : padded_width(it.K);
    const int64_t depth = depth_of<DOT>(it), all = panels(it.columns);
    const int64_t first = team.by_columns ? share_of(all, thread, team.threads) : 0;
    const int64_t last = team.by_columns ? share_of(all, thread + 1, team.threads) : all;
    const int64_t from = team.by_columns ? 0 : share_of(it.N, thread, team.threads);
    const int64_t to = team.by_columns ? it.N : share_of(it.N, thread + 1, team.threads);
    const int64_t begin = first * PANEL, end = last * PANEL < it.columns ? last * PANEL : it.columns;
    // Rows at equal distances are used in place.
    const bool straight = !DOT && !it.a.bf16 && it.a.initial_step < 0 && it.a.step == it.a.row * it.a.per_step;
    float* row = own + ROWS_AT_ONCE * lda;
    for (int64_t r = from; r < to; r += ROWS_AT_ONCE) {
        const int64_t n = to - r < ROWS_AT_ONCE ? to - r : ROWS_AT_ONCE;
        const float* a = own;
        if (straight) {
            a = static_cast<const float*>(it.a.p) + r * it.a.row;
        } else {
            for (int64_t i = 0; i < n; ++i) {
                const float* x = row_of(it.a, r + i, it.K, row);
                if (DOT)
                    Strips<1>::prepare(x, 0, 1, it.K, 0, 1, own + i * lda);
                else
                    std::memcpy(own + i * lda, x, sizeof(float) * it.K);
            }
        }
        float* c = static_cast<float*>(it.c) + r * it.ldc();
        if (it.bias)
            for (int64_t i = 0; i < n; ++i)
                std::memcpy(c + i * it.ldc() + begin, it.bias + begin, sizeof(float) * (end - begin));
        for (int64_t k0 = 0; k0 < kw; k0 += depth)
            product<DOT>(n, a + k0, straight ? it.a.row : lda, packed + k0 * all * PANEL, kw - k0 < depth ? kw - k0 : depth,
                         it.columns, first, last, c, it.ldc(), it.bias || it.add || k0, false);
    }
}

// Packs words first..last of rows k0..k0 + depth of B, which are the k of an outer product, into
// panels.
template <bool DOT>
void pack_rows(const Rows& b, int64_t k0, int64_t depth, int64_t columns, int64_t first, int64_t last,
               float* rows, float* to) {
    const int64_t kw = words<DOT>(depth), each = DOT ? 2 : 1;
    for (int64_t i = first; i < last; ++i) {
        const float* x = row_of(b, k0 + each * i, columns, rows);
        const bool pair = DOT && each * i + 1 < depth;
        const float* y = pair ? row_of(b, k0 + each * i + 1, columns, rows + columns) : nullptr;  // null for zeros beyond the last row
        for (int64_t p = 0; p < panels(columns); ++p)
            for (int64_t c = 0; c < PANEL; c += WIDTH) {
                const int64_t column = p * PANEL + c;
                const Lanes there(columns - column < 0 ? 0 : columns - column);
                const Vec low = load(x + column, there);
                float* out = to + p * PANEL * kw + i * PANEL + c;
                if (DOT)
                    store(out, pairs(low, y ? load(y + column, there) : set(0)));
                else
                    store(out, low);
            }
    }
}

// Computes C (+)= A^T B for this thread's rows of C, which are columns of A.
template <bool DOT>
void add_outer(const OuterProduct& it, float* panels_of_b, int64_t panels_size, float* own, int thread, int threads, Barrier& barrier) {
    const int64_t each = DOT ? 2 : 1, group = STRIPS * MAX_ROWS, groups = (it.rows + MAX_ROWS - 1) / MAX_ROWS;
    const int64_t from = share_of(groups, thread, threads) * MAX_ROWS;
    const int64_t end = share_of(groups, thread + 1, threads) * MAX_ROWS, to = end < it.rows ? end : it.rows;
    float* strips = own;
    float* rows = own + DEPTH_AT_ONCE * (group + WIDTH);
    bool turn = false;
    for (int64_t k0 = 0; k0 < it.N; k0 += each * DEPTH_AT_ONCE) {
        const int64_t depth = it.N - k0 < each * DEPTH_AT_ONCE ? it.N - k0 : each * DEPTH_AT_ONCE;
        const int64_t kw = words<DOT>(depth);
        // Two buffers alternate, so that no thread fills a buffer that others still read.
        float* const block = panels_of_b + (turn ? panels_size : 0);
        turn = !turn;
        float* packed = block;
        for (int j = 0; j < it.count; ++j) {
            pack_rows<DOT>(it.b[j], k0, depth, it.columns[j], share_of(kw, thread, threads), share_of(kw, thread + 1, threads), rows, packed);
            packed += panels(it.columns[j]) * PANEL * DEPTH_AT_ONCE;
        }
        barrier.wait();
        for (int64_t g = from; g < to; g += group) {
            // Copy this group's columns of A word by word; a strip has MAX_ROWS of them.
            const int64_t width = to - g < group ? to - g : group;
            for (int64_t i = 0; i < kw; ++i) {
                const float* x = static_cast<const float*>(it.a) + (k0 + each * i) * it.a_row + g;
                const bool pair = DOT && each * i + 1 < depth;
                for (int64_t c = 0; c < width; c += WIDTH) {
                    const Lanes there(width - c);
                    const Vec low = load(x + c, there);
                    float* out = strips + i * (group + WIDTH) + c;
                    store(out, DOT ? pairs(low, pair ? load(x + it.a_row + c, there) : set(0)) : low);
                }
            }
            for (int64_t s = 0; s < width; s += MAX_ROWS) {
                const int64_t n = width - s < MAX_ROWS ? width - s : MAX_ROWS;
                packed = block;
                for (int j = 0; j < it.count; ++j) {
                    const int64_t columns = it.columns[j];
                    BY_ROWS<false, DOT, K_MAJOR>[n](strips + s, group + WIDTH, packed, kw, columns, 0, panels(columns),
                                                    it.c[j] + (g + s) * columns, columns, it.add || k0, nullptr);
                    packed += panels(columns) * PANEL * DEPTH_AT_ONCE;
                }
            }
        }
    }
}

template <bool DOT>
void whole_product(const Product& it) {
    const int64_t kw = words<DOT>(it.K), lda = DOT ? padded_k(it.K) / 2 : padded_width(it.K);
    const int64_t matrix = panels(it.columns) * PANEL * kw;
    const int64_t own = ROWS_AT_ONCE * lda + padded_width(it.K);
    Team team{it.N * it.K * it.columns < 400000 ? 1 : static_cast<int>(it.threads), false};
    team.by_columns = it.N < 2 * MAX_ROWS * team.threads && panels(it.columns) >= team.threads;
    float* memory = scratch(matrix + team.threads * own);
    in_team(team.threads, [&](int thread, int threads, Barrier& barrier) {
        const Team here{threads, threads > 1 && team.by_columns};
        pack_blocks<DOT>(it, thread, threads, memory);
        if (!here.by_columns) barrier.wait();
        multiply_rows<DOT>(it, memory, memory + matrix + thread * own, thread, here);
    });
}

template <bool DOT>
void outer_product(const OuterProduct& it) {
    int64_t columns = 0, panels_size = 0;
    for (int j = 0; j < it.count; ++j) {
        columns += it.columns[j];
        panels_size += panels(it.columns[j]) * PANEL * DEPTH_AT_ONCE;
    }
    const int64_t own = DEPTH_AT_ONCE * (STRIPS * MAX_ROWS + WIDTH) + 2 * padded_width(columns);
    const int planned = it.N * it.rows * columns < 400000 ? 1 : static_cast<int>(it.threads);
    float* memory = scratch(2 * panels_size + planned * own);
    in_team(planned, [&](int thread, int threads, Barrier& barrier) {
        add_outer<DOT>(it, memory, panels_size, memory + 2 * panels_size + thread * own, thread, threads, barrier);
    });
}

void run_product(const Product& it) {
    if (run_on_tiles(it)) return;
    it.bf16 && PAIRS ? whole_product<PAIRS>(it) : whole_product<false>(it);
}

void run_outer_product(const OuterProduct& it) {
    if (run_on_tiles(it)) return;
    it.bf16 && PAIRS ? outer_product<PAIRS>(it) : outer_product<false>(it);
}

}  // namespace
