// Layer normalisation of a row (Ba, Kiros and Hinton 2016, arXiv:1607.06450), forward and backward:
//
//     y = gain * (x - mean(x)) / deviation(x) + bias
//
// Cells use it within a step; `run_layer_norm` normalises the contribution of the inputs to the
// gates.
#pragma once

#include "kernels.h"
#include "team.h"
#include "vector.h"

namespace {

constexpr float EPSILON = 1e-5f;  // the default of torch's layer_norm

ELMAN_INLINE Vec part(const float* p, int64_t u, Lanes n) { return p ? load(p + u, n) : set(0); }

ELMAN_INLINE void add(float* p, int64_t u, Lanes n, Vec x) {
    if (p) store(p + u, load(p + u, n) + x, n);
}

struct Moments { float mean, scale; };  // scale: 1 / standard deviation

Moments moments(const float* x, int64_t n) {
    Vec s = set(0), q = set(0);
    for (int64_t u = 0; u < n; u += WIDTH) s += load(x + u, Lanes(n - u));
    const float mean = sum(s) / static_cast<float>(n);
    for (int64_t u = 0; u < n; u += WIDTH) {
        const Lanes l(n - u);
        const Vec d = keep(load(x + u, l) - set(mean), l);
        q = fma(d, d, q);
    }
    return {mean, 1 / std::sqrt(sum(q) / static_cast<float>(n) + EPSILON)};
}

// Computes x = (x - mean) / deviation, and stores the scale for the backward pass.
void normalise(float* x, int64_t n, float* scale) {
    const Moments m = moments(x, n);
    for (int64_t u = 0; u < n; u += WIDTH) {
        const Lanes l(n - u);
        store(x + u, (load(x + u, l) - set(m.mean)) * set(m.scale), l);
    }
    if (scale) *scale = m.scale;
}

// d_y is the gradient of y = gain * x + bias, where x is normalised.  Replaces x by the gradient of
// the input, and adds to the gradients of gain and bias.
void normalise_backward(const float* d_y, float* x, int64_t n, float scale, const float* gain,
                        float* d_gain, float* d_bias) {
    Vec s = set(0), q = set(0);
    for (int64_t u = 0; u < n; u += WIDTH) {
        const Lanes l(n - u);
        const Vec d = load(d_y + u, l), v = load(x + u, l), dx = d * load(gain + u, l);
        s += dx;
        q = fma(dx, v, q);
        add(d_gain, u, l, d * v);
        add(d_bias, u, l, d);
    }
    const Vec mean = set(sum(s) / static_cast<float>(n)), slope = set(sum(q) / static_cast<float>(n));
    for (int64_t u = 0; u < n; u += WIDTH) {
        const Lanes l(n - u);
        const Vec v = load(x + u, l), dx = load(d_y + u, l) * load(gain + u, l);
        store(x + u, (dx - mean - v * slope) * set(scale), l);
    }
}

void normalise_row(const LayerNorm& it, int64_t row, int64_t first, int64_t last, float* scale) {
    float *y = it.y + row * it.G, *x = it.x ? it.x + row * it.G : nullptr;
    const Moments m = moments(y + first, last - first);
    for (int64_t u = first; u < last; u += WIDTH) {
        const Lanes l(last - u);
        const Vec v = (load(y + u, l) - set(m.mean)) * set(m.scale);
        if (x) store(x + u, v, l);
        store(y + u, fma(v, load(it.gain + u, l), part(it.bias, u, l)), l);
    }
    if (scale) *scale = m.scale;
}

int team_of(const LayerNorm& it) { return it.N * it.G < 50000 ? 1 : static_cast<int>(it.threads); }

void run_layer_norm(const LayerNorm& it) {
    in_team(team_of(it), [&](int thread, int threads, Barrier&) {
        for (int64_t r = it.N * thread / threads; r < it.N * (thread + 1) / threads; ++r) {
            float* scales = it.scales ? it.scales + 2 * r : nullptr;
            normalise_row(it, r, 0, it.first, scales);
            if (it.first < it.G) normalise_row(it, r, it.first, it.G, scales ? scales + 1 : nullptr);
        }
    });
}

void run_layer_norm_backward(const LayerNorm& it) {
    const int planned = team_of(it);
    const int64_t size = (2 * it.G + WIDTH - 1) / WIDTH * WIDTH;
    float* memory = scratch(planned * size);
    in_team(planned, [&](int thread, int threads, Barrier& barrier) {
        float *d_gain = memory + thread * size, *d_bias = d_gain + it.G;
        std::memset(d_gain, 0, sizeof(float) * 2 * it.G);
        for (int64_t r = it.N * thread / threads; r < it.N * (thread + 1) / threads; ++r)
            for (int k = 0; k < (it.first < it.G ? 2 : 1); ++k) {
                const int64_t from = k ? it.first : 0, to = k ? it.G : it.first;
                normalise_backward(it.y + r * it.G + from, it.x + r * it.G + from, to - from, it.scales[2 * r + k],
                                   it.gain + from, d_gain + from, d_bias + from);
            }
        barrier.wait();
        if (thread) return;
        for (int other = 0; other < threads; ++other)
            for (int64_t u = 0; u < it.G; u += WIDTH) {
                const Lanes l(it.G - u);
                const float* sums = memory + other * size;
                add(it.d_gain, u, l, load(sums + u, l));
                add(it.d_bias, u, l, load(sums + it.G + u, l));
            }
    });
}

}  // namespace
