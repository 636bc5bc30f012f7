// How threads share the work of a recurrence, in one of two ways:
//
//   by rows    each thread runs some rows through all steps and never waits for the others;
//   by units   each thread computes some columns of the products for all rows, and waits twice per step.
//              This is for few rows, and for matrices that do not fit into one core's L2 cache.
//
// Rows are in order of length, longest first, so that those still running at a step come first.  In
// a ragged batch a thread has every threads-th row, which shares the steps evenly.  Otherwise its
// rows lie side by side, so that no thread fetches what another writes.
#pragma once

#include "cells.h"
#include "factors.h"
#include "kernels.h"
#include "team.h"

namespace {

// Returns the number of rows of w_hh.
int64_t rows_of(const Recurrence& a) {
    return a.H * (a.cell == LSTM               ? LstmCell::FIRST
                  : a.cell == GRU              ? GruCell::FIRST
                  : a.cell == GRU_RESET_BEFORE ? GruResetBeforeCell::FIRST
                                               : 1);
}

// Returns whether each thread runs some rows alone, which saves waiting.  Otherwise all threads
// share the columns of each product, because for few rows it takes too long that each thread reads
// a matrix that does not fit into its L2 cache.
bool alone(const Recurrence& a, int64_t numbers, int parts) {
    constexpr int64_t CACHED = 1400000;
    const bool cached = numbers * (parts ? 2 * parts : 4) <= CACHED;
    return a.B >= (cached ? 4 : parts == 1 ? ROWS_BESIDE_LARGE / 2 : ROWS_BESIDE_LARGE) * a.threads;
}

// Returns the form of the factors (factors.h).  It is the same in every part of a sequence, because
// its matrices are packed once.
int parts_of(const Recurrence& a) {
    if (a.bf16 && BFLOAT16) return 1;
    const int64_t rows = alone(a, rows_of(a) * a.R, 0) ? a.B / a.threads : a.B;
    return rows >= ROWS_OF_PARTS && a.R >= DEPTH_OF_PARTS ? 3 : 0;
}

// A thread's view of a recurrence: its steps, and the rows and units that belong to this thread.
class Time {
public:
    Time(const Recurrence& args, int thread, int threads, bool by_units, Barrier& barrier)
        : args(args), parts(parts_of(args)), thread(thread), threads(threads), by_units(by_units && threads > 1),
          rows_first(this->by_units ? 0 : args.active ? thread : args.B * thread / threads),
          rows_end(this->by_units || args.active ? args.B : args.B * (thread + 1) / threads),
          rows_step(!this->by_units && args.active ? threads : 1),
          barrier_(barrier) {}

    // Returns the i-th step in the order in which the state flows.
    int64_t step(int64_t i) const { return args.reverse ? args.T - 1 - i : i; }
    int64_t running(int64_t t) const { return args.active ? args.active[t] : args.B; }
    // Returns the number of this thread's rows among the first n.
    int64_t mine(int64_t n) const {
        const int64_t end = n < rows_end ? n : rows_end;
        return end <= rows_first ? 0 : (end - rows_first + rows_step - 1) / rows_step;
    }
    // These return the index of row j of this thread, in order of length and in the caller's
    // tensors.
    int64_t sorted(int64_t j) const { return rows_first + j * rows_step; }
    int64_t original(int64_t j) const { return args.order ? args.order[sorted(j)] : sorted(j); }
    // Returns the vector of row j at step t in a buffer.
    float* at(const Steps& s, int64_t t, int64_t j) const {
        if (!s.p) return nullptr;
        const int64_t at = s.packed ? (args.start[t] + sorted(j)) * s.row : t * s.step + original(j) * s.row;
        return s.bf16 ? reinterpret_cast<float*>(reinterpret_cast<uint16_t*>(s.p) + at) : s.p + at;
    }
    const float* mask(int64_t j) const { return args.mask ? args.mask + original(j) * args.R : nullptr; }
    // Returns the stride from one of the thread's rows to the next, in buffers whose rows are not
    // reordered.
    int64_t pitch(const Steps& s) const { return s.row * rows_step; }

    // Returns the panels of a product that belong to this thread.  If each panel has units of one
    // gate only, they are the panels of this thread's units in each gate.
    Ranges share(int64_t columns) const {
        if (!by_units) return {1, {0}, {panels(columns)}};
        const int64_t gates = owns_units() && columns % args.H == 0 ? columns / args.H : 1, n = panels(columns) / gates;
        if (gates == 1) return {1, {panels(columns) * thread / threads}, {panels(columns) * (thread + 1) / threads}};
        Ranges of_each;
        of_each.count = static_cast<int>(gates);
        for (int g = 0; g < gates; ++g) of_each.first[g] = g * n + n * thread / threads, of_each.last[g] = g * n + n * (thread + 1) / threads;
        return of_each;
    }
    // Returns whether the columns that a thread computes are those of its units.  They are in
    // several pieces, which suits tiles, but products of floats for few rows take several panels at
    // once.
    bool owns_units() const { return TILED && parts && by_units && !args.gain && args.H % PANEL == 0; }
    // Waits for all threads after a product, unless each needs only its columns and has a copy of
    // the factor.
    void meet_after(bool whole_rows) {
        if (!owns_units() || whole_rows) meet();
    }
    void meet() { if (by_units) barrier_.wait(); }
    void meet_all() { barrier_.wait(); }

    const Recurrence& args;
    const int parts;  // form of the factors
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

// The rows of one thread's pointwise part; all rows, if it computes some units of each.
struct RowShare { int64_t first, step; };
ELMAN_INLINE RowShare row_share(const Time& time) {
    return time.by_units && time.args.gain ? RowShare{time.thread, time.threads} : RowShare{0, 1};
}
// The rows of one thread for work on whole rows.
ELMAN_INLINE RowShare whole_rows(const Time& time) {
    return time.by_units ? RowShare{time.thread, time.threads} : RowShare{0, 1};
}

}  // namespace
