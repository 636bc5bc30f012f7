// Linear recurrence h_t = a_t h_{t-1} + b_t, each of forward and backward in one pass over the
// sequence.
//
// There are two flops for every twelve bytes, so it is important that each number is read or
// written once, in memory order.  A thread therefore takes a span of neighbouring numbers (units,
// and rows where the steps lie further apart than the rows), keeps their state in the L1 cache and
// runs through time.  The next numbers are prefetched, because the steps of a span are too far
// apart for the processor to predict; large results bypass the cache.
//
// If g_t is the gradient of h_t, and c_t = conj(a_t) g_t the part that flows back to h_{t-1}:
//
//   g_t = d_h_t + c_{t+1}     d_b_t = g_t     d_a_t = g_t conj(h_{t-1})     d_h0 = c_1
#pragma once

#include "kernels.h"
#include "team.h"
#include "vector.h"

namespace {

constexpr int64_t SPAN = 2048;        // floats of state that are carried through time at once
constexpr int64_t NARROW = 256;       // floats of a step that threads do not share
constexpr int64_t ENOUGH = 1 << 17;   // floats that make a second thread worth its start
constexpr int64_t LINE = 16;          // floats in a cache line
constexpr int64_t AHEAD = 512;        // floats from the current numbers to the prefetched ones
constexpr int64_t LARGE = 1 << 22;    // floats of a result that no cache would keep

// All lanes of a register, where `Lanes` are some of them.
struct AllLanes {};
ELMAN_INLINE Vec load(const float* p, AllLanes) { return load(p); }
ELMAN_INLINE void store(float* p, Vec a, AllLanes) { store(p, a); }

// Calls each(u, lanes, floats) for every register of n floats; most are full and need no mask.
template <class Each>
ELMAN_INLINE void for_registers(int64_t n, const Each& each) {
    int64_t u = 0;
    for (; u + WIDTH <= n; u += WIDTH) each(u, AllLanes(), WIDTH);
    if (u < n) each(u, Lanes(n - u), n - u);
}

// Arithmetic of real numbers, and of complex numbers with alternating real and imaginary parts.
template <bool COMPLEX>
struct Numbers {
    static constexpr int64_t FLOATS = COMPLEX ? 2 : 1;
    Vec sign{};  // -1, 1, -1, 1 ...

    Numbers() {
        float signs[WIDTH];
        for (int i = 0; i < WIDTH; ++i) signs[i] = i % 2 ? 1.0f : -1.0f;
        sign = load(signs);
    }
    // Returns x y + z.
    ELMAN_INLINE Vec multiply_add(Vec x, Vec y, Vec z) const {
        if (!COMPLEX) return fma(x, y, z);
        return fma(real(x), y, fma(imaginary(x) * sign, exchanged(y), z));
    }
    // Returns conj(x) y.
    ELMAN_INLINE Vec multiply_conjugate(Vec x, Vec y) const {
        if (!COMPLEX) return x * y;
        return fma(real(x), y, (set(0) - imaginary(x) * sign) * exchanged(y));
    }
};

// The units of a field at one step of one row.  With DENSE they are neighbours in memory.
template <bool COMPLEX, bool DENSE>
struct Units {
    static constexpr int64_t FLOATS = Numbers<COMPLEX>::FLOATS;
    float* p;
    int64_t pitch;  // floats from one number to the next
    int64_t ahead;  // bytes to the prefetched numbers
    bool past;      // whether writing bypasses the cache

    Units(const Field& f, int64_t row, int64_t step, int64_t unit, int64_t later, bool large = false)
        : p(f.p ? f.p + (row * f.row + step * f.step + unit * f.unit) * FLOATS : nullptr), pitch(f.unit * FLOATS),
          ahead(f.step * later * FLOATS * static_cast<int64_t>(sizeof(float))),
          past(large && reinterpret_cast<uintptr_t>(p) % (LINE * sizeof(float)) == 0) {}

    template <class L>
    ELMAN_INLINE Vec get(int64_t u, L lanes, int64_t floats) const {
        if (DENSE || pitch == FLOATS) {
            prefetch(u);
            return load(p + u, lanes);
        }
        float part[WIDTH] = {};
        for (int64_t i = 0; i < floats; ++i) part[i] = *at(u + i);
        return load(part);
    }
    ELMAN_INLINE void put(int64_t u, Vec x, AllLanes lanes, int64_t floats) const {
        if (!DENSE && pitch != FLOATS) return scatter(u, x, floats);
        if (past) return stream(p + u, x);
        prefetch(u);
        store(p + u, x, lanes);
    }
    ELMAN_INLINE void put(int64_t u, Vec x, Lanes lanes, int64_t floats) const {
        if (!DENSE && pitch != FLOATS) return scatter(u, x, floats);
        store(p + u, x, lanes);
    }
    ELMAN_INLINE void zero(int64_t n) const {
        for_registers(n, [&](int64_t u, auto lanes, int64_t floats) { put(u, set(0), lanes, floats); });
    }

private:
    ELMAN_INLINE float* at(int64_t i) const { return p + i / FLOATS * pitch + i % FLOATS; }
    ELMAN_INLINE void scatter(int64_t u, Vec x, int64_t floats) const {
        float part[WIDTH];
        store(part, x);
        for (int64_t i = 0; i < floats; ++i) *at(u + i) = part[i];
    }
    // The address is not computed as a pointer, because it can be beyond the end of the field,
    // where prefetching does nothing.
    ELMAN_INLINE void prefetch(int64_t u) const {
#if defined(__GNUC__)
        if (WIDTH == LINE || u % LINE == 0)
            __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p + u) + static_cast<uintptr_t>(ahead)));
#endif
    }
};

// Some rows and some units (n floats from unit `unit` on), through all steps.
struct Part {
    int64_t row, rows, unit, n;
    // The state of a row is padded to whole registers, so that it needs no mask.
    int64_t pitch() const { return (n + LINE - 1) / LINE * LINE; }
    // Returns the number of steps to prefetch ahead, so that AHEAD floats lie between.
    int64_t steps_ahead() const { return (AHEAD + rows * n - 1) / (rows * n); }
    // These copy the part's numbers of a state (B, D), from zeros for null; nothing is written to null.
    void take(const float* from, int64_t D, int64_t floats, float* to) const {
        std::memset(to, 0, sizeof(float) * rows * pitch());
        if (!from) return;
        for (int64_t j = 0; j < rows; ++j)
            std::memcpy(to + j * pitch(), from + ((row + j) * D + unit) * floats, sizeof(float) * n);
    }
    void give(const float* from, int64_t D, int64_t floats, float* to) const {
        if (!to) return;
        for (int64_t j = 0; j < rows; ++j)
            std::memcpy(to + ((row + j) * D + unit) * floats, from + j * pitch(), sizeof(float) * n);
    }
};

// Returns h_{t-1} of a row, or null for zeros; it is h0, which is dense, or part of h.
template <class Row, class Call>
ELMAN_INLINE Row state_before(const Call& s, int64_t row, int64_t t, int64_t unit, int64_t later) {
    const int64_t length = s.lengths ? s.lengths[row] : s.T;
    if (s.reverse ? t + 1 < length : t > 0) return Row(s.h, row, s.reverse ? t + 1 : t - 1, unit, later);
    Field initial;
    initial.p = const_cast<float*>(s.h0), initial.row = s.D;
    return Row(initial, row, 0, unit, 0);
}

template <bool COMPLEX, bool DENSE>
class Pass {
    static constexpr int64_t FLOATS = Numbers<COMPLEX>::FLOATS;
    using Row = Units<COMPLEX, DENSE>;

public:
    explicit Pass(const Scan& scan) : s(scan), large(scan.B * scan.T * scan.D * FLOATS >= LARGE) {}

    void forward(const Part& part) {
        const int64_t later = (s.reverse ? -1 : 1) * part.steps_ahead();
        part.take(s.h0, s.D, FLOATS, state);
        for (int64_t i = 0; i < s.T; ++i) {
            const int64_t t = s.reverse ? s.T - 1 - i : i;
            for (int64_t j = 0; j < part.rows; ++j) {
                const int64_t row = part.row + j;
                const Row h(s.h, row, t, part.unit, later, large);
                if (s.lengths && t >= s.lengths[row]) {
                    h.zero(part.n);
                    continue;
                }
                const Row a(s.a, row, t, part.unit, later), b(s.b, row, t, part.unit, later);
                float* carried = state + j * part.pitch();
                for_registers(part.n, [&](int64_t u, auto lanes, int64_t floats) {
                    const Vec now = numbers.multiply_add(
                        a.get(u, lanes, floats), load(carried + u), b.get(u, lanes, floats));
                    store(carried + u, now);
                    h.put(u, now, lanes, floats);
                });
            }
        }
        part.give(state, s.D, FLOATS, s.h_end);
    }

    void backward(const Part& part) {
        part.take(s.d_end, s.D, FLOATS, state);
        const bool summed = s.d_a.p && s.d_a.step == 0;
        if (summed) std::memset(sums, 0, sizeof(float) * part.rows * part.pitch());
        for (int64_t i = s.T - 1; i >= 0; --i) {
            const int64_t t = s.reverse ? s.T - 1 - i : i;
            for (int64_t j = 0; j < part.rows; ++j) {
                const int64_t row = part.row + j;
                if (s.lengths && t >= s.lengths[row]) {
                    if (s.d_b.p) Row(s.d_b, row, t, part.unit, 0).zero(part.n);
                    if (s.d_a.p && !summed && first(row)) Row(s.d_a, row, t, part.unit, 0).zero(part.n);
                } else if (summed) {
                    step_back<SUMMED>(part, j, t);
                } else if (s.d_a.p) {
                    if (first(row))
                        step_back<STORED>(part, j, t);
                    else
                        step_back<ADDED>(part, j, t);
                } else {
                    step_back<NONE>(part, j, t);
                }
            }
        }
        part.give(state, s.D, FLOATS, s.d_h0);
        if (summed) part.give(sums, s.D, FLOATS, s.d_a.p);
    }

private:
    enum Gradient { NONE, STORED, ADDED, SUMMED };  // how d_a is stored

    // Returns whether this row is the first to write its d_a, rather than to add to it.
    bool first(int64_t row) const { return row == 0 || s.d_a.row != 0; }

    template <Gradient GRADIENT>
    ELMAN_INLINE void step_back(const Part& part, int64_t j, int64_t t) {
        const int64_t row = part.row + j, unit = part.unit, later = (s.reverse ? 1 : -1) * part.steps_ahead();
        const Row a(s.a, row, t, unit, later), h = state_before<Row>(s, row, t, unit, later), d_h(s.d_h, row, t, unit, later),
            d_a(s.d_a, row, t, unit, later, large && GRADIENT == STORED && s.d_a.row),
            d_b(s.d_b, row, t, unit, later, large);
        float *carried = state + j * part.pitch(), *sum = sums + j * part.pitch();
        for_registers(part.n, [&](int64_t u, auto lanes, int64_t floats) {
            Vec g = load(carried + u);
            if (d_h.p) g = g + d_h.get(u, lanes, floats);
            store(carried + u, numbers.multiply_conjugate(a.get(u, lanes, floats), g));
            if (d_b.p) d_b.put(u, g, lanes, floats);
            if (GRADIENT == NONE) return;
            Vec d = h.p ? numbers.multiply_conjugate(h.get(u, lanes, floats), g) : set(0);
            if (GRADIENT == SUMMED) return store(sum + u, load(sum + u) + d);
            if (GRADIENT == ADDED) d = d + d_a.get(u, lanes, floats);
            d_a.put(u, d, lanes, floats);
        });
    }

    const Scan& s;
    const bool large;
    const Numbers<COMPLEX> numbers;
    alignas(64) float state[SPAN];
    alignas(64) float sums[SPAN];  // sums of d_a, if a is the same at all steps
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// What the threads share: B rows of n floats, in which a number has `floats` of them.
struct Work {
    int64_t B, T, n, floats, threads;
    bool one_sum;     // whether a gradient is a sum over the rows, which one thread must compute
    bool time_major;  // whether the steps lie further apart than the rows
};

// Runs one pass over the parts that belong to this thread.
template <bool BACKWARD, class Pass>
void run_thread(const Work& work, Pass& pass, int thread, int threads) {
    // Few rows would keep few threads busy.
    const bool by_units = work.one_sum || work.B < threads;
    const int64_t whole = (work.n + LINE - 1) / LINE * LINE;
    int64_t span = smaller(whole, SPAN);
    if (by_units) {
        const int64_t share = ((work.n + threads - 1) / threads + LINE - 1) / LINE * LINE;
        // With narrower parts of a step the cores fetch each other's lines, which costs more than it gains.
        span = smaller(span, share < NARROW ? NARROW : share);
    }
    int64_t group = work.time_major ? SPAN / span : 1;
    if (!by_units) group = smaller(group, (work.B + threads - 1) / threads);

    const int64_t row_step = by_units ? group : group * threads, unit_step = by_units ? span * threads : span;
    for (int64_t u = by_units ? span * thread : 0; u < work.n; u += unit_step)
        for (int64_t row = by_units ? 0 : group * thread; row < work.B; row += row_step) {
            const Part part{row, smaller(group, work.B - row), u / work.floats, smaller(span, work.n - u)};
            if (BACKWARD)
                pass.backward(part);
            else
                pass.forward(part);
        }
    end_streams();
}

template <bool BACKWARD, class Pass, class Call>
void run_threads(const Call& call, const Work& work) {
    const int64_t enough = work.B * work.T * work.n / ENOUGH + 1;
    in_team(static_cast<int>(smaller(work.threads, enough)), [&](int thread, int threads, Barrier&) {
        Pass pass(call);
        run_thread<BACKWARD>(work, pass, thread, threads);
    });
}

template <bool BACKWARD>
void run_scan(const Scan& s) {
    bool dense = true;
    const Field* const fields[] = {&s.a, &s.b, &s.h, &s.d_h, &s.d_a, &s.d_b};
    for (const Field* f : fields) dense = dense && (!f->p || f->unit == 1);
    const int64_t floats = s.complex ? 2 : 1;
    const Work work{s.B, s.T, s.D * floats, floats, s.threads, s.d_a.p && s.d_a.row == 0,
                    s.b.p ? s.b.step > s.b.row : s.h.step > s.h.row};
    if (s.complex)
        dense ? run_threads<BACKWARD, Pass<true, true>>(s, work) : run_threads<BACKWARD, Pass<true, false>>(s, work);
    else
        dense ? run_threads<BACKWARD, Pass<false, true>>(s, work) : run_threads<BACKWARD, Pass<false, false>>(s, work);
}

}  // namespace
