// The step of any recurrence as a list of operations on small arrays, see elman/recur/record.py.
//
// An operation runs over four dimensions.  Operands have a stride for each of them, which is 0 where
// they are broadcast.  Elementwise operations compute p[0] from p[1] and p[2].
#pragma once

#include <cmath>
#include <tuple>

#include "kernels.h"
#include "matrix_scan_backward.h"
#include "subnormal.h"
#include "sums.h"
#include "vector.h"

namespace {

// Loads the lanes from element i on of a dimension with this stride.
ELMAN_INLINE Vec fetch(const float* p, int64_t stride, int64_t i, Lanes lanes, int64_t count) {
    if (stride == 1) return load(p + i, lanes);
    if (stride == 0) return set(*p);
    float x[WIDTH] = {};
    for (int64_t n = 0; n < count; ++n) x[n] = p[(i + n) * stride];
    return load(x);
}

// Computes out = f(x) for each number, where x are INPUTS operands.
template <int INPUTS, class F>
void each(const Operation& op, const F& f) {
    for (int64_t i = 0; i < op.size[0]; ++i)
        for (int64_t j = 0; j < op.size[1]; ++j)
            for (int64_t k = 0; k < op.size[2]; ++k) {
                const auto place = [&](int n) { return op.p[n] + i * op.stride[n][0] + j * op.stride[n][1] + k * op.stride[n][2]; };
                float* to = place(0);
                const float* from[INPUTS];
                int64_t stride[INPUTS];
                for (int n = 0; n < INPUTS; ++n) from[n] = place(n + 1), stride[n] = op.stride[n + 1][3];
                const int64_t step = op.stride[0][3], size = op.size[3];
                for (int64_t m = 0; m < size; m += WIDTH) {
                    const int64_t count = size - m < WIDTH ? size - m : WIDTH;
                    const Lanes lanes(count);
                    Vec x[INPUTS];
                    for (int n = 0; n < INPUTS; ++n) x[n] = fetch(from[n], stride[n], m, lanes, count);
                    const Vec found = f(x);
                    if (step == 1) {
                        store(to + m, found, lanes);
                    } else {
                        float numbers[WIDTH];
                        store(numbers, found);
                        for (int64_t n = 0; n < count; ++n) to[(m + n) * step] = numbers[n];
                    }
                }
            }
}

// Applies a function of two numbers to each lane.
template <class F>
ELMAN_INLINE Vec by_number(Vec a, Vec b, const F& f) {
    float x[WIDTH], y[WIDTH];
    store(x, a), store(y, b);
    for (int i = 0; i < WIDTH; ++i) x[i] = f(x[i], y[i]);
    return load(x);
}

// exp for all numbers, which can be 0 or infinity.
ELMAN_INLINE Vec exp_of_any(Vec x) {
    const Vec root = exp(x * set(0.5f));
    return root * root;
}

// log(1 + exp(x))
ELMAN_INLINE Vec softplus(Vec x) { return max(set(0), x) + log_1_plus(exp_of_any(min(x, set(0) - x))); }

// Sums over the last dimension: of x or x^2, divided by `divisor`.
template <bool SQUARE>
void reduce(const Operation& op, float divisor, bool root) {
    const auto& [out, a] = std::tie(op.stride[0], op.stride[1]);
    const auto part = [](Vec x) { return SQUARE ? x * x : x; };
    const auto end = [&](float x) { return root ? std::sqrt(x) : x / divisor; };
    const int64_t reduced = op.size[3], inner = op.size[2];
    for (int64_t x = 0; x < op.size[0]; ++x)
        for (int64_t y = 0; y < op.size[1]; ++y) {
            float* to = op.p[0] + x * out[0] + y * out[1];
            const float* from = op.p[1] + x * a[0] + y * a[1];
            // Lanes are numbers that are summed, or results.
            for (int64_t z = 0; a[3] == 1 && z < inner; ++z) {
                Vec total = set(0);
                for (int64_t r = 0; r < reduced; r += WIDTH) total += part(load(from + z * a[2] + r, Lanes(reduced - r)));
                to[z * out[2]] = end(sum(total));
            }
            for (int64_t z = 0; a[3] != 1 && z < inner; z += WIDTH) {
                const int64_t count = inner - z < WIDTH ? inner - z : WIDTH;
                Vec total = set(0);
                for (int64_t r = 0; r < reduced; ++r) total += part(fetch(from + r * a[3], a[2], z, Lanes(count), count));
                float numbers[WIDTH];
                store(numbers, total);
                for (int64_t n = 0; n < count; ++n) to[(z + n) * out[2]] = end(numbers[n]);
            }
        }
}

// out[b, m, n] = bias[b, m, n] + sum_k A[b, m, k] B[b, k, n]; p[1] is A, p[2] is B and p[3] the bias, or
// null.  Sizes are (b, m, n, k).
void multiply(const Operation& op) {
    const auto& [out, a, b, c] = std::tie(op.stride[0], op.stride[1], op.stride[2], op.stride[3]);
    const int64_t N = op.size[2], K = op.size[3];
    constexpr int TOGETHER = 16;
    for (int64_t x = 0; x < op.size[0]; ++x)
        for (int64_t y = 0; y < op.size[1]; ++y) {
            float* to = op.p[0] + x * out[0] + y * out[1];
            const float *A = op.p[1] + x * a[0] + y * a[1], *B = op.p[2] + x * b[0] + y * b[1];
            const float* bias = op.p[3] ? op.p[3] + x * c[0] + y * c[1] : nullptr;
            for (int64_t n = 0; n < N; n += TOGETHER) {
                const int count = static_cast<int>(N - n < TOGETHER ? N - n : TOGETHER);
                float found[TOGETHER > WIDTH ? TOGETHER : WIDTH] = {};
                if (a[3] == 1 && b[3] == 1) {  // rows of a transposed matrix
                    Vec sums[TOGETHER];
                    const float* row[TOGETHER];
                    for (int j = 0; j < TOGETHER; ++j) sums[j] = set(0), row[j] = B + (j < count ? n + j : n) * b[2];
                    for (int64_t k = 0; k < K; k += WIDTH) {
                        const Lanes lanes(K - k);
                        const Vec factor = load(A + k, lanes);
                        for (int j = 0; j < TOGETHER; ++j) sums[j] = fma(factor, load(row[j] + k, lanes), sums[j]);
                    }
                    store_sums<TOGETHER>(found, sums);
                } else if (b[2] == 1) {
                    for (int j = 0; j < count; j += WIDTH) {
                        const Lanes lanes(count - j);
                        Vec total[4] = {set(0), set(0), set(0), set(0)};
                        const auto add = [&](int64_t k, Vec& to) { to = fma(set(A[k * a[3]]), load(B + k * b[3] + n + j, lanes), to); };
                        int64_t k = 0;
                        for (; k + 4 <= K; k += 4)
                            for (int part = 0; part < 4; ++part) add(k + part, total[part]);
                        for (; k < K; ++k) add(k, total[0]);
                        store(found + j, (total[0] + total[1]) + (total[2] + total[3]));
                    }
                } else {
                    for (int j = 0; j < count; ++j)
                        for (int64_t k = 0; k < K; ++k) found[j] += A[k * a[3]] * B[k * b[3] + (n + j) * b[2]];
                }
                for (int j = 0; j < count; ++j) to[(n + j) * out[2]] = found[j] + (bias ? bias[(n + j) * c[2]] : 0);
            }
        }
}

// Layer normalisation of rows of size[3] numbers; p[2] is the gain, p[3] the bias, and p[4] epsilon.
void layer_norm(const Operation& op) {
    const int64_t n = op.size[3];
    for (int64_t row = 0; row < op.size[2]; ++row) {
        const float* from = op.p[1] + row * op.stride[1][2];
        float mean = 0, square = 0;
        for (int64_t i = 0; i < n; ++i) mean += from[i];
        mean /= n;
        for (int64_t i = 0; i < n; ++i) square += (from[i] - mean) * (from[i] - mean);
        const float scale = 1 / std::sqrt(square / n + *op.p[4]);
        for (int64_t i = 0; i < n; ++i) op.p[0][row * op.stride[0][2] + i] = (from[i] - mean) * scale * op.p[2][i] + op.p[3][i];
    }
}

void run_operation(const Operation& op) {
    switch (op.kind) {
        case Operation::COPY: return each<1>(op, [](const Vec* x) { return x[0]; });
        case Operation::NEG: return each<1>(op, [](const Vec* x) { return set(0) - x[0]; });
        case Operation::ADD: return each<2>(op, [](const Vec* x) { return x[0] + x[1]; });
        case Operation::SUB: return each<2>(op, [](const Vec* x) { return x[0] - x[1]; });
        case Operation::MUL: return each<2>(op, [](const Vec* x) { return x[0] * x[1]; });
        case Operation::DIV:
            return each<2>(op, [](const Vec* x) { return by_number(x[0], x[1], [](float a, float b) { return a / b; }); });
        case Operation::MAXIMUM:
            return each<2>(op, [](const Vec* x) { return by_number(x[0], x[1], [](float a, float b) { return a > b || a != a ? a : b; }); });
        case Operation::MINIMUM:
            return each<2>(op, [](const Vec* x) { return by_number(x[0], x[1], [](float a, float b) { return a < b || a != a ? a : b; }); });
        case Operation::EQUAL:
            return each<2>(op, [](const Vec* x) { return by_number(x[0], x[1], [](float a, float b) { return a == b ? 1.0f : 0.0f; }); });
        case Operation::SELECT:
            return each<3>(op, [](const Vec* x) { return where_positive(x[0], x[1]) + where_positive(set(1) - x[0], x[2]); });
        case Operation::ABS: return each<1>(op, [](const Vec* x) { return max(x[0], set(0) - x[0]); });
        case Operation::SQRT: return each<1>(op, [](const Vec* x) { return by_number(x[0], x[0], [](float a, float) { return std::sqrt(a); }); });
        case Operation::RSQRT: return each<1>(op, [](const Vec* x) { return by_number(x[0], x[0], [](float a, float) { return 1 / std::sqrt(a); }); });
        case Operation::EXP: return each<1>(op, [](const Vec* x) { return exp_of_any(x[0]); });
        case Operation::EXPM1: return each<1>(op, [](const Vec* x) { return by_number(x[0], x[0], [](float a, float) { return std::expm1(a); }); });
        case Operation::SIGMOID: return each<1>(op, [](const Vec* x) { return sigmoid(x[0]); });
        case Operation::TANH: return each<1>(op, [](const Vec* x) { return tanh(x[0]); });
        case Operation::SILU: return each<1>(op, [](const Vec* x) { return x[0] * sigmoid(x[0]); });
        case Operation::GELU: return each<1>(op, [](const Vec* x) { return by_number(x[0], x[0], [](float a, float) { return a / 2 * (1 + std::erf(a * 0.70710678f)); }); });
        case Operation::SOFTPLUS: return each<1>(op, [](const Vec* x) { return softplus(x[0]); });
        case Operation::LOG_SIGMOID: return each<1>(op, [](const Vec* x) { return set(0) - softplus(set(0) - x[0]); });
        case Operation::SUM: return reduce<false>(op, 1, false);
        case Operation::MEAN: return reduce<false>(op, static_cast<float>(op.size[3]), false);
        case Operation::NORM: return reduce<true>(op, 1, true);
        case Operation::MATMUL: return multiply(op);
        case Operation::LAYER_NORM: return layer_norm(op);
        case Operation::MATRIX_SCAN: return run_matrix_scan<false>(*op.scan);
    }
}

void run_program(const Operation* operations, int64_t count) {
    const FlushToZero flush;
    for (int64_t n = 0; n < count; ++n) run_operation(operations[n]);
}

}  // namespace
