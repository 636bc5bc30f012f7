// The loop over time, forward and backward, written once for all cells.
//
// A step is a product of the rows' states with a packed matrix, followed by a pointwise part.  Some
// cells have a second product: of the output with the projection, or, before the pointwise part, of
// r * h.
#pragma once

#include "inputs.h"
#include "row_states.h"
#include "sharing.h"

namespace {

// Sizes of the scratch memory of one call, in floats.
struct Layout {
    int64_t w_hh, w_hr, weights, p, h, c, seen, decayed, out, product, cell_scratch, sums, prepared, inputs;
    int64_t G, sums_size, prepared_size;  // the sizes are for one thread

    Layout(const Recurrence& a, int gates, int first, bool backward, const Plan& plan) : G(gates * a.H) {
        const int threads = plan.threads;
        const int parts = parts_of(a);
        w_hh = backward ? factor_size(parts, first * a.H, a.R) : factor_size(parts, a.R, first * a.H);
        w_hr = !a.w_hr ? 0 : backward ? factor_size(parts, a.R, a.H) : factor_size(parts, a.H, a.R);
        weights = a.packed || a.multiplied ? 0 : w_hh + w_hr;
        p = a.inputs && a.cell == ::GRU && !a.p.p ? a.B * padded_width(G) : 0;
        h = a.B * padded_width(a.R);
        c = a.B * padded_width(a.H);
        seen = a.mask ? a.B * padded_width(a.R) : 0;
        decayed = backward && a.decay.p ? a.B * padded_width(a.R) : 0;
        out = a.B * (padded_width(a.H) + (a.w_hr ? padded_width(a.R) : 0));
        product = backward ? a.B * padded_width(G) : 0;
        cell_scratch = threads * padded_width(a.H);
        sums_size = backward ? padded_width(2 * G + 5 * a.H) : 0;
        sums = threads * sums_size;
        const int64_t widest = backward ? (G > a.R ? G : a.R) : a.H;  // R is at most H
        prepared_size = ::prepared_size(parts, a.B, widest);
        prepared = threads * prepared_size;
        inputs = a.inputs && !backward ? Inputs::size(a, G, plan) : 0;
    }
    int64_t total() const { return weights + p + h + c + seen + decayed + out + product + cell_scratch + sums + prepared + inputs + 64; }
};

// The memory of one call, which the threads share.  Each touches only its rows, unless threads
// share the units.
struct Memory {
    float* weights;  // null if the caller has packed them
    const float *w_hh, *w_hr;
    float *p, *h, *c, *seen, *decayed, *out, *second, *product, *cell_scratch, *sums;
    float *prepared, *inputs;
    int64_t prepared_size, ld_r, ld_h, ld_g;

    Memory(const Recurrence& a, const Layout& l, float* start) : prepared_size(l.prepared_size), ld_r(padded_width(a.R)), ld_h(padded_width(a.H)), ld_g(padded_width(l.G)) {
        const auto take = [&start](int64_t n) { float* it = start; start += n; return it; };
        weights = l.weights ? take(l.weights) : nullptr;
        w_hh = weights ? weights : a.packed;
        w_hr = w_hh + l.w_hh;
        p = l.p ? take(l.p) : nullptr;
        h = take(l.h), c = take(l.c);
        seen = a.mask ? take(l.seen) : h;
        decayed = take(l.decayed);
        out = take(a.B * ld_h);
        second = a.w_hr ? take(a.B * ld_r) : out;
        product = take(l.product), cell_scratch = take(l.cell_scratch), sums = take(l.sums);
        prepared = take(l.prepared), inputs = take(l.inputs);
    }
    // Returns the first row of a thread in a block in which the rows of each thread lie together.
    static int64_t block(const Time& time) {
        const int64_t B = time.args.B, n = time.threads;
        if (time.rows_step == 1) return time.rows_first;
        return time.thread * (B / n) + (time.thread < B % n ? time.thread : B % n);
    }
};

// Returns the arguments of the pointwise part that are constant over all steps.
Row make_row(const Time& time, const Memory& memory) {
    const Recurrence& a = time.args;
    Row row{};
    row.H = a.H;
    // Units are shared in whole registers, so that few cache lines have units of two threads.
    const int64_t width = time.owns_units() ? PANEL : WIDTH, n = (a.H + width - 1) / width;
    const bool parts = time.by_units && !a.gain;
    row.first = parts ? n * time.thread / time.threads * width : 0;
    row.last = parts ? n * (time.thread + 1) / time.threads * width : a.H;
    if (row.last > a.H) row.last = a.H;
    row.scratch = memory.cell_scratch + time.thread * memory.ld_h;
    row.bias = a.bias, row.gain = a.gain, row.peephole = a.peephole;
    row.gain_c = a.gain_c, row.bias_c = a.bias_c;
    row.rate_c = a.rate_c;
    return row;
}

void pack_share(int thread, int threads, int parts, const float* w, bool bf16, int64_t k, int64_t columns, bool transposed, float* to) {
    const int64_t n = panels(columns);
    pack_factor(parts, w, bf16, k, columns, transposed, n * thread / threads, n * (thread + 1) / threads, to);
}

// Computes C (+)= A W for this thread's rows and panels, after all threads have written A.
void multiply(Time& time, const Memory& memory, int64_t n, const float* a, int64_t lda, const float* packed, int64_t k,
              int64_t columns, float* c, int64_t ldc, bool add, bool from_end) {
    const int parts = time.parts;
    const Ranges columns_of_thread = time.share(columns);
    const float* factor = a;
    if (parts) {
        // Threads that share the units also share this work; few rows are prepared by each thread
        // for itself.
        const bool together = time.by_units && n > PANEL;
        float* own = memory.prepared + (together ? 0 : time.thread * memory.prepared_size);
        (parts == 1 ? Strips<1>::prepare : Strips<3>::prepare)(a, lda, n, k, together ? time.thread : 0,
                                                               together ? time.threads : 1, own);
        time.meet();
        factor = own;
    }
    const int count = columns_of_thread.count;
    for (int i = 0; i < count; ++i) {
        const int r = from_end ? count - 1 - i : i;
        const int64_t from = columns_of_thread.first[r], to = columns_of_thread.last[r];
        if (parts)
            (parts == 1 ? Strips<1>::multiply : Strips<3>::multiply)(n, factor, packed, k, columns, from, to, c, ldc, add, from_end);
        else
            product(n, factor, lda, packed, k, columns, from, to, c, ldc, add, from_end);
    }
}

// Packs a thread's share of the matrices for one pass.
void pack_weights(const Recurrence& a, int64_t G, bool backward, int thread, int threads, float* to) {
    const int parts = parts_of(a);
    if (backward) {
        pack_share(thread, threads, parts, a.w_hh, a.w_bf16, G, a.R, false, to);
        if (a.w_hr) pack_share(thread, threads, parts, a.w_hr, a.w_bf16, a.R, a.H, false, to + factor_size(parts, G, a.R));
    } else {
        pack_share(thread, threads, parts, a.w_hh, a.w_bf16, a.R, G, true, to);
        if (a.w_hr) pack_share(thread, threads, parts, a.w_hr, a.w_bf16, a.H, a.R, true, to + factor_size(parts, a.R, G));
    }
}

template <class Cell>
void run_forward(Time& time, const Memory& memory) {
    const Recurrence& a = time.args;
    constexpr bool INNER = Cell::FIRST < Cell::GATES;
    const bool projects = a.w_hr && !INNER;
    const int64_t F = Cell::FIRST * a.H, ld_r = memory.ld_r, ld_h = memory.ld_h;
    const int64_t base = Memory::block(time);
    float *h = memory.h + base * ld_r, *c = memory.c + base * ld_h, *seen = memory.seen + base * ld_r;
    const int64_t ld_p = a.w_hr ? ld_r : ld_h;
    float *out = memory.out + base * ld_h, *second = memory.second + base * ld_p;
    const float* result = INNER ? out : second;
    const RowShare share = row_share(time), whole = whole_rows(time);
    Inputs inputs(time, memory.inputs, Cell::GATES * a.H);
    const auto input = [&](int64_t j, int64_t t) { return inputs.joined() ? inputs.at(t, j) : time.at(a.a, t, j); };
    // Products with h have separate memory, or are added to the contribution of the inputs.
    const bool separate = a.p.p || memory.p;
    const auto product = [&](int64_t j, int64_t t) {
        return memory.p ? memory.p + time.sorted(j) * memory.ld_g : time.at(a.p, t, j);
    };
    const auto target = [&](int64_t t) { return separate ? product(0, t) : input(0, t); };
    const int64_t ld_target = memory.p           ? memory.ld_g * time.rows_step
                              : a.p.p            ? time.pitch(a.p)
                              : inputs.joined() ? inputs.ld()
                                                 : time.pitch(a.a);

    inputs.pack();
    if (memory.weights) pack_weights(a, F, false, time.thread, time.threads, memory.weights);
    for (int64_t j = whole.first; j < time.mine(a.B); j += whole.step) {
        copy_or_zero(h + j * ld_r, a.h0, time.original(j), a.R);
        if (Cell::CELLS) copy_or_zero(c + j * ld_h, a.c0, time.original(j), a.H);
    }
    time.meet_all();

    // Computes h_t from the output of the cell: applies zoneout, and writes h_t to the caller's
    // memory.
    const auto finish = [&](int64_t j, int64_t t, int64_t first, int64_t last) {
        const float *keep = time.at(a.keep_h, t, j), *from = result + j * ld_p;
        float* y = time.at(a.y, t, j);
        for (int64_t u = first; u < last; u += WIDTH) {
            const Lanes l(last - u);
            const Vec new_ = load(from + u, l), old = load(h + j * ld_r + u, l);
            const Vec it = fma(::share(keep, a.rate_h, u, l), old - new_, new_);
            store(h + j * ld_r + u, it, l);
            store(y, a.y.bf16, u, it, l);
        }
    };
    Row row = make_row(time, memory);
    if (a.inputs && a.cell != ::GRU) row.bias = nullptr;  // the product of the inputs includes it
    row.bf16 = a.a.bf16;
    const auto place = [&](int64_t j, int64_t t) {
        float* z = input(j, t);
        row.a = a.a.p ? time.at(a.a, t, j) : z, row.z = z, row.p = product(j, t), row.stats = time.at(a.stats, t, j);
        row.h = h + j * ld_r, row.c = c + j * ld_h, row.mask = time.mask(j);
        row.out = out + j * ld_h, row.inner = second + j * ld_p, row.keep_c = time.at(a.keep_c, t, j);
    };
    for (int64_t i = 0; i < a.T; ++i) {
        inputs.compute(i);
        const int64_t t = time.step(i), n = time.mine(time.running(t));
        if (!n && !time.by_units) continue;
        for (int64_t j = whole.first; j < n; j += whole.step) {
            if (a.decay.p) scale(h + j * ld_r, h + j * ld_r, time.at(a.decay, t, j), 0, a.R);
            if (a.mask)
                for (int64_t u = 0; u < a.R; u += WIDTH) {
                    const Lanes l(a.R - u);
                    store(seen + j * ld_r + u, load(h + j * ld_r + u, l) * load(time.mask(j) + u, l), l);
                }
            if (a.seen.p) std::memcpy(time.at(a.seen, t, j), seen + j * ld_r, sizeof(float) * a.R);
        }
        if (a.mask || a.decay.p) time.meet();
        if (!a.multiplied) multiply(time, memory, n, seen, ld_r, memory.w_hh, a.R, F, n ? target(t) : nullptr, ld_target, !separate, i & 1);
        time.meet_after(false);
        if constexpr (INNER) {
            for (int64_t j = share.first; j < n; j += share.step) place(j, t), Cell::reset(row);
            time.meet();
            multiply(time, memory, n, second, ld_p, memory.w_hr, a.R, a.H, n ? target(t) + F : nullptr, ld_target, !separate, i & 1);
            time.meet_after(false);
        }
        for (int64_t j = share.first; j < n; j += share.step) {
            place(j, t);
            Cell::forward(row);
            if (a.m.p) copy_units(time.at(a.m, t, j), false, INNER ? row.inner : row.out, row.first, row.last);
            if (a.c.p) copy_units(time.at(a.c, t, j), a.c.bf16, row.c, row.first, row.last);
            if (!projects) finish(j, t, row.first, row.last);
        }
        time.meet();
        if (!projects) continue;
        multiply(time, memory, n, out, ld_h, memory.w_hr, a.H, a.R, second, ld_r, false, i & 1);
        time.meet();
        for (int64_t j = whole.first; j < n; j += whole.step) finish(j, t, 0, a.R);
        time.meet();
    }
    for (int64_t j = whole.first; j < time.mine(a.B); j += whole.step) {
        if (a.h_end) std::memcpy(a.h_end + time.original(j) * a.R, h + j * ld_r, sizeof(float) * a.R);
        if (a.c_end) std::memcpy(a.c_end + time.original(j) * a.H, c + j * ld_h, sizeof(float) * a.H);
    }
}

template <class Cell>
void run_backward(Time& time, const Memory& memory) {
    const Recurrence& a = time.args;
    constexpr bool INNER = Cell::FIRST < Cell::GATES;
    const bool projects = a.w_hr && !INNER;
    const int64_t G = Cell::GATES * a.H, F = Cell::FIRST * a.H;
    const int64_t ld_r = memory.ld_r, ld_h = memory.ld_h, ld_g = memory.ld_g;
    const int64_t base = Memory::block(time);
    float *d_h = memory.h + base * ld_r, *d_c = memory.c + base * ld_h, *d_seen = memory.seen + base * ld_r;
    const int64_t ld_p = a.w_hr ? ld_r : ld_h;
    float *d_out = memory.out + base * ld_h, *d_second = memory.second + base * ld_p;
    float* decayed = memory.decayed + base * ld_r;
    float *gates = memory.product + base * ld_g, *d_result = INNER ? d_out : d_second;
    const RowShare share = row_share(time), whole = whole_rows(time);
    const Layout layout(a, Cell::GATES, Cell::FIRST, true, {time.threads, time.by_units});

    if (memory.weights) pack_weights(a, F, true, time.thread, time.threads, memory.weights);
    for (int64_t j = whole.first; j < time.mine(a.B); j += whole.step) {
        copy_or_zero(d_h + j * ld_r, a.h_end, time.original(j), a.R);
        if (Cell::CELLS) copy_or_zero(d_c + j * ld_h, a.c_end, time.original(j), a.H);
    }
    float* sums = memory.sums + time.thread * layout.sums_size;
    std::memset(sums, 0, sizeof(float) * layout.sums_size);
    Row row = make_row(time, memory);
    row.bf16 = a.a.bf16;
    row.d_bias = a.d_bias ? sums : nullptr;
    row.d_gain = sums + G;
    row.d_peephole = sums + 2 * G;
    row.d_gain_c = sums + 2 * G + 3 * a.H;
    row.d_bias_c = a.bias_c ? sums + 2 * G + 4 * a.H : nullptr;
    // Splits the gradient of h_t: d_result flows through the cell, and d_h around it by zoneout.
    const auto begin = [&](int64_t j, int64_t t, int64_t first, int64_t last) {
        const float *keep = time.at(a.keep_h, t, j), *d_y = time.at(a.y, t, j);
        float *d = d_h + j * ld_r, *through = d_result + j * ld_p;
        for (int64_t u = first; u < last; u += WIDTH) {
            const Lanes l(last - u);
            const Vec k = ::share(keep, a.rate_h, u, l), all = d_y ? load(d + u, l) + load(d_y, a.y.bf16, u, l) : load(d + u, l);
            store(through + u, fma(set(0) - k, all, all), l);
            store(d + u, k * all, l);
        }
    };
    const auto place = [&](int64_t j, int64_t i, int64_t t) {
        row.a = time.at(a.a, t, j), row.p = time.at(a.p, t, j), row.stats = time.at(a.stats, t, j);
        row.h = d_h + j * ld_r, row.c = d_c + j * ld_h, row.product = gates + j * ld_g, row.mask = time.mask(j);
        row.d_out = d_out + j * ld_h, row.inner = d_second + j * ld_p, row.keep_c = time.at(a.keep_c, t, j);
        if (Cell::CELLS)
            row.c_before = before(time, a.c, a.c0, a.H, i, j), row.c_bf16 = a.c.bf16 && is_kept(time, i, j);
        else if (Cell::MIXES)
            row.h_before = a.decay.p ? decayed + j * ld_r : before(time, a.c, a.h0, a.R, i, j);
    };
    time.meet_all();

    for (int64_t i = a.T - 1; i >= 0; --i) {
        const int64_t t = time.step(i), n = time.mine(time.running(t));
        if (!n && !time.by_units) continue;
        if (projects) {
            for (int64_t j = whole.first; j < n; j += whole.step) {
                begin(j, t, 0, a.R);
                std::memcpy(time.at(a.d_r, t, j), d_second + j * ld_p, sizeof(float) * a.R);
            }
            time.meet();
            multiply(time, memory, n, d_second, ld_p, memory.w_hr, a.R, a.H, d_out, ld_h, false, i & 1);
            time.meet();
        }
        for (int64_t j = share.first; j < n; j += share.step) {
            if (!projects) begin(j, t, row.first, row.last);
            if (a.decay.p)
                scale(decayed + j * ld_r, before(time, a.c, a.h0, a.R, i, j), time.at(a.decay, t, j), row.first, row.last);
            place(j, i, t);
            Cell::backward(row);
        }
        time.meet();
        if constexpr (INNER) {
            multiply(time, memory, n, gates + F, ld_g, memory.w_hr, a.H, a.R, d_second, ld_p, false, i & 1);
            time.meet_after(false);
            for (int64_t j = share.first; j < n; j += share.step) place(j, i, t), Cell::reset_backward(row);
            time.meet();
        }
        multiply(time, memory, n, gates, ld_g, memory.w_hh, F, a.R, d_seen, ld_r, !a.mask, i & 1);
        time.meet_after(projects || a.mask || a.decay.p || i == 0);
        if (!a.mask && !a.decay.p) continue;
        for (int64_t j = whole.first; j < n; j += whole.step) {
            const float *mask = time.mask(j), *decay = time.at(a.decay, t, j);
            const float* h = decay ? before(time, a.c, a.h0, a.R, i, j) : nullptr;
            float* d_decay = time.at(a.d_decay, t, j);
            for (int64_t u = 0; u < a.R; u += WIDTH) {
                const Lanes l(a.R - u);
                Vec d = load(d_h + j * ld_r + u, l);
                if (mask) d = fma(load(d_seen + j * ld_r + u, l), load(mask + u, l), d);
                if (decay) {
                    store(d_decay + u, d * part(h, u, l), l);
                    d = d * load(decay + u, l);
                }
                store(d_h + j * ld_r + u, d, l);
            }
        }
        time.meet();
    }
    for (int64_t j = whole.first; j < time.mine(a.B); j += whole.step) {
        if (a.d_h0) std::memcpy(a.d_h0 + time.original(j) * a.R, d_h + j * ld_r, sizeof(float) * a.R);
        if (a.d_c0) std::memcpy(a.d_c0 + time.original(j) * a.H, d_c + j * ld_h, sizeof(float) * a.H);
    }
    time.meet_all();
    if (time.thread) return;
    for (int other = 1; other < time.threads; ++other) add_rows(sums, sums + other * layout.sums_size, layout.sums_size);
    const auto give = [&](float* to, int64_t from, int64_t n) { if (to) add_rows(to, sums + from, n); };
    give(a.d_bias, 0, G);
    give(a.d_gain, G, G);
    give(a.d_peephole, 2 * G, 3 * a.H);
    give(a.d_gain_c, 2 * G + 3 * a.H, a.H);
    give(a.d_bias_c, 2 * G + 4 * a.H, a.H);
}

template <class Cell, bool BACKWARD>
void run(const Recurrence& args) {
    const Plan plan = make_plan(args, Cell::GATES);
    const Layout layout(args, Cell::GATES, Cell::FIRST, BACKWARD, plan);
    float* memory = scratch(layout.total());
    in_team(plan.threads, [&](int thread, int threads, Barrier& barrier) {
        Time time(args, thread, threads, plan.by_units, barrier);
        const Memory parts(args, layout, memory);
        const Tiles tiles;
        if (BACKWARD)
            run_backward<Cell>(time, parts);
        else
            run_forward<Cell>(time, parts);
    });
}

template <bool BACKWARD>
void run_cell(const Recurrence& args) {
    switch (args.cell) {
        case RNN_TANH: return run<RnnCell<false>, BACKWARD>(args);
        case RNN_RELU: return run<RnnCell<true>, BACKWARD>(args);
        case LSTM: return run<LstmCell, BACKWARD>(args);
        case GRU: return run<GruCell, BACKWARD>(args);
        default: return run<GruResetBeforeCell, BACKWARD>(args);
    }
}

int64_t packed_floats(const Recurrence& a) {
    const int64_t G = rows_of(a);
    const int parts = parts_of(a);
    const int64_t forward = factor_size(parts, a.R, G) + (a.w_hr ? factor_size(parts, a.H, a.R) : 0);
    const int64_t backward = factor_size(parts, G, a.R) + (a.w_hr ? factor_size(parts, a.R, a.H) : 0);
    return forward > backward ? forward : backward;
}

void pack_all(const Recurrence& args, bool backward, float* to) {
    struct Shared { const Recurrence& args; bool backward; float* to; } shared{args, backward, to};
    const int threads = packed_floats(args) < 100000 ? 1 : static_cast<int>(args.threads);
    parallel(threads, [](void* p, int thread, int threads) {
        auto& s = *static_cast<Shared*>(p);
        pack_weights(s.args, rows_of(s.args), s.backward, thread, threads, s.to);
    }, &shared);
}

}  // namespace
