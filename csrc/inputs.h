// The product of a recurrence's inputs, which the call of the recurrence computes.
#pragma once

#include "sharing.h"
#include "whole_tiles.h"

namespace {

// Returns the number of steps whose gates stay in the L2 cache between the product of the inputs
// and the recurrence.  A matrix that does not stay there is read for more rows at a time.  B: rows
// of a thread.
ELMAN_INLINE int64_t chunk_of(const Recurrence& a, int64_t G, int64_t B) {
    constexpr int64_t CACHED_GATES = 1 << 16, LARGE = 1 << 20, ROWS_OF_LARGE = 256;
    const int64_t bytes = G * a.inputs->K * (a.inputs->bf16 ? 2 : 6);
    const int64_t rows = bytes > LARGE ? ROWS_OF_LARGE : 1, steps = CACHED_GATES / (G * B);
    const int64_t most = steps * B < rows ? (rows + B - 1) / B : steps;
    return most < a.T ? most : a.T;
}

// Computes the product of the inputs for a chunk of steps before the recurrence reaches them.  The
// result stays in the L2 cache of the thread that needs it, or is shared if threads share the
// units.
class Inputs {
public:
    Inputs(Time& time, float* memory, int64_t G)
        : time_(time), steps_(time.args.inputs ? chunk_of(time.args, G, rows_of_thread(time)) : 0), G_(G), ld_(padded_width(G)), packed_(memory) {
        if (!steps_) return;
        const Tiled tiled(*time.args.inputs);
        const int64_t B = rows_of_thread(time), rows = steps_ * B;
        const auto begin = [&](int thread) { return packed_ + tiled.packed_size() + thread * own_size(time.args, tiled, G, B); };
        own_ = begin(time.thread);
        rows_ = reinterpret_cast<int64_t*>(own_ + tiled.own_size());
        begins_ = rows_ + rows;
        chunk_ = begin(time.by_units ? 0 : time.thread) + tiled.own_size() + tables(rows, steps_);
    }

    // Returns the memory of a call in floats.
    static int64_t size(const Recurrence& a, int64_t G, const Plan& plan) {
        const Tiled tiled(*a.inputs);
        // There can be fewer threads than planned.
        const int64_t shared = own_size(a, tiled, G, most_rows(a.B, plan.threads, plan.by_units)), alone = own_size(a, tiled, G, a.B);
        return tiled.packed_size() + (plan.threads * shared > alone ? plan.threads * shared : alone);
    }

    bool joined() const { return steps_ > 0; }
    int64_t ld() const { return ld_; }
    // Returns the result for row j of this thread at step t.
    float* at(int64_t t, int64_t j) const { return chunk_ + (begins_[t - first_] + j) * ld_; }

    void pack() const {
        if (steps_) Tiled(*time_.args.inputs).pack(time_.thread, time_.threads, packed_);
    }

    // Computes the next chunk if the i-th step is its first; call it before each step.
    void compute(int64_t i) {
        if (!steps_ || i % steps_) return;
        const Recurrence& a = time_.args;
        const int64_t next = i + steps_ < a.T ? i + steps_ : a.T;
        first_ = time_.step(a.reverse ? next - 1 : i);
        int64_t count = 0;
        for (int64_t t = first_; t < first_ + next - i; ++t) {
            begins_[t - first_] = count;
            const int64_t n = time_.mine(time_.running(t));
            for (int64_t j = 0; j < n; ++j)
                rows_[count++] = a.start ? a.start[t] + time_.sorted(j) : t * a.B + time_.original(j);
        }
        Tiled(*a.inputs).multiply(rows_, count, 0, (count + PANEL - 1) / PANEL, time_.share(G_), chunk_, ld_, packed_, own_);
        if (!time_.owns_units()) time_.meet();
    }

private:
    // Returns the size of `rows_` and `begins_` in floats.
    static int64_t tables(int64_t rows, int64_t steps) { return (2 * (rows + steps) + 15) / 16 * 16; }
    static int64_t most_rows(int64_t B, int threads, bool by_units) { return by_units ? B : (B + threads - 1) / threads; }
    static int64_t rows_of_thread(const Time& time) { return most_rows(time.args.B, time.threads, time.by_units); }
    static int64_t own_size(const Recurrence& a, const Tiled& tiled, int64_t G, int64_t B) {
        const int64_t steps = chunk_of(a, G, B), rows = steps * B;
        return tiled.own_size() + tables(rows, steps) + rows * padded_width(G);
    }

    Time& time_;
    const int64_t steps_, G_, ld_;  // steps of a chunk; columns; floats from one row to the next
    int64_t first_ = 0;             // first step of the chunk
    float* const packed_;
    float *own_ = nullptr, *chunk_ = nullptr;
    int64_t *rows_ = nullptr, *begins_ = nullptr;  // rows of the inputs, and the place of each step's first row there
};

}  // namespace
