// Products, normalisation, cross-entropy, ragged batches and scans, with tensors instead of
// addresses.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "pages.h"
#include "ragged.h"
#include "team.h"
#include "tensor.h"

namespace {

// The rows of all steps that are a factor of a product, and their number.
struct Matrix {
    Rows rows;
    int64_t N, K;
    nb::object alive[2];

    // `data` has rows (N, K) or steps (T, B, K).  With an initial step (B, K) the rows are the
    // states before each step: the initial step, and all steps except the last.  With `at_end` the
    // sequence is reversed, and the rows are all steps except the first, and the initial step.
    Matrix(const Tensor& data, const Tensor& initial, bool at_end) {
        const int64_t T = data.extent(0), B = data.extent(1);
        K = data.extent(-1);
        alive[0] = data.python(), alive[1] = initial.python();
        if (data.dimensions() == 2) {
            const auto it = data.matrix("x", true);
            N = it.rows;
            rows = {it.p, std::max<int64_t>(1, N), N * it.row, it.row, it.bf16};
            return;
        }
        const Tensor::Batch it = data.batch("x", T, B, K);
        const int64_t size = K ? it.bytes / K : 4;
        rows = {it.p, std::max<int64_t>(1, B), it.step / size, it.row / size, size == 2};
        N = T * B;
        if (!initial.given()) return;
        rows.initial = initial.numbers("initial", {B, K}, size == 2);
        rows.initial_step = at_end ? T - 1 : 0;
        rows.p = static_cast<char*>(it.p) + (at_end ? it.step : -it.step);
    }
};

Product product(const Matrix& a, const Tensor& w, bool transposed, const Tensor& bias, const Tensor& c, bool bf16, int64_t threads) {
    if (!chosen->product) throw nb::value_error("this instruction set has no kernel for products");
    const int64_t N = a.N, K = a.K, columns = c.extent(-1);
    const int64_t shape[2] = {transposed ? columns : K, transposed ? K : columns};
    const bool tiles = bf16 && chosen->has_tiles, w_bf16 = tiles && w.is_bf16(), c_bf16 = tiles && c.is_bf16();
    return {N, K, columns, threads, bf16, a.rows, w.numbers("weight", {shape[0], shape[1]}, w_bf16), transposed,
            bias.maybe<float>("bias", {columns}), c.numbers("out", {N, columns}, c_bf16), w_bf16, c_bf16};
}

void multiply(const Matrix& a, const Tensor& w, bool transposed, const Tensor& bias, const Tensor& c, bool bf16, int64_t threads) {
    const Product it = product(a, w, transposed, bias, c, bf16, threads);
    nb::gil_scoped_release release;
    chosen->product(it);
}

OuterProduct outer_product(const Tensor& a, bool add, bool bf16, int64_t threads) {
    if (!chosen->product) throw nb::value_error("this instruction set has no kernel for products");
    const auto given = a.matrix("a", bf16 && chosen->has_tiles);
    return {given.rows, given.columns, threads, bf16, add, given.p, given.row, given.bf16, 0, {}, {}, {}};
}

void add_factor(OuterProduct& it, const Matrix& b, const Tensor& c) {
    if (b.N != it.N) raise("TensorError", "the factors of a product must have the same number of rows");
    it.b[it.count] = b.rows, it.columns[it.count] = b.K;
    it.c[it.count] = c.dense<float>("sum", {it.rows, b.K});
    ++it.count;
}

void add_outer_product(const Tensor& a, const std::vector<std::tuple<Matrix, Tensor>>& to, bool add, bool bf16, int64_t threads) {
    if (to.size() > 2) throw nb::value_error("an outer product takes at most two factors");
    OuterProduct it = outer_product(a, add, bf16, threads);
    for (const auto& [b, c] : to) add_factor(it, b, c);
    nb::gil_scoped_release release;
    chosen->outer_product(it);
}

// Computes all products of a layer's backward pass from d_a, the gradient of the arguments of the
// gates.
void gradients(const Tensor& d_a, const Matrix& seen, const Tensor& d_hh, const Matrix& x, const Tensor& d_ih, const Tensor& w_ih,
               const Tensor& d_x, bool bf16, int64_t threads) {
    OuterProduct outer = outer_product(d_a, false, bf16, threads);
    add_factor(outer, seen, d_hh), add_factor(outer, x, d_ih);
    std::optional<Product> inner;
    if (d_x.given()) inner = product(Matrix(d_a, Tensor(), false), w_ih, false, Tensor(), d_x, bf16, threads);
    nb::gil_scoped_release release;
    chosen->outer_product(outer);
    if (inner) chosen->product(*inner);
}

// M block-diagonal matrices of G blocks each, w (M, G, U, V), whose products y (N, M G U) with
// x (N, G V) lie side by side.
struct Blocks {
    static constexpr int64_t TOGETHER = 256;  // rows for each pass over the blocks, which stay in the L2 cache
    int64_t N, M, G, U, V, threads;
    Tensor::Matrix x, y;
    const float* w;

    Blocks(const Tensor& x, const Tensor& w, const Tensor& y, int64_t threads)
        : N(x.extent(0)), M(w.extent(0)), G(w.extent(1)), U(w.extent(2)), V(w.extent(3)), threads(threads),
          x(x.matrix("x", false)), y(y.matrix("y", false)), w(w.dense<float>("weight", {M, G, U, V})) {
        if (!chosen->product) throw nb::value_error("this instruction set has no kernel for products");
        if (this->x.columns != G * V) raise("TensorError", "x must have a column for each input of the blocks");
        if (this->y.rows != N || this->y.columns != M * G * U) raise("TensorError", "y must have a row for each of x, and a column for each output of the blocks");
    }

    // Some rows, with one block of one matrix.
    struct One {
        const Blocks& it;
        int64_t m, g, first, n;
        int64_t block() const { return m * it.G + g; }
        const float* w() const { return it.w + block() * it.U * it.V; }
        float* y() const { return static_cast<float*>(it.y.p) + first * it.y.row + block() * it.U; }
        Rows of_x() const { return {static_cast<const float*>(it.x.p) + first * it.x.row + g * it.V, n, n * it.x.row, it.x.row}; }
        Rows of_y() const { return {y(), n, n * it.y.row, it.y.row}; }
    };
    // Calls run(one) for everything; threads share the blocks.
    template <class Run>
    void each(const Run& run) const {
        nb::gil_scoped_release release;
        const int64_t wanted = N * M * G * U * V < 400000 ? 1 : std::min(threads, G);
        in_team(static_cast<int>(wanted), [&](int thread, int threads, Barrier&) {
            for (int64_t first = 0; first < N; first += TOGETHER)
                for (int64_t g = thread; g < G; g += threads)
                    for (int64_t m = 0; m < M; ++m) run(One{*this, m, g, first, std::min(TOGETHER, N - first)});
        });
    }
};

void block_product(const Tensor& x, const Tensor& w, const Tensor& y, int64_t threads) {
    const Blocks it(x, w, y, threads);
    it.each([&](const Blocks::One& one) {
        chosen->product({one.n, it.V, it.U, 1, false, one.of_x(), one.w(), true, nullptr, one.y(), false, false, false, it.y.row});
    });
}

void block_gradients(const Tensor& d_y, const Tensor& x, const Tensor& w, const Tensor& d_x, const Tensor& d_w, int64_t threads) {
    const Blocks it(x, w, d_y, threads);
    const int64_t width = it.G * it.V;
    float *to_x = d_x.maybe<float>("d_x", {it.N, width}), *to_w = d_w.maybe<float>("d_weight", {it.M, it.G, it.U, it.V});
    it.each([&](const Blocks::One& one) {
        if (to_x)
            chosen->product({one.n, it.U, it.V, 1, false, one.of_y(), one.w(), false, nullptr,
                             to_x + one.first * width + one.g * it.V, false, false, one.m > 0, width});
        if (to_w)
            chosen->outer_product({one.n, it.U, 1, false, one.first > 0, one.y(), it.y.row, false, 1, {it.V}, {one.of_x()},
                                   {to_w + one.block() * it.U * it.V}});
    });
}

LayerNorm layer_norm(const Tensor& y, const Tensor& x, const Tensor& scales, int64_t first, const Tensor& gain,
                     int64_t threads) {
    const int64_t N = y.extent(0), G = y.extent(1);
    need_range(first, 1, G, "first");
    LayerNorm it{N, G, first, threads, gain.dense<float>("gain_ih", {G}), nullptr, y.dense<float>("y", {N, G})};
    it.x = x.maybe<float>("x", {N, G}), it.scales = scales.maybe<float>("scales", {N, 2});
    return it;
}

const char* const OF_VOCABULARY = "; encode the text with the vocabulary of the model";

void cross_entropy(int64_t rows, const Tensor& h, const Tensor& w, const Tensor& bias, const Tensor& targets,
                   const Tensor& loss, const Tensor& right, const Tensor& d_h, const Tensor& d_w, const Tensor& d_bias,
                   int64_t threads) {
    const int64_t N = h.extent(0), D = h.extent(1), V = w.extent(0);
    need_range(rows, 1, ANY, "rows"), need_range(threads, 1, ANY, "threads");
    const CrossEntropy it{N, D, V, threads, rows, h.dense<float>("h", {N, D}), w.dense<float>("weight", {V, D}),
                          bias.maybe<float>("bias", {V}), integers(targets, "targets", N, V - 1, "V-1", OF_VOCABULARY),
                          loss.dense<double>("loss", {N}), right.maybe<bool>("right", {N}),
                          d_h.maybe<float>("d_h", {N, D}), d_w.maybe<float>("d_weight", {V, D}),
                          d_bias.maybe<float>("d_bias", {V})};
    nb::gil_scoped_release release;
    chosen->cross_entropy(it);
}

void softmax(bool gradient, const Tensor& x, const Tensor& bias, const Tensor& targets, const Tensor& loss,
             const Tensor& right, const Tensor& d_bias, int64_t threads) {
    const int64_t rows = x.extent(0), V = x.extent(1);
    need_range(threads, 1, ANY, "threads");
    const Softmax it{rows, V, threads, gradient, x.dense<float>("scores", {rows, V}), bias.maybe<float>("bias", {V}),
                     integers(targets, "targets", rows, V - 1, "V-1", OF_VOCABULARY), loss.dense<double>("loss", {rows}),
                     right.maybe<bool>("right", {rows}), d_bias.maybe<float>("d_bias", {threads, V})};
    nb::gil_scoped_release release;
    chosen->softmax(it);
}

void transducer(const Tensor& e, const Tensor& p, const Tensor& w, const Tensor& bias, const Tensor& targets,
                const Tensor& frames, const Tensor& tokens, const Tensor& loss, const Tensor& d_e, const Tensor& d_p,
                const Tensor& d_w, const Tensor& d_bias, int64_t threads) {
    const int64_t B = e.extent(0), T = e.extent(1), J = e.extent(2), U = p.extent(1) - 1, V = w.extent(0);
    need_range(threads, 1, ANY, "threads"), need_range(U, 0, ANY, "U"), need_range(V, 1, ANY, "V"), need_range(J, 1, ANY, "J");
    need_range(T * (U + 1), 0, INT32_MAX, "T * (U + 1)");
    Transducer it{B, T, U, J, V, threads, e.dense<float>("e", {B, T, J}), p.dense<float>("p", {B, U + 1, J}),
                  w.dense<float>("weight", {V, J}), bias.maybe<float>("bias", {V}), nullptr,
                  integers(frames, "frames", B, T, "T", ""), integers(tokens, "tokens", B, U, "U", ""),
                  loss.dense<double>("loss", {B}), d_e.maybe<float>("d_e", {B, T, J}),
                  d_p.maybe<float>("d_p", {B, U + 1, J}), d_w.maybe<float>("d_weight", {V, J}),
                  d_bias.maybe<float>("d_bias", {V})};
    int64_t count = 0;
    for (int64_t b = 0; b < B; ++b) {
        count += it.tokens[b];
        if (it.tokens[b] && !it.frames[b])
            raise("ArgumentError", "row " + std::to_string(b) + " has tokens, but no frames; drop such rows");
    }
    it.targets = integers(targets, "targets", count, V - 2, "V-2", OF_VOCABULARY);
    nb::gil_scoped_release release;
    chosen->transducer(it);
}

Ragged sort_rows(const Tensor& lengths, int64_t T) {
    need_range(T, 0, ANY, "T");
    const int64_t B = lengths.extent(0);
    return Ragged::sorted(integers(lengths, "lengths", B, T, "T", ""), B, T);
}

Ragged read_batch_sizes(const Tensor& sizes, int64_t N) {
    const int64_t T = sizes.extent(0), *p = sizes.dense<int64_t>("batch_sizes", {T});
    int64_t sum = 0;
    bool falls = T > 0;
    for (int64_t t = 0; falls && t < T; sum += p[t++]) falls = p[t] > 0 && p[t] <= N && (!t || p[t] <= p[t - 1]);
    if (!falls || sum != N)
        raise("ArgumentError", "batch_sizes of a PackedSequence must be at least 1, never grow, and add up to its " +
                                   std::to_string(N) + " rows; build it with pack_padded_sequence");
    return Ragged::packed(p, T);
}

void copy_rows(const Ragged& it, const Tensor& padded, const Tensor& packed, bool pack, int threads) {
    const int64_t D = packed.extent(1);
    const Tensor::Batch batch = padded.batch("x", it.T, it.B, D);
    const Copy copy{it.T, it.start.data(), it.active.data(), it.order.empty() ? nullptr : it.order.data(),
                    static_cast<char*>(batch.p), batch.step, batch.row,
                    static_cast<char*>(packed.packed("packed", it.N, D, batch.type)), batch.bytes, pack};
    nb::gil_scoped_release release;
    copy_rows(copy, threads);
}

// A scan whose sizes are set before its tensors.
struct ScanCall : Scan {
    Field field(const Tensor& tensor, const char* name) const { return tensor.field(name, B, T, D, complex); }
    float* state(const Tensor& tensor, const char* name) const {
        if (!complex) return tensor.maybe<float>(name, {B, D});
        return reinterpret_cast<float*>(tensor.maybe<std::complex<float>>(name, {B, D}));
    }
    // Returns the gradient of a, which can be a sum over the steps of each row.
    Field gradient_of_a(const Tensor& tensor) const {
        if (tensor.given() && T > 1 && tensor.extent(1) == 1) {
            if (complex) tensor.dense<std::complex<float>>("d_a", {B, 1, D});
            else tensor.dense<float>("d_a", {B, 1, D});
        }
        return field(tensor, "d_a");
    }
    void check(bool backward) const {
        need(a.p, "a"), need(h.p, "h");
        if (!backward) need(b.p, "b"), need(h_end, "h_end");
    }
    // Results of a scan are dense; a gradient that is a sum over rows or steps is small.
    void give_huge_pages(const Field& result) const {
        if (result.row && result.step) use_huge_pages(result.p, B * T * D * (complex ? 8 : 4));
    }
};

// Returns a field (B, T, width) whose numbers of a step lie side by side.
Field dense_steps(const Tensor& tensor, const char* name, int64_t B, int64_t T, int64_t width) {
    const Field found = tensor.field(name, B, T, width, false);
    if (found.p && found.unit != 1 && width > 1) raise("TensorError", std::string(name) + " must be dense in its last dimension");
    return found;
}

struct GatedScanCall : GatedScan {
    int64_t gate_count() const { return cell == MIN_LSTM ? 3 : 2; }
    Field field(const Tensor& tensor, const char* name, int64_t width) const { return dense_steps(tensor, name, B, T, width * D); }
    float* vector(const Tensor& tensor, const char* name, int64_t width) const { return tensor.maybe<float>(name, {width * D}); }
    float* state(const Tensor& tensor, const char* name, int64_t width) const { return tensor.maybe<float>(name, {B, width * D}); }
    void check(bool backward) const {
        need(gates.p, "gates"), need(bias, "bias"), need(h.p, "h");
        if (cell == RG_LRU) need(input.p, "input"), need(rate, "rate");
        if (!backward) return need(h_end, "h_end");
        need(d_gates.p, "d_gates"), need(d_sums, "d_sums");
        if (cell == RG_LRU) need(d_input.p, "d_input");
    }
};

struct SlstmCall : Slstm {
    std::vector<int64_t> sorted;

    Field field(const Tensor& tensor, const char* name, int64_t width) const { return dense_steps(tensor, name, B, T, width * N * S); }
    // Sets four leaves of a state, each of which can be None.
    template <class P>
    void leaves(const Tensor* from, const char* name, P* to) const {
        for (int k = 0; k < 4; ++k) to[k] = from[k].maybe<float>(name, {B, N * S});
    }
    void set_lengths(const Tensor& tensor) {
        lengths = integers(tensor, "lengths", B, T, "T", "");
        sorted.resize(B);
        for (int64_t b = 0; b < B; ++b) sorted[b] = b;
        std::stable_sort(sorted.begin(), sorted.end(), [&](int64_t a, int64_t b) { return lengths[a] > lengths[b]; });
        order = sorted.data();
    }
    void check(bool backward) const {
        need(gates.p, "gates"), need(r, "r"), need(y.p, "y");
        if (backward) need(cells.p, "cells"), need(seen.p, "seen");
    }
};

struct MatrixScanCall : MatrixScan {
    Field field(const Tensor& tensor, const char* name, int64_t width) const { return dense_steps(tensor, name, B, T, N * width); }
    float* state(const Tensor& tensor, const char* name) const { return tensor.maybe<float>(name, {B, N, K, V}); }
    void check(bool backward) const {
        need(q.p, "q"), need(k.p, "k");
        if (backward) return need(w.p, "w");
        need(v.p, "v"), need(y.p, "y"), need(s_end, "s_end");
    }
};

}  // namespace
