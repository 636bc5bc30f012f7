// Cross-entropy of rows of scores, and its gradient, which replaces the scores.
//
//     loss = sum over rows of  log(sum_v exp(x_v)) - x_target
//     d_x  = softmax(x) - onehot(target)
//
// A row is read three times, the second and third time from the L2 cache.
#pragma once

#include "kernels.h"
#include "subnormal.h"
#include "threads.h"
#include "vector.h"

namespace {

// Probabilities below exp(-69) = 1e-30 become zeros: products with them would be subnormal.
constexpr float NEGLIGIBLE = 69;

struct RowLoss { double loss; bool right; };

RowLoss softmax_row(const Softmax& it, float* x, int64_t target, float* d_bias) {
    const int64_t V = it.V;
    Vec tops[4];
    for (Vec& top : tops) top = set(-INFINITY);
    for (int64_t v = 0; v < V; v += 4 * WIDTH)
        for (int j = 0; j < 4 && v + j * WIDTH < V; ++j) {
            const int64_t u = v + j * WIDTH;
            const Lanes l(V - u);
            Vec score = load(x + u, l);
            if (it.bias) {
                score = score + load(it.bias + u, l);
                store(x + u, score, l);
            }
            if (V - u >= WIDTH)
                tops[j] = max(tops[j], score);
            else  // lanes beyond the end have zeros
                for (int64_t i = u; i < V; ++i) tops[j] = max(tops[j], set(x[i]));
        }
    const float top = largest(max(max(tops[0], tops[1]), max(tops[2], tops[3])));
    const float score = x[target];

    // A NaN can be missed by the maximum, but not by the sum.
    const bool gradient = it.gradient;
    const Vec shift = set(top), negligible = set(NEGLIGIBLE);
    Vec sums[2] = {set(0), set(0)};
    for (int64_t v = 0; v < V; v += 2 * WIDTH)
        for (int j = 0; j < 2 && v + j * WIDTH < V; ++j) {
            const int64_t u = v + j * WIDTH;
            const Lanes l(V - u);
            const Vec below = load(x + u, l) - shift;
            const Vec e = exp(below);
            sums[j] += keep(e, l);
            if (gradient) store(x + u, where_positive(below + negligible, e), l);
        }
    const float total = sum(sums[0] + sums[1]);
    if (gradient) {
        const Vec scale = set(1 / total);
        x[target] -= total;
        for (int64_t u = 0; u < V; u += WIDTH) {
            const Lanes l(V - u);
            const Vec p = load(x + u, l) * scale;
            store(x + u, p, l);
            if (d_bias) store(d_bias + u, load(d_bias + u, l) + p, l);
        }
    }
    // A prediction is right if the target is the first word with the highest score.
    bool right = !gradient && score == top && total == total;
    for (int64_t v = 0; right && v < target; ++v) right = x[v] != top;
    return {std::log(static_cast<double>(total)) + top - score, right};
}

void run_softmax(const Softmax& it) {
    parallel(static_cast<int>(it.threads), [](void* p, int thread, int threads) {
        const auto& it = *static_cast<const Softmax*>(p);
        const FlushToZero flush;
        float* d_bias = it.d_bias ? it.d_bias + thread * it.V : nullptr;
        for (int64_t r = it.rows * thread / threads; r < it.rows * (thread + 1) / threads; ++r) {
            const RowLoss row = softmax_row(it, it.x + r * it.V, it.targets[r], d_bias);
            it.loss[r] = row.loss;
            if (it.right) it.right[r] = row.right;
        }
    }, const_cast<Softmax*>(&it));
}

}  // namespace
