// Batches of rows of different lengths, packed: the rows that run at a step side by side, longest first.
#pragma once

#include <cstdint>
#include <cstring>

#include "threads.h"

// Lengths (B) in 0..T to: (T) the first row of each step in packed data, (T) rows that run at it, and
// (B) which row is r-th by length.  Rows of one length stay in their order.
inline void sort_rows(const int64_t* lengths, int64_t B, int64_t T, int64_t* start, int64_t* active, int64_t* order) {
    std::memset(active, 0, sizeof(int64_t) * T);
    for (int64_t b = 0; b < B; ++b)
        if (lengths[b] > 0) ++active[lengths[b] - 1];
    // Rows of t + 1 steps come behind those that are longer.
    int64_t longer = 0;
    for (int64_t t = T - 1; t >= 0; --t) {
        start[t] = longer;
        longer += active[t];
        active[t] = longer;
    }
    for (int64_t b = 0; b < B; ++b) order[lengths[b] > 0 ? start[lengths[b] - 1]++ : longer++] = b;
    for (int64_t t = 0, rows = 0; t < T; rows += active[t++]) start[t] = rows;
}

// Between a padded tensor (T, B, ...) and a packed one.  Strides and the size of a row count bytes.
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
                char* padded = it.padded + t * it.step + it.order[j] * it.row;
                char* packed = it.packed + (it.start[t] + j) * it.bytes;
                std::memcpy(it.pack ? packed : padded, it.pack ? padded : packed, it.bytes);
            }
    }, &it);
}
