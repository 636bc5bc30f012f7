// A recurrence whose state is a matrix S (K, V) for each row and head, see MatrixScan in kernels.h:
//
//   P_t = a_t S_{t-1}                     a is one number, or one for each of the K rows of S
//   w_t = v_t - P_t^T k_t                 with DELTA, otherwise w_t = v_t
//   S_t = P_t + k_t (beta_t w_t)^T        y_t = S_t^T q_t
//
// S is read and written once for STEPS steps, because products with S dominate the time.  With S the
// state before these steps, u_t = beta_t w_t, and products of decays d_t = a_1 .. a_t and
// x_ts = a_{s+1} .. a_t k_s:
//
//   w_t = v_t - S^T (d_t k_t) - sum_{s<t} M_ts u_s        M_ts = k_t . x_ts
//   y_t = S^T (d_t q_t) + sum_{s<=t} N_ts u_s             N_ts = q_t . x_ts
//   the state after C steps is d_C S + sum_s x_Cs u_s^T
//
// A column of S never reads another one.  The forward pass therefore carries some columns of one head
// through all steps, in the L1 cache: their lanes are columns, and the other factors are broadcast.
// matrix_scan_backward.h has the backward pass.
#pragma once

#include <type_traits>

#include "kernels.h"
#include "sums.h"
#include "team.h"
#include "vector.h"

namespace {

constexpr int STEPS = REGISTERS >= 32 ? 4 : 2;  // as many as registers can accumulate
constexpr int64_t COLUMNS = 64;                 // columns of S that a thread processes at a time

// A head of a row: where its numbers lie, and the order of its steps.
class Head {
public:
    Head(const MatrixScan& it, int64_t index)
        : it(it), row(index / it.N), head(index % it.N), steps(it.lengths ? it.lengths[row] : it.T) {}
    // Returns the numbers of the n-th step, in the order of the recurrence.
    float* at(const Field& f, int64_t n, int64_t width) const {
        return f.p ? f.p + row * f.row + place(n) * f.step + head * width : nullptr;
    }
    // Sets the numbers to zero after the end of the row.
    void clear(const Field& f, int64_t first, int64_t n, int64_t width) const {
        if (!f.p) return;
        for (int64_t t = steps; t < it.T; ++t)
            std::memset(f.p + row * f.row + t * f.step + head * width + first, 0, sizeof(float) * n);
    }
    float* state(float* p) const { return p ? p + (row * it.N + head) * it.K * it.V : nullptr; }
    const float* state(const float* p) const { return state(const_cast<float*>(p)); }

    const MatrixScan& it;
    const int64_t row, head, steps;

private:
    int64_t place(int64_t n) const { return it.reverse ? steps - 1 - n : n; }
};

// The factors of C successive steps of a head that S does not change.
template <int C, bool DELTA>
class Chunk {
public:
    static int64_t pitch(const MatrixScan& it) { return (it.K + WIDTH - 1) / WIDTH * WIDTH; }
    static int64_t floats(const MatrixScan& it) { return (3 * C + 1) * pitch(it); }
    Chunk(const MatrixScan& it, float* memory)
        : K(it.K), P(pitch(it)), decay_of_key(it.decay_of_key), query(memory), key(query + C * P), write(key + C * P), decay(write + C * P) {}

    // Registers of q, k and a, from feature i on.
    struct Inputs { Vec q[C], k[C], a[C]; };
    ELMAN_INLINE Inputs load_at(int64_t i) const {
        Inputs x;
        const Lanes n(K - i);
        for (int t = 0; t < C; ++t) {
            x.q[t] = load(q[t] + i, n), x.k[t] = load(k[t] + i, n);
            x.a[t] = !a[t] ? set(1) : decay_of_key ? load(a[t] + i, n) : set(*a[t]);
        }
        return x;
    }
    // Computes the factors from q, k and a.
    ELMAN_APART void prepare() {
        Vec products[C * C];
        for (Vec& x : products) x = set(0);
        for (int64_t i = 0; i < K; i += WIDTH) {
            const Inputs in = load_at(i);
            Vec d = set(1);
            for (int t = 0; t < C; ++t) {
                d = d * in.a[t];
                store(query + t * P + i, d * in.q[t]);
                if (DELTA) store(key + t * P + i, d * in.k[t]);
            }
            store(decay + i, d);
            ELMAN_UNROLL for (int s = 0; s < C; ++s) {
                Vec x = in.k[s];
                products[n_at(s, s)] = fma(in.q[s], x, products[n_at(s, s)]);
                ELMAN_UNROLL for (int t = s + 1; t < C; ++t) {
                    x = x * in.a[t];
                    products[n_at(t, s)] = fma(in.q[t], x, products[n_at(t, s)]);
                    if (DELTA) products[m_at(t, s)] = fma(in.k[t], x, products[m_at(t, s)]);
                }
                store(write + s * P + i, x);
            }
        }
        store_sums<C * C>(inner, products);
    }
    ELMAN_INLINE Vec N(int t, int s) const { return set(inner[n_at(t, s)]); }
    ELMAN_INLINE Vec M(int t, int s) const { return set(inner[m_at(t, s)]); }

    // N and M lie in one square: N in its lower half with the diagonal, M in its upper half.
    static constexpr int n_at(int t, int s) { return t * C + s; }
    static constexpr int m_at(int t, int s) { return s * C + t; }

    const int64_t K, P;
    const bool decay_of_key;
    const float *q[C], *k[C], *a[C], *beta[C];  // a, beta: null for 1
    float *query, *key, *write, *decay;         // rows of P: d_t q_t, d_t k_t, x_Cs, and d_C
    float inner[C * C];
};

// Runs C steps for WIDE registers of columns, of which the last one can be partial.
template <int C, int WIDE, bool DELTA>
ELMAN_APART void run_tile(const Chunk<C, DELTA>& c, float* S, int64_t pitch, const float* const* v, float* const* w, float* const* y, Lanes last) {
    const auto get = [&](const float* p, int r) { return r < WIDE - 1 ? load(p + r * WIDTH) : load(p + r * WIDTH, last); };
    const auto put = [&](float* p, int r, Vec x) { r < WIDE - 1 ? store(p + r * WIDTH, x) : store(p + r * WIDTH, x, last); };
    Vec old[C][WIDE], out[C][WIDE], u[C][WIDE];
    for (int t = 0; t < C; ++t)
        for (int r = 0; r < WIDE; ++r) old[t][r] = out[t][r] = set(0);
    // Local copies, because the compiler cannot know that stores of S do not change c.
    const int64_t K = c.K, P = c.P;
    const float *query = c.query, *key = c.key, *write = c.write, *decay = c.decay;
    for (int64_t i = 0; i < K; ++i) {
        Vec s[WIDE];
        for (int r = 0; r < WIDE; ++r) s[r] = load(S + i * pitch + r * WIDTH);
        for (int t = 0; t < C; ++t) {
            const Vec k = set(key[t * P + i]), q = set(query[t * P + i]);
            for (int r = 0; r < WIDE; ++r) {
                if (DELTA) old[t][r] = fma(k, s[r], old[t][r]);
                out[t][r] = fma(q, s[r], out[t][r]);
            }
        }
    }
    ELMAN_UNROLL for (int t = 0; t < C; ++t)
        ELMAN_UNROLL for (int r = 0; r < WIDE; ++r) {
            Vec x = get(v[t], r);
            if (DELTA) {
                x = x - old[t][r];
                ELMAN_UNROLL for (int s = 0; s < t; ++s) x = x - c.M(t, s) * u[s][r];
                if (w[t]) put(w[t], r, x);
            }
            u[t][r] = c.beta[t] ? x * set(*c.beta[t]) : x;
            ELMAN_UNROLL for (int s = 0; s <= t; ++s) out[t][r] = fma(c.N(t, s), u[s][r], out[t][r]);
            put(y[t], r, out[t][r]);
        }
    for (int64_t i = 0; i < K; ++i) {
        const Vec d = set(decay[i]);
        Vec x[C];
        for (int t = 0; t < C; ++t) x[t] = set(write[t * P + i]);
        for (int r = 0; r < WIDE; ++r) {
            Vec s = load(S + i * pitch + r * WIDTH) * d;
            for (int t = 0; t < C; ++t) s = fma(x[t], u[t][r], s);
            store(S + i * pitch + r * WIDTH, s);
        }
    }
}

// Carries some columns of one head, from column `first` on, through all steps.
template <bool DELTA>
class HeadColumns {
public:
    static int64_t floats(const MatrixScan& it) { return Chunk<STEPS, DELTA>::floats(it) + it.K * COLUMNS; }
    HeadColumns(const Head& h, int64_t first, int64_t columns, float* memory)
        : h(h), it(h.it), first(first), columns(columns), memory(memory) {
        // If the columns fill registers and are all there are, S can stay where its end belongs.
        const bool in_place = it.s_end && columns == it.V && columns % WIDTH == 0;
        pitch = in_place ? columns : COLUMNS;
        S = in_place ? h.state(it.s_end) : memory + Chunk<STEPS, DELTA>::floats(it);
    }

    void run() {
        const float* start = h.state(it.s0);
        for (int64_t i = 0; start != S && i < it.K; ++i) {
            if (start) std::memcpy(S + i * pitch, start + i * it.V + first, sizeof(float) * columns);
            const int64_t zeros = start ? columns : 0;
            std::memset(S + i * pitch + zeros, 0, sizeof(float) * (pitch - zeros));
        }
        int64_t n = 0;
        for (; n + STEPS <= h.steps; n += STEPS) steps<STEPS>(n);
        for (; n < h.steps; ++n) steps<1>(n);
        h.clear(it.y, first, columns, it.V);
        h.clear(it.w, first, columns, it.V);
        float* end = h.state(it.s_end);
        for (int64_t i = 0; end != S && i < it.K; ++i)
            std::memcpy(end + i * it.V + first, S + i * pitch, sizeof(float) * columns);
    }

private:
    template <int C>
    void steps(int64_t n) {
        Chunk<C, DELTA> c(it, memory);
        const float* v[C];
        float *w[C], *y[C];
        for (int t = 0; t < C; ++t) {
            c.q[t] = h.at(it.q, n + t, it.K), c.k[t] = h.at(it.k, n + t, it.K);
            c.a[t] = h.at(it.a, n + t, it.decay_of_key ? it.K : 1), c.beta[t] = h.at(it.beta, n + t, 1);
            v[t] = h.at(it.v, n + t, it.V) + first, y[t] = h.at(it.y, n + t, it.V) + first;
            w[t] = it.w.p ? h.at(it.w, n + t, it.V) + first : nullptr;
        }
        c.prepare();
        constexpr int WIDE = C == 1 || !DELTA ? 4 : 2;
        for (int64_t done = 0; done < columns;) {
            const int64_t left = columns - done;
            const auto tile = [&](auto wide) {
                constexpr int R = decltype(wide)::value;
                const Lanes last(left - (R - 1) * WIDTH);
                run_tile<C, R, DELTA>(c, S + done, pitch, v, w, y, last);
                for (int t = 0; t < C; ++t) v[t] += R * WIDTH, y[t] += R * WIDTH, w[t] = w[t] ? w[t] + R * WIDTH : nullptr;
                done += R * WIDTH;
            };
            if (left > (WIDE - 1) * WIDTH)
                tile(std::integral_constant<int, WIDE>());
            else if (left > WIDTH)
                tile(std::integral_constant<int, 2>());
            else
                tile(std::integral_constant<int, 1>());
        }
    }

    const Head& h;
    const MatrixScan& it;
    const int64_t first, columns;
    int64_t pitch;
    float *memory, *S;
};

template <bool DELTA>
void run_matrix_forward(const MatrixScan& it, int thread, int threads) {
    float* memory = scratch(HeadColumns<DELTA>::floats(it));
    const int64_t parts = (it.V + COLUMNS - 1) / COLUMNS;
    for (int64_t n = thread; n < it.B * it.N * parts; n += threads) {
        const Head head(it, n / parts);
        const int64_t first = n % parts * COLUMNS, left = it.V - first;
        HeadColumns<DELTA>(head, first, left < COLUMNS ? left : COLUMNS, memory).run();
    }
}

}  // namespace
