// The backward pass of the recurrence of matrix_scan.h.
//
// It computes S again from k, a and u = beta w, which is cheaper than storing it: a first sweep keeps S
// at the beginning of each group of chunks of C steps, a second one processes the groups from the last
// to the first, and first computes S at the beginning of each of their chunks.  With S before a chunk
// and G, the gradient of the state after it:
//
//   d_u_s = G^T x_Cs + sum_{t>=s} N_ts d_y_t - sum_{t>s} M_ts d_w_t       d_w_s = d_v_s = beta_s d_u_s
//   d_beta_s = d_u_s . w_s     d_N_ts = d_y_t . u_s     d_M_ts = -d_w_t . u_s
//   d(d_t q_t) = S d_y_t       d(d_t k_t) = -S d_w_t    d(x_Cs) = G u_s     d(d_C) = sums of G * S
//   the gradient of S is d_C G + sum_t (d_t q_t) d_y_t^T - sum_t (d_t k_t) d_w_t^T
//
// Without DELTA, d_v = beta d_u, and there are no terms with M and d_w.  Lanes are rows of S, so that
// the gradients of q, k and a are sums of registers.  A matrix is stored in panels: WIDTH rows of S by
// V columns, with the rows side by side.
#pragma once

#include "matrix_scan.h"

namespace {

template <bool DELTA>
class HeadBackward {
    static constexpr int C = STEPS;
    static constexpr int64_t CACHED = 96 << 10;  // floats of the states of a group, at most if it can be

public:
    static int64_t floats(const MatrixScan& it) {
        const Plan p(it);
        return Chunk<C, DELTA>::floats(it) + 2 * p.wide + (2 + p.blocks) * ROWS * COLUMNS + (p.groups + p.size) * p.matrix + APART * 4;
    }

    HeadBackward(const Head& h, float* memory) : h(h), it(h.it), plan(it), K(it.K), V(it.V), P(Chunk<C, DELTA>::pitch(it)), chunk(it, memory) {
        float* free = memory + Chunk<C, DELTA>::floats(it);
        const auto take = [&](int64_t floats) { float* p = free; free += floats; return p; };
        ones = take(plan.wide), zeros = take(plan.wide);
        for (int64_t i = 0; i < plan.wide; ++i) ones[i] = 1, zeros[i] = 0;
        rows = take((2 + plan.blocks) * ROWS * COLUMNS);
        G = take(plan.matrix + APART), starts = take(plan.groups * plan.matrix + APART), states = take((plan.size - 1) * plan.matrix);
    }

    void run() {
        panels(h.state(it.d_end), G);
        panels(h.state(it.s0), starts);
        const int64_t chunks = (h.steps + C - 1) / C, groups = (chunks + plan.size - 1) / plan.size;
        for (int64_t g = 0; g + 1 < groups; ++g)
            for (int64_t c = 0; c < plan.size; ++c)
                advance(g * plan.size + c, starts + (g + (c > 0)) * plan.matrix, starts + (g + 1) * plan.matrix);
        for (int64_t g = groups - 1; g >= 0; --g) {
            const int64_t first = g * plan.size, count = smaller_of(plan.size, chunks - first);
            const auto state = [&](int64_t c) { return c ? states + (c - 1) * plan.matrix : starts + g * plan.matrix; };
            for (int64_t c = 0; c + 1 < count; ++c) advance(first + c, state(c), state(c + 1));
            for (int64_t c = count - 1; c >= 0; --c) step_back(first + c, state(c));
        }
        if (float* to = h.state(it.d_s0))
            for (int64_t i = 0; i < K; ++i)
                for (int64_t j = 0; j < V; ++j) to[i * V + j] = G[(i / WIDTH * V + j) * WIDTH + i % WIDTH];
        for (const Field* f : {&it.d_q, &it.d_k}) h.clear(*f, 0, K, K);
        h.clear(it.d_v, 0, V, V);
        h.clear(it.d_beta, 0, 1, 1);
        h.clear(it.d_a, 0, decays(), decays());
    }

private:
    static constexpr int ROWS = 3 * C;    // rows of u, d_y and -d_w for each block of COLUMNS columns
    static constexpr int64_t APART = 80;  // floats between matrices, which would otherwise share sets of the cache
    static int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }
    static int64_t larger_of(int64_t a, int64_t b) { return a < b ? b : a; }

    // Sizes of the memory: floats of a matrix and of a row, chunks of a group, groups, blocks of columns.
    struct Plan {
        explicit Plan(const MatrixScan& it) {
            const int64_t chunks = (it.T + C - 1) / C;
            matrix = Chunk<C, DELTA>::pitch(it) * it.V;
            blocks = (it.V + COLUMNS - 1) / COLUMNS;
            wide = larger_of(Chunk<C, DELTA>::pitch(it), blocks * COLUMNS);
            size = smaller_of(chunks, larger_of(CACHED / matrix, 2));
            while (size * size < chunks) size *= 2;  // as little memory as a long sequence allows
            groups = (chunks + size - 1) / size;
        }
        int64_t matrix, wide, size, groups, blocks;
    };

    int64_t decays() const { return it.decay_of_key ? K : 1; }
    // Returns element j of row r of u (r < C), d_y (r < 2 C) or -d_w.
    ELMAN_INLINE float* row(int r, int64_t j) const { return rows + (j / COLUMNS * ROWS + r) * COLUMNS + j % COLUMNS; }

    // Stores a matrix (K, V), or zeros for null, in panels.
    void panels(const float* from, float* to) const {
        std::memset(to, 0, sizeof(float) * plan.matrix);
        for (int64_t i = 0; from && i < K; ++i)
            for (int64_t j = 0; j < V; ++j) to[(i / WIDTH * V + j) * WIDTH + i % WIDTH] = from[i * V + j];
    }

    // Prepares the factors of a chunk, and u.  Steps after the end of the sequence change nothing.
    void load_chunk(int64_t index) {
        for (int t = 0; t < C; ++t) {
            const int64_t n = index * C + t;
            const bool there = n < h.steps;
            chunk.q[t] = there ? h.at(it.q, n, K) : zeros, chunk.k[t] = there ? h.at(it.k, n, K) : zeros;
            chunk.a[t] = there ? h.at(it.a, n, decays()) : ones;
            chunk.beta[t] = !there ? zeros : it.beta.p ? h.at(it.beta, n, 1) : ones;
            w[t] = there ? h.at(it.w, n, V) : zeros;
            const Vec beta = set(*chunk.beta[t]);
            for (int64_t j = 0; j < V; j += WIDTH) store(row(t, j), load(w[t] + j, Lanes(V - j)) * beta);
        }
        chunk.prepare();
    }

    // Computes S after a chunk from S before it.
    ELMAN_APART void advance(int64_t index, const float* from, float* to) {
        load_chunk(index);
        for (int64_t i = 0; i < P; i += WIDTH) {
            Vec x[C], decay = load(chunk.decay + i);
            for (int s = 0; s < C; ++s) x[s] = load(chunk.write + s * P + i);
            for (int64_t begin = 0; begin < V; begin += COLUMNS) {
                const float* u = row(0, begin);
                for (int64_t j = 0; j < smaller_of(COLUMNS, V - begin); ++j, from += WIDTH, to += WIDTH) {
                    Vec next = load(from) * decay;
                    for (int s = 0; s < C; ++s) next = fma(x[s], set(u[s * COLUMNS + j]), next);
                    store(to, next);
                }
            }
        }
    }

    void step_back(int64_t index, const float* S) {
        load_chunk(index);
        read_gradient();
        solve(index);
        Vec d_a[C];
        for (Vec& d : d_a) d = set(0);
        for (int64_t i = 0; i < P; i += WIDTH) finish(index, i, rows_of_state(i, S + i * V), d_a);
        for (int t = 0; t < C && index * C + t < h.steps; ++t)
            if (it.d_a.p && !it.decay_of_key) *h.at(it.d_a, index * C + t, 1) = sum(d_a[t]);
    }

    // Stores G^T x_Cs in the rows of -d_w.
    ELMAN_APART void read_gradient() {
        for (int64_t j = 0; j < V; j += C) {
            Vec d[C * C];
            float found[C * C];
            for (Vec& x : d) x = set(0);
            for (int64_t i = 0; i < P; i += WIDTH) {
                const float* g = G + i * V + j * WIDTH;
                for (int s = 0; s < C; ++s) {
                    const Vec x = load(chunk.write + s * P + i);
                    for (int c = 0; c < C; ++c) d[s * C + c] = fma(load(g + c * WIDTH), x, d[s * C + c]);
                }
            }
            store_sums<C * C>(found, d);
            for (int s = 0; s < C; ++s) std::memcpy(row(2 * C + s, j), found + s * C, sizeof(float) * C);
        }
    }

    // Computes d_u and everything that depends on it and not on S.
    ELMAN_APART void solve(int64_t index) {
        Vec products[C * C], d_beta[C];
        for (Vec& x : products) x = set(0);
        for (Vec& x : d_beta) x = set(0);
        const float* d_y[C];
        float* d_v[C];
        for (int t = 0; t < C; ++t) {
            const int64_t step = index * C + t;
            d_y[t] = it.d_y.p && step < h.steps ? h.at(it.d_y, step, V) : zeros;
            d_v[t] = step < h.steps ? h.at(it.d_v, step, V) : nullptr;
        }
        for (int64_t j = 0; j < V; j += WIDTH) {
            const Lanes lanes(V - j);
            Vec u[C], dy[C], minus[C];
            for (int t = 0; t < C; ++t) u[t] = load(row(t, j), lanes), dy[t] = load(d_y[t] + j, lanes);
            ELMAN_UNROLL for (int s = C - 1; s >= 0; --s) {
                Vec d = load(row(2 * C + s, j), lanes);
                ELMAN_UNROLL for (int t = s; t < C; ++t) {
                    d = fma(chunk.N(t, s), dy[t], d);
                    Vec& n = products[chunk.n_at(t, s)];
                    n = fma(dy[t], u[s], n);
                    if (DELTA && t > s) {
                        d = fma(chunk.M(t, s), minus[t], d);
                        Vec& m = products[chunk.m_at(t, s)];
                        m = fma(minus[t], u[s], m);
                    }
                }
                d_beta[s] = fma(d, load(w[s] + j, lanes), d_beta[s]);
                d = d * set(*chunk.beta[s]);
                if (d_v[s]) store(d_v[s] + j, d, lanes);
                minus[s] = set(0) - d;
                store(row(C + s, j), dy[s]);
                store(row(2 * C + s, j), minus[s]);
            }
        }
        store_sums<C * C>(d_inner, products);
        for (int t = 0; t < C && index * C + t < h.steps; ++t)
            if (it.d_beta.p) *h.at(it.d_beta, index * C + t, 1) = sum(d_beta[t]);
    }

    // Gradients of d_t q_t, d_t k_t, x_Cs and d_C.
    struct Gradients { Vec query[C], key[C], write[C], decay; };

    // Processes a panel of S and G, from row i on.
    ELMAN_APART Gradients rows_of_state(int64_t i, const float* S) {
        Gradients d;
        Vec query[C], key[C];
        for (int t = 0; t < C; ++t) {
            d.query[t] = d.key[t] = d.write[t] = set(0);
            query[t] = load(chunk.query + t * P + i), key[t] = load(chunk.key + t * P + i);
        }
        d.decay = set(0);
        const Vec decay = load(chunk.decay + i);
        float* g = G + i * V;
        for (int64_t begin = 0; begin < V; begin += COLUMNS) {
            const float* r = row(0, begin);
            for (int64_t j = 0; j < smaller_of(COLUMNS, V - begin); ++j, ++r, g += WIDTH, S += WIDTH) {
                const Vec s = load(S);
                Vec now = load(g);
                d.decay = fma(now, s, d.decay);
                for (int t = 0; t < C; ++t) d.write[t] = fma(now, set(r[t * COLUMNS]), d.write[t]);
                now = now * decay;
                for (int t = 0; t < C; ++t) {
                    const Vec dy = set(r[(C + t) * COLUMNS]), minus = set(r[(2 * C + t) * COLUMNS]);
                    d.query[t] = fma(s, dy, d.query[t]);
                    now = fma(query[t], dy, now);
                    if (DELTA) {
                        d.key[t] = fma(s, minus, d.key[t]);
                        now = fma(key[t], minus, now);
                    }
                }
                store(g, now);
            }
        }
        return d;
    }

    // Stores the gradients of q, k and a, from feature i on; adds those of a to `of_head` if a is one
    // number.  It runs the computation of Chunk::prepare backward.
    ELMAN_APART void finish(int64_t index, int64_t i, const Gradients& d, Vec* of_head) const {
        const typename Chunk<C, DELTA>::Inputs in = chunk.load_at(i);
        Vec d_q[C], d_k[C], d_a[C], before[C], x[C];
        Vec g = set(1);
        for (int t = 0; t < C; ++t) before[t] = g, g = g * in.a[t];
        g = d.decay;
        for (int t = C - 1; t >= 0; --t) {
            const Vec now = before[t] * in.a[t];
            g = fma(d.key[t], in.k[t], fma(d.query[t], in.q[t], g));
            d_q[t] = now * d.query[t], d_k[t] = now * d.key[t], d_a[t] = g * before[t];
            g = g * in.a[t];
        }
        ELMAN_UNROLL for (int s = 0; s < C; ++s) {
            x[s] = in.k[s];
            ELMAN_UNROLL for (int t = s + 1; t < C; ++t) x[t] = x[t - 1] * in.a[t];
            g = d.write[s];
            ELMAN_UNROLL for (int t = C - 1; t > s; --t) {
                const Vec n = set(d_inner[chunk.n_at(t, s)]);
                d_q[t] = fma(n, x[t], d_q[t]);
                g = fma(n, in.q[t], g);
                if (DELTA) {
                    const Vec m = set(d_inner[chunk.m_at(t, s)]);
                    d_k[t] = fma(m, x[t], d_k[t]);
                    g = fma(m, in.k[t], g);
                }
                d_a[t] = fma(g, x[t - 1], d_a[t]);
                g = g * in.a[t];
            }
            const Vec n = set(d_inner[chunk.n_at(s, s)]);
            d_q[s] = fma(n, x[s], d_q[s]);
            d_k[s] = d_k[s] + fma(n, in.q[s], g);
        }
        const Lanes lanes(K - i);
        for (int t = 0; t < C; ++t) {
            of_head[t] = of_head[t] + keep(d_a[t], lanes);
            const int64_t n = index * C + t;
            if (n >= h.steps) continue;
            if (it.d_q.p) store(h.at(it.d_q, n, K) + i, d_q[t], lanes);
            if (it.d_k.p) store(h.at(it.d_k, n, K) + i, d_k[t], lanes);
            if (it.d_a.p && it.decay_of_key) store(h.at(it.d_a, n, K) + i, d_a[t], lanes);
        }
    }

    const Head& h;
    const MatrixScan& it;
    const Plan plan;
    const int64_t K, V, P;
    Chunk<C, DELTA> chunk;
    const float* w[C];
    float d_inner[C * C];
    float *ones, *zeros, *rows, *G, *starts, *states;
};

template <bool DELTA>
void run_matrix_backward(const MatrixScan& it, int thread, int threads) {
    float* memory = scratch(HeadBackward<DELTA>::floats(it));
    for (int64_t n = thread; n < it.B * it.N; n += threads) {
        const Head head(it, n);
        HeadBackward<DELTA>(head, memory).run();
    }
}

template <bool BACKWARD>
void run_matrix_scan(const MatrixScan& it) {
    const auto run = [&](auto delta) {
        constexpr bool DELTA = decltype(delta)::value;
        const int64_t work = it.B * it.T * it.N * it.K * it.V >> 17;
        in_team(static_cast<int>(work < it.threads ? work + 1 : it.threads), [&](int thread, int threads, Barrier&) {
            BACKWARD ? run_matrix_backward<DELTA>(it, thread, threads) : run_matrix_forward<DELTA>(it, thread, threads);
        });
    };
    it.delta ? run(std::true_type()) : run(std::false_type());
}

}  // namespace
