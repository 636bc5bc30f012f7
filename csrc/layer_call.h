// One layer in one direction.  Python sets the sizes and weights, then the steps of a part, states
// and gradients.  Each tensor is checked against the sizes when it is set.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bfloat16.h"
#include "calls.h"
#include "tensor.h"

namespace {

// A call of a layer.  It also checks tensors that were set separately when it runs.
struct Layer : Recurrence {
    int64_t G = 0;
    const Ragged* ragged = nullptr;
    int64_t first_step = 0;  // first step of a part
    std::optional<Matrix> x;  // the tensors of `product`
    Product product;
    const float* bias_ih = nullptr;  // null if it is part of `bias`
    // Floats of small tensors that arrived in bfloat16 or were added up, and of a last state in
    // bfloat16.
    std::vector<float> bias_floats, bias_ih_floats, first_state[2], last_state[2];
    uint16_t* rounded[2] = {};

    bool projects() const { return w_hr && cell != GRU_RESET_BEFORE; }
    int64_t gates() const { return cell <= RNN_RELU ? 1 : cell == ::LSTM ? 4 : 3; }
    Tensor::Span rows_used(int64_t first) const {
        if (!ragged) return {first, first + T * B};
        const int64_t last = first_step + T - 1;
        return {first + ragged->start[first_step], first + ragged->start[last] + ragged->active[last]};
    }
    Steps steps(const Tensor& tensor, const char* name, int64_t columns, bool maybe_bf16 = false) const {
        return tensor.steps(name, first_step, T, B, columns, ragged ? ragged->N : -1, maybe_bf16);
    }
    void check(bool backward) const {
        if (!inputs || backward) need(a.p, "a");
        if (a.bf16 && (gain || gain_c || cell == GRU_RESET_BEFORE || !(inputs || backward)))
            raise("TensorError", "a must be float32 for layer normalisation, a reset before the product, and inputs that are multiplied separately");
        if ((w_bf16 || a.bf16 || c.bf16 || y.bf16) && !chosen->has_tiles) raise("TensorError", "the instruction set was changed between two passes");
        if (decay.p && cell < ::GRU) raise("TensorError", "decay must be None for an RNN and an LSTM");
        if (inputs && !backward && product.N != (ragged ? ragged->N : T * B)) raise("TensorError", "the inputs must have a row for each step");
        need(w_hh, "w_hh");
        if ((cell == ::GRU && (backward || !inputs)) || (gain && cell > RNN_RELU)) need(p.p, "p");
        if (cell == GRU_RESET_BEFORE) need(w_hr, "w_hr");
        if (bias_c) need(gain_c, "gain_c");
        if (multiplied && (T != 1 || backward)) throw nb::value_error("multiplied must be false for several steps and a backward pass");
        if (!backward) return need(y.p, "y");
        if (cell >= ::LSTM) need(c.p, "c");
        if (cell == GRU_RESET_BEFORE) need(m.p, "m");
        if (projects()) need(d_r.p, "d_r"), need(m.p, "m");
        if (gain) need(stats.p, "stats"), need(d_gain, "d_gain");
        if (decay.p) need(d_decay.p, "d_decay");
    }
};

// Sets the sizes and weights.  Of w_ih it only checks the shape: the product of the inputs is a
// separate call, of our kernel or torch, or is set by `set_inputs`.
void set_layer(Layer& it, int64_t cell, int64_t B, int64_t D, int64_t H, int64_t R, int64_t threads, bool reverse,
               bool bf16, float rate_h, float rate_c, const Ragged* ragged, const Tensor& mask, const Tensor& w_ih,
               const Tensor& bias_ih, bool one_bias, const Tensor& gain_ih, const Tensor& w_hh, const Tensor& w_hr, const Tensor& bias, const Tensor& peephole, const Tensor& gain,
               const Tensor& gain_c, const Tensor& bias_c) {
    need_range(cell, RNN_TANH, GRU_RESET_BEFORE, "cell");
    need_range(B, 1, ANY, "B"), need_range(H, 1, ANY, "H"), need_range(R, 1, ANY, "R"), need_range(threads, 1, ANY, "threads");
    it.cell = cell, it.B = B, it.H = H, it.R = R, it.threads = threads;
    it.reverse = reverse, it.bf16 = bf16, it.rate_h = rate_h, it.rate_c = rate_c;
    it.G = it.gates() * H;
    it.ragged = ragged;
    if (ragged && ragged->B != B) throw nb::value_error("the ragged batch must have B rows");
    it.order = ragged && !ragged->order.empty() ? ragged->order.data() : nullptr;
    const bool inner = cell == GRU_RESET_BEFORE;
    w_ih.must_be("weight_ih", {it.G, D});
    it.bias_ih = bias_ih.floats("bias_ih", {it.G}, it.bias_ih_floats), gain_ih.maybe<float>("gain_ih", {it.G});
    it.mask = mask.maybe<float>("mask", {B, R});
    it.w_bf16 = bf16 && chosen->has_tiles && w_hh.is_bf16();
    it.w_hh = w_hh.numbers("weight_hh", {inner ? 2 * H : it.G, R}, it.w_bf16);
    it.w_hr = w_hr.given() ? w_hr.numbers("weight_hr", {inner ? H : R, inner ? R : H}, it.w_bf16) : nullptr;
    if (R != H && (inner || !it.w_hr)) w_hh.numbers("weight_hh", {it.G, H}, it.w_bf16);
    it.bias = bias.floats("bias", {it.G}, it.bias_floats);
    if (one_bias && it.bias && it.bias_ih) {
        std::vector<float> sum(it.bias, it.bias + it.G);
        for (int64_t i = 0; i < it.G; ++i) sum[i] += it.bias_ih[i];
        it.bias_floats = std::move(sum);
        it.bias = it.bias_floats.data(), it.bias_ih = nullptr;
    }
    it.peephole = peephole.maybe<float>("weight_peephole", {3 * H});
    it.gain = gain.maybe<float>("gain_hh", {it.G});
    it.gain_c = gain_c.maybe<float>("gain_c", {H}), it.bias_c = bias_c.maybe<float>("bias_c", {H});
}

// Sets x (N, D) or (T, B, D), for a call that computes the product of its inputs.  A bias that is
// used only together with the product is added there.
void set_inputs(Layer& it, const Matrix& x, const Tensor& w) {
    if (!chosen->has_tiles) throw nb::value_error("this instruction set cannot multiply the inputs within a call");
    it.x = x;
    const bool w_bf16 = it.bf16 && w.is_bf16();
    it.product = {x.N, x.K, it.G, it.threads, it.bf16, x.rows, w.numbers("weight_ih", {it.G, x.K}, w_bf16), true,
                  it.cell == ::GRU ? it.bias_ih : it.bias, nullptr, w_bf16};
    it.inputs = &it.product;
}

// Sets T steps from `first_step` on.
void set_part(Layer& it, int64_t T, int64_t first_step, int64_t first, const Tensor& a, const Tensor& p, const Tensor& c,
              const Tensor& seen, const Tensor& m, const Tensor& stats, const Tensor& d_r) {
    need_range(T, 1, ANY, "T"), need_range(first_step, 0, ANY, "first_step");
    if (it.ragged) need_range(first_step + T, 1, it.ragged->T, "T");
    it.T = T, it.first_step = first_step;
    it.start = it.ragged ? it.ragged->start.data() + first_step : nullptr;
    it.active = it.ragged ? it.ragged->active.data() + first_step : nullptr;
    const Tensor::Span used = it.rows_used(first);
    const auto rows = [&](const Tensor& t, const char* name, int64_t n) {
        return t.rows(name, n, first, used, it.B, it.ragged != nullptr);
    };
    const auto maybe_bf16 = [&](const Tensor& t, const char* name, int64_t n) {
        return t.rows(name, n, first, used, it.B, it.ragged != nullptr, chosen->has_tiles);
    };
    it.a = maybe_bf16(a, "a", it.G), it.c = maybe_bf16(c, "c", it.H);
    it.p = rows(p, "p", it.G), it.seen = rows(seen, "seen", it.R);
    it.m = rows(m, "m", it.H), it.stats = rows(stats, "stats", 2), it.d_r = rows(d_r, "d_r", it.R);
    it.y = it.keep_h = it.keep_c = it.decay = it.d_decay = Steps{};
}

void set_state(Layer& it, const Tensor& h0, const Tensor& c0, const Tensor& h_end, const Tensor& c_end) {
    it.h0 = h0.floats("h0", {it.B, it.R}, it.first_state[0]), it.c0 = c0.floats("c0", {it.B, it.H}, it.first_state[1]);
    it.h_end = h_end.floats("h_end", {it.B, it.R}, it.last_state[0]), it.c_end = c_end.floats("c_end", {it.B, it.H}, it.last_state[1]);
    it.rounded[0] = h_end.is_bf16() ? h_end.dense<uint16_t>("h_end", {it.B, it.R}) : nullptr;
    it.rounded[1] = c_end.is_bf16() ? c_end.dense<uint16_t>("c_end", {it.B, it.H}) : nullptr;
}

// Rounds the last state to bfloat16 after a forward pass, if that is its type.
void round_state(const Layer& it) {
    for (int leaf = 0; leaf < 2; ++leaf)
        if (it.rounded[leaf])
            for (size_t i = 0; i < it.last_state[leaf].size(); ++i) it.rounded[leaf][i] = to_bfloat16(it.last_state[leaf][i]);
}

void set_gradients(Layer& it, const Tensor& h0, const Tensor& c0, const Tensor& bias, const Tensor& peephole,
                   const Tensor& gain, const Tensor& gain_c, const Tensor& bias_c) {
    it.d_h0 = h0.maybe<float>("d_h0", {it.B, it.R}), it.d_c0 = c0.maybe<float>("d_c0", {it.B, it.H});
    it.d_bias = bias.maybe<float>("d_bias", {it.G}), it.d_peephole = peephole.maybe<float>("d_peephole", {3 * it.H});
    it.d_gain = gain.maybe<float>("d_gain", {it.G});
    it.d_gain_c = gain_c.maybe<float>("d_gain_c", {it.H}), it.d_bias_c = bias_c.maybe<float>("d_bias_c", {it.H});
}

}  // namespace
