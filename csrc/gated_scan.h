// Linear recurrences h_t = a_t h_{t-1} + b_t whose factors come from gates, see GatedScan in
// kernels.h.  The gates, the recurrence and, in the backward pass, the gradients of the gates are
// computed in one pass over memory, with the order and the threads of scan.h.
//
// A cell is a struct with two functions for a register of units.  x holds what a step reads: the
// arguments of the gates and, if there is an INPUT, the input and the rate of each unit.
//
//   next(x, h)         returns h_t for h = h_{t-1}
//   back(x, h, g, d)   stores the gradients of x in d, and returns that of h_{t-1}; g is that of h_t
//
// Zoneout with the share k of the old value makes h_t + k (h_{t-1} - h_t) of it.
#pragma once

#include <utility>

#include "scan.h"

namespace {

ELMAN_INLINE Vec slope_of_share(Vec s) { return s * (set(1) - s); }

// x: z, n.  h_t = (1 - s) h_{t-1} + s n with s = sigmoid(z)
struct MinGru {
    static constexpr int GATES = 2;
    static constexpr bool INPUT = false;

    ELMAN_INLINE static Vec next(const Vec* x, Vec h) { return fma(sigmoid(x[0]), x[1] - h, h); }
    ELMAN_INLINE static Vec back(const Vec* x, Vec h, Vec g, Vec* d) {
        const Vec s = sigmoid(x[0]);
        d[0] = g * (x[1] - h) * slope_of_share(s);
        d[1] = g * s;
        return g - d[1];
    }
};

// x: f, i, n.  h_t = (sigmoid(f) h_{t-1} + sigmoid(i) n) / (sigmoid(f) + sigmoid(i))
struct MinLstm {
    static constexpr int GATES = 3;
    static constexpr bool INPUT = false;

    // The share of the new value is q / (p + q) with p = 1 + exp(-i) and q = 1 + exp(-f).  Both are
    // divided by the largest of their terms, exp(-least), so that they cannot overflow.
    struct Shares {
        Vec minus_f, minus_i;  // sigmoid(-f), sigmoid(-i)
        Vec old, now;          // shares of the old and the new value
        ELMAN_INLINE explicit Shares(const Vec* x) {
            const Vec least = min(set(0), min(x[0], x[1]));
            const Vec one = exp(least), f = exp(least - x[0]), i = exp(least - x[1]);
            const Vec p = one + i, q = one + f, whole = reciprocal(p + q);
            old = p * whole, now = q * whole;
            minus_f = f * reciprocal(q), minus_i = i * reciprocal(p);
        }
    };
    ELMAN_INLINE static Vec next(const Vec* x, Vec h) { return fma(Shares(x).now, x[2] - h, h); }
    ELMAN_INLINE static Vec back(const Vec* x, Vec h, Vec g, Vec* d) {
        const Shares s(x);
        const Vec of_ratio = g * (h - x[2]) * (s.old * s.now);
        d[0] = of_ratio * s.minus_f;
        d[1] = set(0) - of_ratio * s.minus_i;
        d[2] = g * s.now;
        return g * s.old;
    }
};

// x: r, i, input c, rate.  h_t = a h_{t-1} + sqrt(1 - a^2) sigmoid(i) c with a = exp(rate sigmoid(r))
struct RgLru {
    static constexpr int GATES = 2;
    static constexpr bool INPUT = true;
    static constexpr float NEVER = -1e-30f;  // largest log a: the root has no derivative at a = 1

    struct Factors {
        Vec r, log_a, a, root;
        ELMAN_INLINE explicit Factors(const Vec* x) : r(sigmoid(x[0])), log_a(min(set(NEVER), x[3] * r)) {
            Vec scale;
            const Vec p = exp_minus_1(max(set(-87), log_a), scale), less = fma(scale, p, scale - set(1));
            a = less + set(1);
            root = square_root((set(0) - less) * (a + set(1)));  // 1 - a^2 would lose digits near a = 1
        }
    };
    ELMAN_INLINE static Vec next(const Vec* x, Vec h) {
        const Factors f(x);
        return fma(f.a, h, f.root * (sigmoid(x[1]) * x[2]));
    }
    ELMAN_INLINE static Vec back(const Vec* x, Vec h, Vec g, Vec* d) {
        const Factors f(x);
        const Vec i = sigmoid(x[1]), taken = i * x[2], d_taken = g * f.root;
        // The derivative of the root with respect to log a is -a^2 / root.
        const Vec of_root = taken * f.a * reciprocal(f.root);
        const Vec d_log_a = where_positive(set(NEVER) - f.log_a, g * f.a * (h - of_root));
        d[0] = d_log_a * x[3] * slope_of_share(f.r);
        d[1] = d_taken * x[2] * slope_of_share(i);
        d[2] = d_taken * i;
        d[3] = d_log_a * f.r;
        return g * f.a;
    }
};

template <class Gates>
class GatedPass {
    static constexpr int GATES = Gates::GATES, ALL = GATES + (Gates::INPUT ? 2 : 0);
    static constexpr int SUMS = GATES + (Gates::INPUT ? 1 : 0);  // gradients that are summed over the steps
    using Row = Units<false, true>;

public:
    explicit GatedPass(const GatedScan& scan) : s(scan), large(scan.B * scan.T * scan.D >= LARGE) {}

    void forward(const Part& part) {
        part.take(s.h0, s.D, 1, state);
        for (int64_t i = 0; i < s.T; ++i) {
            const int64_t t = s.reverse ? s.T - 1 - i : i;
            for (int64_t j = 0; j < part.rows; ++j) {
                const Place at(*this, part, j, t, !s.reverse);
                const Row h(s.h, at.row, t, part.unit, at.later, large);
                if (at.over()) {
                    h.zero(part.n);
                    continue;
                }
                float* carried = state + j * part.pitch();
                for_registers(part.n, [&](int64_t u, auto lanes, int64_t floats) {
                    Vec x[ALL];
                    at.read(u, lanes, floats, x);
                    const Vec old = load(carried + u), next = Gates::next(x, old);
                    const Vec now = fma(at.share(u, lanes, floats), old - next, next);
                    store(carried + u, now);
                    h.put(u, now, lanes, floats);
                });
            }
        }
        part.give(state, s.D, 1, s.h_end);
    }

    void backward(const Part& part) {
        part.take(s.d_end, s.D, 1, state);
        std::memset(sums, 0, sizeof sums);
        for (int64_t i = s.T - 1; i >= 0; --i) {
            const int64_t t = s.reverse ? s.T - 1 - i : i;
            for (int64_t j = 0; j < part.rows; ++j) step_back(part, j, t);
        }
        part.give(state, s.D, 1, s.d_h0);
        if (!s.d_sums) return;
        for (int64_t j = 0; j < part.rows; ++j)
            for (int k = 0; k < SUMS; ++k)
                std::memcpy(s.d_sums + ((part.row + j) * SUMS + k) * s.D + part.unit, sums[k] + j * part.pitch(), sizeof(float) * part.n);
    }

private:
    // The numbers that one row reads at one step.
    struct Place {
        const GatedScan& s;
        const int64_t row, t, later;
        Row gates[GATES];
        const Row input, keep;
        const float *bias, *rate;

        Place(const GatedPass& pass, const Part& part, int64_t j, int64_t t, bool up)
            : Place(pass.s, part, part.row + j, t, (up ? 1 : -1) * part.steps_ahead(), std::make_integer_sequence<int, GATES>()) {}
        template <int... K>
        Place(const GatedScan& s, const Part& part, int64_t row, int64_t t, int64_t later, std::integer_sequence<int, K...>)
            : s(s), row(row), t(t), later(later), gates{Row(s.gates, row, t, part.unit + K * s.D, later)...},
              input(s.input, row, t, part.unit, later), keep(s.keep, row, t, part.unit, later),
              bias(s.bias + part.unit), rate(s.rate ? s.rate + part.unit : nullptr) {}

        bool over() const { return s.lengths && t >= s.lengths[row]; }
        template <class L>
        ELMAN_INLINE void read(int64_t u, L lanes, int64_t floats, Vec* x) const {
            for (int k = 0; k < GATES; ++k) x[k] = gates[k].get(u, lanes, floats) + load(bias + k * s.D + u, lanes);
            if (Gates::INPUT) x[GATES] = input.get(u, lanes, floats), x[GATES + 1] = load(rate + u, lanes);
        }
        template <class L>
        ELMAN_INLINE Vec share(int64_t u, L lanes, int64_t floats) const {
            return keep.p ? keep.get(u, lanes, floats) : set(s.kept);
        }
    };

    void step_back(const Part& part, int64_t j, int64_t t) {
        const Place at(*this, part, j, t, s.reverse);
        const int64_t row = at.row, unit = part.unit, later = at.later;
        const Row d_input(s.d_input, row, t, unit, later, large);
        const auto gradient = [&](int k) { return Row(s.d_gates, row, t, unit + k * s.D, later, large); };
        if (at.over()) {
            for (int k = 0; k < GATES; ++k) gradient(k).zero(part.n);
            if (Gates::INPUT) d_input.zero(part.n);
            return;
        }
        const Row d_h(s.d_h, row, t, unit, later), h = state_before<Row>(s, row, t, unit, later);
        const Row d_gates[3] = {gradient(0), gradient(1), gradient(GATES - 1)};
        float* carried = state + j * part.pitch();
        for_registers(part.n, [&](int64_t u, auto lanes, int64_t floats) {
            Vec x[ALL], d[ALL];
            at.read(u, lanes, floats, x);
            Vec g = load(carried + u);
            if (d_h.p) g = g + d_h.get(u, lanes, floats);
            const Vec kept = g * at.share(u, lanes, floats), old = h.p ? h.get(u, lanes, floats) : set(0);
            store(carried + u, kept + Gates::back(x, old, g - kept, d));
            for (int k = 0; k < GATES; ++k) d_gates[k].put(u, d[k], lanes, floats);
            if (Gates::INPUT) d_input.put(u, d[GATES], lanes, floats);
            for (int k = 0; k < SUMS; ++k) {
                float* sum = sums[k] + j * part.pitch() + u;
                store(sum, load(sum) + d[k < GATES ? k : ALL - 1]);
            }
        });
    }

    const GatedScan& s;
    const bool large;
    alignas(64) float state[SPAN];
    alignas(64) float sums[SUMS][SPAN];
};

template <bool BACKWARD>
void run_gated_scan(const GatedScan& s) {
    const Work work{s.B, s.T, s.D, 1, s.threads, false, s.h.step > s.h.row};
    if (s.cell == MIN_GRU) return run_threads<BACKWARD, GatedPass<MinGru>>(s, work);
    if (s.cell == MIN_LSTM) return run_threads<BACKWARD, GatedPass<MinLstm>>(s, work);
    run_threads<BACKWARD, GatedPass<RgLru>>(s, work);
}

}  // namespace
