// The state of a row before a step, and copies of its vectors.
#pragma once

#include "sharing.h"

namespace {

void copy_or_zero(float* to, const float* from, int64_t row, int64_t n) {
    if (from)
        std::memcpy(to, from + row * n, sizeof(float) * n);
    else
        std::memset(to, 0, sizeof(float) * n);
}

void add_rows(float* to, const float* x, int64_t n) {
    for (int64_t u = 0; u < n; u += WIDTH) {
        const Lanes l(n - u);
        store(to + u, load(to + u, l) + load(x + u, l), l);
    }
}

// Copies units first..last, rounded to bfloat16 if `bf16`.
void copy_units(float* to, bool bf16, const float* x, int64_t first, int64_t last) {
    if (!bf16) {
        std::memcpy(to + first, x + first, sizeof(float) * (last - first));
        return;
    }
    for (int64_t u = first; u < last; u += WIDTH) {
        const Lanes l(last - u);
        store(to, true, u, load(x + u, l), l);
    }
}

// Computes units first..last of x * y; a null x means zeros.
void scale(float* to, const float* x, const float* y, int64_t first, int64_t last) {
    for (int64_t u = first; u < last; u += WIDTH) {
        const Lanes l(last - u);
        store(to + u, part(x, u, l) * load(y + u, l), l);
    }
}

// Returns whether row j ran at the step before the i-th.
ELMAN_INLINE bool is_kept(const Time& time, int64_t i, int64_t j) {
    return i > 0 && time.sorted(j) < time.running(time.step(i - 1));
}
// Returns the state of row j before the i-th step: the state after the previous step, or the
// initial state; null for zeros.
ELMAN_INLINE const float* before(const Time& time, const Steps& states, const float* initial, int64_t width,
                                 int64_t i, int64_t j) {
    if (is_kept(time, i, j)) return time.at(states, time.step(i - 1), j);
    return initial ? initial + time.original(j) * width : nullptr;
}

}  // namespace
