// Packed batches of rows of different lengths: the rows that run at a step lie side by side,
// longest first.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "threads.h"

// The places of the rows of each step.
struct Ragged {
    int64_t T = 0, B = 0, N = 0;  // steps, rows, and rows of all steps
    std::vector<int64_t> start;   // (T) first row of a step in packed data
    std::vector<int64_t> active;  // (T) number of rows that run at a step
    std::vector<int64_t> order;   // (B) the r-th longest row; empty if the caller's rows are sorted

    // Sorts rows with these lengths (B) in 0..T.  Rows of equal length keep their order.
    static Ragged sorted(const int64_t* lengths, int64_t B, int64_t T) {
        Ragged it{T, B, 0, std::vector<int64_t>(T), std::vector<int64_t>(T), std::vector<int64_t>(B)};
        for (int64_t b = 0; b < B; ++b)
            if (lengths[b] > 0) ++it.active[lengths[b] - 1];
        // Rows of t + 1 steps come after the longer rows.
        int64_t longer = 0;
        for (int64_t t = T - 1; t >= 0; --t) {
            it.start[t] = longer;
            longer += it.active[t];
            it.active[t] = longer;
        }
        for (int64_t b = 0; b < B; ++b) it.order[lengths[b] > 0 ? it.start[lengths[b] - 1]++ : longer++] = b;
        for (int64_t t = 0; t < T; it.N += it.active[t++]) it.start[t] = it.N;
        return it;
    }

    // Takes the batch sizes (T) of a torch.nn.utils.rnn.PackedSequence.
    static Ragged packed(const int64_t* sizes, int64_t T) {
        Ragged it{T, T ? sizes[0] : 0, 0, std::vector<int64_t>(T), std::vector<int64_t>(sizes, sizes + T), {}};
        for (int64_t t = 0; t < T; it.N += it.active[t++]) it.start[t] = it.N;
        return it;
    }
};

// A copy between a padded tensor (T, B, ...) and a packed one.  Strides and `bytes`, the size of a
// row, count bytes.
struct Copy {
    int64_t T;
    const int64_t *start, *active, *order;
    char* padded;
    int64_t step, row;
    char* packed;
    int64_t bytes;
    bool pack;
};

inline void copy_rows(Copy it, int threads) {
    parallel(threads, [](void* p, int thread, int threads) {
        const Copy& it = *static_cast<Copy*>(p);
        for (int64_t t = thread; t < it.T; t += threads)
            for (int64_t j = 0; j < it.active[t]; ++j) {
                char* padded = it.padded + t * it.step + (it.order ? it.order[j] : j) * it.row;
                char* packed = it.packed + (it.start[t] + j) * it.bytes;
                std::memcpy(it.pack ? packed : padded, it.pack ? padded : packed, it.bytes);
            }
    }, &it);
}
