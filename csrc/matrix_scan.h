// A recurrence whose state is a matrix S (K, V) for each row and head, see MatrixScan in kernels.h:
//
//   P_t = a_t S_{t-1}                     a is one number, or one for each of the K rows of S
//   w_t = v_t - P_t^T k_t                 with DELTA, otherwise w_t = v_t
//   S_t = P_t + k_t (beta_t w_t)^T        y_t = S_t^T q_t
//
// A column of S never reads another one.  In the forward pass a thread therefore carries some columns
// of one head through all steps, in the L1 cache: their lanes are columns, and the numbers of a, k and
// q are broadcast.
//
// The backward pass computes S again from k, w and beta, which is cheaper than storing it.  Its lanes
// are the K rows of S, so that the gradients of q, k and a are sums of registers.  The first sweep runs
// forward and keeps S at the beginning of each chunk of steps; the second runs backward, chunk by
// chunk.  With G_t the gradient of S_t (plus what later steps add to it) and u_t = beta_t w_t:
//
//   G_t += q_t dy_t^T     d_q = S_t dy_t     d_u = G_t^T k_t     d_beta = d_u . w_t     d_w = beta_t d_u
//   d_v = d_w     d_k = G_t u_t - P_t d_w     d_P = G_t - k_t d_w^T     (without DELTA: no terms of d_w)
//   d_a = d_P * S_{t-1}     G_{t-1} += a_t d_P
#pragma once

#include <type_traits>

#include "kernels.h"
#include "team.h"
#include "vector.h"

namespace {

constexpr int64_t LEAST_STEPS = 16;   // steps of a chunk, at least
constexpr int64_t MOST_CHUNKS = 512;  // chunks of a sequence, if they are not to be longer
constexpr int64_t TOGETHER = 4;      // columns of S that the backward pass processes at a time
constexpr int64_t APART = 80;        // floats between its arrays, which would otherwise share sets of the cache

enum Decay : int64_t { NO_DECAY, DECAY_OF_HEAD, DECAY_OF_KEY };

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

// WIDE registers of columns of one head, from column `first` on; the last register can be partial.
template <int WIDE, Decay DECAY, bool DELTA>
void run_columns(const Head& h, int64_t first, int64_t columns, float* S) {
    const MatrixScan& it = h.it;
    const int64_t K = it.K, V = it.V;
    const Lanes last(columns - (WIDE - 1) * WIDTH);
    const auto get = [&](const float* p, int c) { return c < WIDE - 1 ? load(p + c * WIDTH) : load(p + c * WIDTH, last); };
    const auto put = [&](float* p, int c, Vec x) { c < WIDE - 1 ? store(p + c * WIDTH, x) : store(p + c * WIDTH, x, last); };
    constexpr int64_t PITCH = WIDE * WIDTH;
    const float* start = h.state(it.s0);
    for (int64_t i = 0; i < K; ++i)
        for (int c = 0; c < WIDE; ++c) store(S + i * PITCH + c * WIDTH, start ? get(start + i * V + first, c) : set(0));

    float scale = 1;  // S is stored divided by it, so that a decay of the whole head costs nothing
    const auto restore = [&] {
        for (int64_t i = 0; i < K * PITCH; i += WIDTH) store(S + i, load(S + i) * set(scale));
        scale = 1;
    };
    for (int64_t n = 0; n < h.steps; ++n) {
        const float *q = h.at(it.q, n, K), *k = h.at(it.k, n, K), *v = h.at(it.v, n, V) + first;
        const float* a = h.at(it.a, n, DECAY == DECAY_OF_KEY ? K : 1);
        const float* beta = h.at(it.beta, n, 1);
        if (DECAY == DECAY_OF_HEAD) {
            scale *= *a;
            const float size = scale < 0 ? -scale : scale;
            if (!(size > 1e-6f && size < 1e6f)) restore();
        }
        Vec u[WIDE];
        for (int c = 0; c < WIDE; ++c) u[c] = get(v, c);
        if (DELTA) {
            Vec read[4][WIDE];
            for (auto& part : read)
                for (int c = 0; c < WIDE; ++c) part[c] = set(0);
            const auto add = [&](int64_t i, Vec* to) {
                const Vec key = set(DECAY == DECAY_OF_KEY ? k[i] * a[i] : k[i]);
                for (int c = 0; c < WIDE; ++c) to[c] = fma(key, load(S + i * PITCH + c * WIDTH), to[c]);
            };
            int64_t i = 0;
            for (; i + 4 <= K; i += 4)
                for (int part = 0; part < 4; ++part) add(i + part, read[part]);
            for (; i < K; ++i) add(i, read[0]);
            const Vec minus = set(-scale);
            for (int c = 0; c < WIDE; ++c)
                u[c] = fma(minus, (read[0][c] + read[1][c]) + (read[2][c] + read[3][c]), u[c]);
            if (it.w.p)
                for (int c = 0; c < WIDE; ++c) put(h.at(it.w, n, V) + first, c, u[c]);
        }
        const float strength = (beta ? *beta : 1.0f) / scale;
        for (int c = 0; c < WIDE; ++c) u[c] = u[c] * set(strength);
        Vec y[4][WIDE];
        for (auto& part : y)
            for (int c = 0; c < WIDE; ++c) part[c] = set(0);
        const auto write = [&](int64_t i, Vec* to) {
            const Vec key = set(k[i]), query = set(q[i]);
            for (int c = 0; c < WIDE; ++c) {
                float* p = S + i * PITCH + c * WIDTH;
                const Vec s = DECAY == DECAY_OF_KEY ? fma(set(a[i]), load(p), key * u[c]) : fma(key, u[c], load(p));
                store(p, s);
                to[c] = fma(query, s, to[c]);
            }
        };
        int64_t i = 0;
        for (; i + 4 <= K; i += 4)
            for (int part = 0; part < 4; ++part) write(i + part, y[part]);
        for (; i < K; ++i) write(i, y[0]);
        float* out = h.at(it.y, n, V) + first;
        for (int c = 0; c < WIDE; ++c) put(out, c, ((y[0][c] + y[1][c]) + (y[2][c] + y[3][c])) * set(scale));
    }
    if (DECAY == DECAY_OF_HEAD) restore();
    h.clear(it.y, first, columns, V);
    h.clear(it.w, first, columns, V);
    if (float* end = h.state(it.s_end))
        for (int64_t i = 0; i < K; ++i)
            for (int c = 0; c < WIDE; ++c) put(end + i * V + first, c, load(S + i * PITCH + c * WIDTH));
}

// The backward pass of one head.  Matrices in `memory` have V rows of K numbers, padded to registers.
template <Decay DECAY, bool DELTA>
class HeadBackward {
public:
    static int64_t chunk(int64_t T) { return (T + MOST_CHUNKS - 1) / MOST_CHUNKS <= LEAST_STEPS ? LEAST_STEPS : (T + MOST_CHUNKS - 1) / MOST_CHUNKS; }
    static int64_t pitch(const MatrixScan& it) { return (it.K + WIDTH - 1) / WIDTH * WIDTH; }
    static int64_t floats(const MatrixScan& it) {
        const int64_t C = chunk(it.T), P = pitch(it), chunks = (it.T + C - 1) / C;
        return (chunks + 1) * it.V * P + C * ((TOGETHER + 6) * P + 3 * it.V + 2) + 12 * APART;
    }

    HeadBackward(const Head& h, float* memory)
        : h(h), it(h.it), K(it.K), V(it.V), P(pitch(it)), C(chunk(it.T)), G(memory), starts(G + V * P) {
        float* free = starts + (it.T + C - 1) / C * V * P;
        const auto take = [&](int64_t floats) { float* p = free; free += floats + APART; return p; };
        history = take(C * TOGETHER * P);
        q = take(C * P), k = take(C * P), a = take(C * P), d_q = take(C * P), d_k = take(C * P), d_a = take(C * P);
        w = take(C * V), d_y = take(C * V), d_v = take(C * V), beta = take(C), d_beta = take(C);
    }

    void run() {
        transposed(h.state(it.d_end), G);
        const int64_t chunks = (h.steps + C - 1) / C;
        if (chunks) keep_starts(chunks);
        for (int64_t c = chunks - 1; c >= 0; --c) {
            const int64_t begin = c * C, count = smaller_of(C, h.steps - begin);
            copy_in(begin, count);
            for (float* to : {d_q, d_k, d_a}) std::memset(to, 0, sizeof(float) * count * P);
            std::memset(d_beta, 0, sizeof(float) * count);
            for (int64_t j = 0; j < V; j += TOGETHER) {
                if (V - j >= TOGETHER)
                    columns<TOGETHER>(c, count, j);
                else
                    for (int64_t one = j; one < V; ++one) columns<1>(c, count, one);
            }
            copy_out(begin, count);
        }
        if (float* to = h.state(it.d_s0))
            for (int64_t i = 0; i < K; ++i)
                for (int64_t j = 0; j < V; ++j) to[i * V + j] = G[j * P + i];
        for (const Field* f : {&it.d_q, &it.d_k}) h.clear(*f, 0, K, K);
        h.clear(it.d_v, 0, V, V);
        h.clear(it.d_beta, 0, 1, 1);
        h.clear(it.d_a, 0, DECAY == DECAY_OF_KEY ? K : 1, DECAY == DECAY_OF_KEY ? K : 1);
    }

private:
    static int64_t smaller_of(int64_t a, int64_t b) { return a < b ? a : b; }

    // Stores a matrix (K, V), or zeros for null, as (V, P).
    void transposed(const float* from, float* to) const {
        std::memset(to, 0, sizeof(float) * V * P);
        if (!from) return;
        for (int64_t i = 0; i < K; ++i)
            for (int64_t j = 0; j < V; ++j) to[j * P + i] = from[i * V + j];
    }
    // The first sweep: stores S at the beginning of each chunk.
    void keep_starts(int64_t chunks) {
        transposed(h.state(it.s0), starts);
        for (int64_t c = 0; c + 1 < chunks; ++c) {
            copy_in(c * C, C);
            for (int64_t j = 0; j < V; ++j) {
                const float* from = starts + (c * V + j) * P;
                float* to = starts + ((c + 1) * V + j) * P;
                std::memcpy(to, from, sizeof(float) * P);
                for (int64_t n = 0; n < C; ++n) {
                    const Vec u = set(beta[n] * w[n * V + j]);
                    for (int64_t i = 0; i < P; i += WIDTH) store(to + i, next(load(to + i), n, i, u));
                }
            }
        }
    }
    ELMAN_INLINE Vec before(Vec s, int64_t n, int64_t i) const {
        if (DECAY == NO_DECAY) return s;
        return s * (DECAY == DECAY_OF_KEY ? load(a + n * P + i) : set(a[n * P]));
    }
    ELMAN_INLINE Vec next(Vec s, int64_t n, int64_t i, Vec u) const { return fma(load(k + n * P + i), u, before(s, n, i)); }

    // Copies `width` numbers of each step of a chunk, or `otherwise` for null, into rows of `pitch`.
    void take_in(const Field& f, int64_t begin, int64_t count, int64_t width, int64_t pitch, float* to, float otherwise) const {
        for (int64_t n = 0; n < count; ++n, to += pitch) {
            const float* from = h.at(f, begin + n, width);
            for (int64_t i = 0; i < pitch; ++i) to[i] = i >= width ? 0 : from ? from[i] : otherwise;
        }
    }
    void give_out(const Field& f, int64_t begin, int64_t count, int64_t width, int64_t pitch, const float* from) const {
        for (int64_t n = 0; f.p && n < count; ++n) std::memcpy(h.at(f, begin + n, width), from + n * pitch, sizeof(float) * width);
    }
    void copy_in(int64_t begin, int64_t count) {
        take_in(it.q, begin, count, K, P, q, 0);
        take_in(it.k, begin, count, K, P, k, 0);
        take_in(it.a, begin, count, DECAY == DECAY_OF_KEY ? K : 1, P, a, 1);
        take_in(it.w, begin, count, V, V, w, 0);
        take_in(it.d_y, begin, count, V, V, d_y, 0);
        take_in(it.beta, begin, count, 1, 1, beta, 1);
    }
    void copy_out(int64_t begin, int64_t count) {
        if (DECAY == DECAY_OF_HEAD)
            for (int64_t n = 0; n < count; ++n) {
                Vec total = set(0);
                for (int64_t i = 0; i < P; i += WIDTH) total += load(d_a + n * P + i);
                d_a[n * P] = sum(total);
            }
        give_out(it.d_q, begin, count, K, P, d_q);
        give_out(it.d_k, begin, count, K, P, d_k);
        give_out(it.d_a, begin, count, DECAY == DECAY_OF_KEY ? K : 1, P, d_a);
        give_out(it.d_v, begin, count, V, V, d_v);
        give_out(it.d_beta, begin, count, 1, 1, d_beta);
    }

    // The second sweep through one chunk, for COUNT columns of S from j on.
    template <int COUNT>
    void columns(int64_t c, int64_t count, int64_t j) {
        for (int m = 0; m < COUNT; ++m) {
            std::memcpy(history + m * P, starts + (c * V + j + m) * P, sizeof(float) * P);
            for (int64_t n = 0; n + 1 < count; ++n) {
                const Vec u = set(beta[n] * w[n * V + j + m]);
                const float* from = history + (n * COUNT + m) * P;
                float* to = history + ((n + 1) * COUNT + m) * P;
                for (int64_t i = 0; i < P; i += WIDTH) store(to + i, next(load(from + i), n, i, u));
            }
        }
        for (int64_t n = count - 1; n >= 0; --n) step_back<COUNT>(n, j);
    }

    template <int COUNT>
    ELMAN_INLINE void step_back(int64_t n, int64_t j) {
        const float* S = history + n * COUNT * P;
        float* g = G + j * P;
        Vec d_u[COUNT], dy[COUNT], u[COUNT];
        for (int m = 0; m < COUNT; ++m)
            d_u[m] = set(0), dy[m] = set(d_y[n * V + j + m]), u[m] = set(beta[n] * w[n * V + j + m]);
        for (int64_t i = 0; i < P; i += WIDTH) {
            const Vec query = load(q + n * P + i), key = load(k + n * P + i);
            Vec sum_q = load(d_q + n * P + i);
            for (int m = 0; m < COUNT; ++m) {
                sum_q = fma(fma(key, u[m], before(load(S + m * P + i), n, i)), dy[m], sum_q);
                const Vec now = fma(query, dy[m], load(g + m * P + i));
                store(g + m * P + i, now);
                d_u[m] = fma(now, key, d_u[m]);
            }
            store(d_q + n * P + i, sum_q);
        }
        float d_w[COUNT];
        for (int m = 0; m < COUNT; ++m) {
            const float d = sum(d_u[m]);
            d_beta[n] += d * w[n * V + j + m];
            d_v[n * V + j + m] = d_w[m] = beta[n] * d;
        }
        for (int64_t i = 0; i < P; i += WIDTH) {
            const Vec key = load(k + n * P + i);
            Vec sum_k = load(d_k + n * P + i), sum_a = load(d_a + n * P + i);
            for (int m = 0; m < COUNT; ++m) {
                const Vec old = load(S + m * P + i);
                Vec now = load(g + m * P + i);
                sum_k = fma(now, u[m], sum_k);
                if (DELTA) {
                    const Vec less = set(-d_w[m]);
                    sum_k = fma(before(old, n, i), less, sum_k);
                    now = fma(key, less, now);
                }
                if (DECAY != NO_DECAY) sum_a = fma(now, old, sum_a);
                store(g + m * P + i, before(now, n, i));
            }
            store(d_k + n * P + i, sum_k);
            if (DECAY != NO_DECAY) store(d_a + n * P + i, sum_a);
        }
    }

    const Head& h;
    const MatrixScan& it;
    const int64_t K, V, P, C;
    float *G, *starts, *history, *q, *k, *a, *d_q, *d_k, *d_a, *w, *d_y, *d_v, *beta, *d_beta;
};

template <Decay DECAY, bool DELTA>
void run_matrix_forward(const MatrixScan& it, int thread, int threads) {
    constexpr int64_t MOST = 2 * WIDTH;
    float* S = scratch(it.K * MOST);
    const int64_t parts = (it.V + MOST - 1) / MOST;
    for (int64_t n = thread; n < it.B * it.N * parts; n += threads) {
        const Head head(it, n / parts);
        const int64_t first = n % parts * MOST, columns = it.V - first < MOST ? it.V - first : MOST;
        if (columns > WIDTH)
            run_columns<2, DECAY, DELTA>(head, first, columns, S);
        else
            run_columns<1, DECAY, DELTA>(head, first, columns, S);
    }
}

template <Decay DECAY, bool DELTA>
void run_matrix_backward(const MatrixScan& it, int thread, int threads) {
    float* memory = scratch(HeadBackward<DECAY, DELTA>::floats(it));
    for (int64_t n = thread; n < it.B * it.N; n += threads) {
        const Head head(it, n);
        HeadBackward<DECAY, DELTA>(head, memory).run();
    }
}

template <bool BACKWARD, Decay DECAY, bool DELTA>
void run_matrix_threads(const MatrixScan& it) {
    const int64_t work = it.B * it.T * it.N * it.K * it.V >> 17;
    in_team(static_cast<int>(work < it.threads ? work + 1 : it.threads), [&](int thread, int threads, Barrier&) {
        if (BACKWARD)
            run_matrix_backward<DECAY, DELTA>(it, thread, threads);
        else
            run_matrix_forward<DECAY, DELTA>(it, thread, threads);
    });
}

template <bool BACKWARD>
void run_matrix_scan(const MatrixScan& it) {
    const int64_t decay = !it.a.p ? NO_DECAY : it.decay_of_key ? DECAY_OF_KEY : DECAY_OF_HEAD;
    const auto run = [&](auto delta) {
        constexpr bool DELTA = decltype(delta)::value;
        if (decay == NO_DECAY) return run_matrix_threads<BACKWARD, NO_DECAY, DELTA>(it);
        if (decay == DECAY_OF_HEAD) return run_matrix_threads<BACKWARD, DECAY_OF_HEAD, DELTA>(it);
        run_matrix_threads<BACKWARD, DECAY_OF_KEY, DELTA>(it);
    };
    it.delta ? run(std::true_type()) : run(std::false_type());
}

}  // namespace
