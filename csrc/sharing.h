// How threads share the work of a recurrence, in one of two ways:
//
//   by rows    each thread runs some rows through all steps and never waits for the others;
//   by units   each computes some columns of the products for all rows; they wait twice per step.
//              For few rows, and for matrices that do not fit into one core's second cache.
//
// Rows are in order of length, longest first, so that those still running at a step come first.  In a
// ragged batch a thread's rows are every threads-th one, which shares the steps evenly; else they lie side
// by side, so that no thread fetches what another writes.
#pragma once

#include "cells.h"
#include "factors.h"
#include "kernels.h"
#include "team.h"

namespace {

// Rows of w_hh.
int64_t rows_of(const Recurrence& a) {
    return a.H * (a.cell == LSTM               ? LstmCell::FIRST
                  : a.cell == GRU              ? GruCell::FIRST
                  : a.cell == GRU_RESET_BEFORE ? GruResetBeforeCell::FIRST
                                               : 1);
}

// Whether each thread runs some rows alone, which saves waiting, or all share the columns of each product:
// few rows do not pay for reading a matrix that does not fit into one core's second cache.
bool alone(const Recurrence& a, int64_t numbers, int parts) {
    constexpr int64_t CACHED = 1400000;
    const bool cached = numbers * (parts ? 2 * parts : 4) <= CACHED;
    return a.B >= (cached ? 4 : parts == 1 ? ROWS_BESIDE_LARGE / 2 : ROWS_BESIDE_LARGE) * a.threads;
}

// The form of the factors (factors.h): the same in every part of a sequence, whose matrices are packed once.
int parts_of(const Recurrence& a) {
    if (a.bf16 && BFLOAT16) return 1;
    const int64_t rows = alone(a, rows_of(a) * a.R, 0) ? a.B / a.threads : a.B;
    return rows >= ROWS_OF_PARTS && a.R >= DEPTH_OF_PARTS ? 3 : 0;
}

class Time {
public:
    Time(const Recurrence& args, int thread, int threads, bool by_units, Barrier& barrier)
        : args(args), parts(parts_of(args)), thread(thread), threads(threads), by_units(by_units && threads > 1),
          rows_first(this->by_units ? 0 : args.active ? thread : args.B * thread / threads),
          rows_end(this->by_units || args.active ? args.B : args.B * (thread + 1) / threads),
          rows_step(!this->by_units && args.active ? threads : 1),
          barrier_(barrier) {}

    // The sequence in the order in which the state flows.
    int64_t step(int64_t i) const { return args.reverse ? args.T - 1 - i : i; }
    int64_t running(int64_t t) const { return args.active ? args.active[t] : args.B; }
    // The number of this thread's rows among the first n.
    int64_t mine(int64_t n) const {
        const int64_t end = n < rows_end ? n : rows_end;
        return end <= rows_first ? 0 : (end - rows_first + rows_step - 1) / rows_step;
    }
    // Row j of this thread, in order of length; and in the caller's tensors.
    int64_t sorted(int64_t j) const { return rows_first + j * rows_step; }
    int64_t original(int64_t j) const { return args.order ? args.order[sorted(j)] : sorted(j); }
    // Its vector at step t in a buffer.
    float* at(const Steps& s, int64_t t, int64_t j) const {
        if (!s.p) return nullptr;
        const int64_t at = s.packed ? (args.start[t] + sorted(j)) * s.row : t * s.step + original(j) * s.row;
        return s.bf16 ? reinterpret_cast<float*>(reinterpret_cast<uint16_t*>(s.p) + at) : s.p + at;
    }
    const float* mask(int64_t j) const { return args.mask ? args.mask + original(j) * args.R : nullptr; }
    // From one of the thread's rows to the next, in buffers whose rows are not reordered.
    int64_t pitch(const Steps& s) const { return s.row * rows_step; }

    // The panels of a product that belong to this thread: of each gate, those of its units, if whole panels
    // are units of one gate.
    Ranges share(int64_t columns) const {
        if (!by_units) return {1, {0}, {panels(columns)}};
        const int64_t gates = owns_units() && columns % args.H == 0 ? columns / args.H : 1, n = panels(columns) / gates;
        if (gates == 1) return {1, {panels(columns) * thread / threads}, {panels(columns) * (thread + 1) / threads}};
        Ranges of_each;
        of_each.count = static_cast<int>(gates);
        for (int g = 0; g < gates; ++g) of_each.first[g] = g * n + n * thread / threads, of_each.last[g] = g * n + n * (thread + 1) / threads;
        return of_each;
    }
    // Whether the columns that a thread computes are those of its units: tiles do not mind pieces, but
    // products of floats for few rows take several panels at once.
    bool owns_units() const { return TILED && parts && by_units && !args.gain && args.H % PANEL == 0; }
    // All threads wait for a product, unless each needs its own columns only and has a copy of the factor.
    void meet_after(bool whole_rows) {
        if (!owns_units() || whole_rows) meet();
    }
    void meet() { if (by_units) barrier_.wait(); }
    void meet_all() { barrier_.wait(); }

    const Recurrence& args;
    const int parts;  // of the factors
    const int thread, threads;
    const bool by_units;
    const int64_t rows_first, rows_end, rows_step;

private:
    Barrier& barrier_;
};

struct Plan { int threads; bool by_units; };

Plan make_plan(const Recurrence& a, int64_t gates) {
    const int64_t matrix = gates * a.H * a.R, step = a.B * matrix;
    const int threads = static_cast<int>(a.threads);
    if (threads < 2 || a.T * step < 200000) return {1, false};
    const int parts = parts_of(a);
    if (alone(a, matrix, parts)) return {threads, false};
    if (step >= 60000 && (parts != 1 || matrix >= SHARED_MATRIX)) return {threads, true};
    if (a.B >= 2 * threads) return {threads, false};
    return {1, false};
}

// The rows of one thread's pointwise part: all, if it computes some units of each.
struct RowShare { int64_t first, step; };
ELMAN_INLINE RowShare row_share(const Time& time) {
    return time.by_units && time.args.gain ? RowShare{time.thread, time.threads} : RowShare{0, 1};
}
// The rows of one thread for work on whole rows.
ELMAN_INLINE RowShare whole_rows(const Time& time) {
    return time.by_units ? RowShare{time.thread, time.threads} : RowShare{0, 1};
}

}  // namespace
