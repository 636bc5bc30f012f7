// One step of a stack of layers, for sequences that arrive one element at a time.
//
// The matrices stay packed and the state is replaced in place, so that a step allocates nothing.
// Each of two threads computes some columns of the products and some of the units.  Layers with
// normalisation are not supported, because their inputs would have to be normalised first.
#pragma once

#include "recurrence.h"

namespace {

void pack_transposed(const float* w, int64_t k, int64_t columns, float* to) {
    pack(w, k, columns, true, 0, panels(columns), to);
}

// Matrices larger than the cache are traversed from alternating ends at successive steps, because
// the panels used last are still in the cache.
template <class Cell>
void step_layer(const StepLayer& layer, const float* x, bool from_end, int thread, int threads, Barrier& barrier) {
    const Recurrence& a = layer.it;
    constexpr bool INNER = Cell::FIRST < Cell::GATES;
    const bool projects = a.w_hr && !INNER;
    const int64_t G = Cell::GATES * a.H, F = Cell::FIRST * a.H;
    const float* second = a.packed + packed_size(a.R, F);
    const auto share = [&](int64_t n, int which) { return n * which / threads; };
    const auto multiply = [&](const float* from, int64_t k, const float* packed, int64_t columns, float* to, int64_t ld, bool add) {
        const int64_t n = panels(columns);
        product(a.B, from, k, packed, k, columns, share(n, thread), share(n, thread + 1), to, ld, add, from_end);
    };
    float* target = a.p.p ? a.p.p : a.a.p;
    // The second product is added to the first.  If h multiplies only some gates, the inputs must
    // fill all gates first.
    const bool inputs_last = from_end && !INNER;
    if (inputs_last) multiply(a.h_end, a.R, a.packed, F, target, G, false);
    multiply(x, layer.D, layer.packed_ih, G, a.a.p, G, inputs_last && !a.p.p);
    if (INNER && !a.p.p) barrier.wait();  // a thread's share of F columns is not within its share of G
    if (!inputs_last) multiply(a.h_end, a.R, a.packed, F, target, G, !a.p.p);
    barrier.wait();

    Row row{};
    row.H = a.H;
    row.bias = a.bias, row.peephole = a.peephole, row.rate_c = a.rate_c;
    const int64_t blocks = (a.H + WIDTH - 1) / WIDTH;
    row.first = share(blocks, thread) * WIDTH;
    row.last = share(blocks, thread + 1) * WIDTH;
    if (row.last > a.H) row.last = a.H;
    const auto mix = [&](const float* from, int64_t width, int64_t first, int64_t last, int64_t b) {
        float* h = a.h_end + b * a.R;
        for (int64_t u = first; u < last; u += WIDTH) {
            const Lanes l(last - u);
            const Vec new_ = load(from + b * width + u, l), old = load(h + u, l);
            store(h + u, fma(set(a.rate_h), old - new_, new_), l);
        }
    };
    const auto place = [&](int64_t b) {
        row.a = a.a.p + b * G, row.z = row.a, row.p = a.p.p ? a.p.p + b * G : nullptr;
        row.h = a.h_end + b * a.R, row.c = a.c_end + b * a.H;
        row.out = layer.out + b * a.H, row.inner = layer.projected + b * a.R;
    };
    if constexpr (INNER) {
        for (int64_t b = 0; b < a.B && row.first < row.last; ++b) place(b), Cell::reset(row);
        barrier.wait();
        multiply(layer.projected, a.R, second, a.H, target + F, G, !a.p.p);
        barrier.wait();
    }
    for (int64_t b = 0; b < a.B && row.first < row.last; ++b) {
        place(b);
        if (layer.bias_ih)
            for (int64_t g = 0; g < Cell::GATES; ++g)
                for (int64_t u = row.first; u < row.last; u += WIDTH) {
                    const Lanes l(row.last - u);
                    float* z = row.a + g * a.H + u;
                    store(z, load(z, l) + load(layer.bias_ih + g * a.H + u, l), l);
                }
        Cell::forward(row);
        if (!projects) mix(layer.out, a.H, row.first, row.last, b);
    }
    barrier.wait();
    if (!projects) return;
    multiply(layer.out, a.H, second, a.R, layer.projected, a.R, false);
    barrier.wait();
    if (thread == 0)
        for (int64_t b = 0; b < a.B; ++b) mix(layer.projected, a.R, 0, a.R, b);
    barrier.wait();
}

void run_step(const StepLayer* layers, int count, const float* x, bool from_end, int threads) {
    in_team(threads, [&](int thread, int threads, Barrier& barrier) {
        const float* from = x;
        for (int i = 0; i < count; ++i) {
            const StepLayer& layer = layers[i];
            const auto run = layer.it.cell == RNN_TANH   ? step_layer<RnnCell<false>>
                             : layer.it.cell == RNN_RELU ? step_layer<RnnCell<true>>
                             : layer.it.cell == LSTM     ? step_layer<LstmCell>
                             : layer.it.cell == GRU      ? step_layer<GruCell>
                                                         : step_layer<GruResetBeforeCell>;
            run(layer, from, from_end, thread, threads, barrier);
            from = layer.it.h_end;
        }
    });
}

}  // namespace
