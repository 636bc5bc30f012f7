// The recurrence of an sLSTM over a sequence, see Slstm in kernels.h and elman/recur/slstm.py:
//
//   i, f, z, o: products with x_t and, within each head, with h_{t-1}
//   m_t = max(log sigmoid(f) + m_{t-1}, i)     keep = exp(log sigmoid(f) + m_{t-1} - m_t)   take = exp(i - m_t)
//   c_t = keep c_{t-1} + take tanh(z)          n_t = keep n_{t-1} + take
//   h_t = sigmoid(o) c_t / n_t                 where n_{t-1} = 0: m_t = i, keep = 0
//
// Heads never read each other.  A thread therefore runs some rows of one head through all steps and
// waits for nobody; the matrix of the head is packed once and stays in the L2 cache.  Rows are in
// order of length, longest first, so that those still running at a step come first.
//
// The forward pass replaces the products with x by take, f, tanh(z) and sigmoid(o), from which the
// backward pass computes their gradients in the same place.  With D_* the gradients of the state
// that come from later steps, and d_h that of h_t:
//
//   d_c = D_c + d_h o / n     d_n = D_n - d_h o c / n^2     d_o = d_h c / n     d_z = d_c take
//   e = (d_c c' + d_n n') keep                gradient of the first exponent, ' is the step before
//   t = (d_c z + d_n) take                    of the second; the larger of both also gets D_m - e - t
//   D_c' = d_c keep     D_n' = d_n keep     D_m' = e     d_i = t     d_f = e sigmoid(-f)
#pragma once

#include "kernels.h"
#include "product.h"
#include "team.h"
#include "vector.h"

namespace {

constexpr int64_t FEW_ROWS = 48;        // rows that are run together beside a small matrix
constexpr int64_t SMALL_HEAD = 128;     // units of a head whose matrix leaves room in the L2 cache
constexpr float NOTHING = -1e30f;       // log 0, with which differences stay numbers

// Some rows of one head.
class HeadRows {
public:
    static int64_t pitch(const Slstm& it) { return padded_width(it.S); }
    static int64_t wide(const Slstm& it) { return padded_width(4 * it.S); }
    // Returns floats of memory for this number of rows.
    static int64_t floats(const Slstm& it, int64_t rows) { return rows * (5 * pitch(it) + wide(it)); }

    HeadRows(const Slstm& it, int64_t head, int64_t first, int64_t rows, const float* packed, float* memory)
        : it(it), S(it.S), H(it.N * it.S), at(head * it.S), first(first), rows(rows), ld(pitch(it)), ld_p(wide(it)),
          packed(packed), p(memory), seen(memory + rows * ld_p) {
        for (int k = 0; k < 4; ++k) state[k] = seen + (k + 1) * rows * ld;
    }

    void forward() {
        take(it.s0);
        int64_t n = 0;
        for (int64_t i = 0; i < it.T; ++i) {
            const int64_t t = it.reverse ? it.T - 1 - i : i;
            n = running(n, t);
            const float* from = it.mask ? seen : state[0];
            for (int64_t j = 0; it.mask && j < n; ++j)
                for_units([&](int64_t u, Lanes l) { store(seen + j * ld + u, load(state[0] + j * ld + u, l) * load(mask(j) + u, l), l); });
            product<false>(n, from, ld, packed, S, 4 * S, 0, panels(4 * S), p, ld_p, false, false);
            for (int64_t j = 0; j < n; ++j) step(j, t);
        }
        give(it.end);
        for (int64_t j = 0; j < rows; ++j)
            for (int64_t t = length(j); t < it.T; ++t) clear(it.y, j, t, 0);
    }

    void backward() {
        take(it.d_end);
        int64_t n = 0;
        for (int64_t i = it.T - 1; i >= 0; --i) {
            const int64_t t = it.reverse ? it.T - 1 - i : i;
            n = running(n, t);
            for (int64_t j = 0; j < n; ++j) step_back(j, t);
            product<false>(n, p, ld_p, packed, 4 * S, S, 0, panels(S), it.mask ? seen : state[0], ld, !it.mask, false);
            for (int64_t j = 0; it.mask && j < n; ++j)
                for_units([&](int64_t u, Lanes l) {
                    float* d_h = state[0] + j * ld + u;
                    store(d_h, fma(load(seen + j * ld + u, l), load(mask(j) + u, l), load(d_h, l)), l);
                });
        }
        give(it.d_s0);
        for (int64_t j = 0; j < rows; ++j)
            for (int64_t t = length(j); t < it.T; ++t) {
                for (int k = 0; k < 4; ++k) clear(it.gates, j, t, k);
                clear(it.seen, j, t, 0);
            }
    }

private:
    int64_t row(int64_t j) const { return it.order ? it.order[first + j] : first + j; }
    int64_t length(int64_t j) const { return it.lengths ? it.lengths[row(j)] : it.T; }
    const float* mask(int64_t j) const { return it.mask + row(j) * H + at; }
    // Returns the head's units of part k of a vector for each step.
    float* place(const Field& f, int64_t j, int64_t t, int k) const { return f.p ? f.p + row(j) * f.row + t * f.step + k * H + at : nullptr; }
    void clear(const Field& f, int64_t j, int64_t t, int k) const { if (f.p) std::memset(place(f, j, t, k), 0, sizeof(float) * S); }
    // Returns how many rows have step t, given their number at a neighbouring step.
    int64_t running(int64_t n, int64_t t) const {
        while (n < rows && length(n) > t) ++n;
        while (n > 0 && length(n - 1) <= t) --n;
        return n;
    }
    // Returns part k of the vector of the step before t, or of the initial state; null for zeros.
    const float* before(const Field& f, const float* initial, int64_t j, int64_t t, int k) const {
        const int64_t previous = it.reverse ? t + 1 : t - 1;
        if (previous >= 0 && previous < length(j)) return place(f, j, previous, k);
        return initial ? initial + row(j) * H + at : nullptr;
    }
    template <class Each>
    ELMAN_INLINE void for_units(const Each& each) const {
        for (int64_t u = 0; u < S; u += WIDTH) each(u, Lanes(S - u));
    }
    void take(const float* const* from) {
        for (int k = 0; k < 4; ++k)
            for (int64_t j = 0; j < rows; ++j)
                if (from[k])
                    std::memcpy(state[k] + j * ld, from[k] + row(j) * H + at, sizeof(float) * S);
                else
                    std::memset(state[k] + j * ld, 0, sizeof(float) * S);
    }
    void give(float* const* to) const {
        for (int k = 0; k < 4; ++k)
            for (int64_t j = 0; to[k] && j < rows; ++j) std::memcpy(to[k] + row(j) * H + at, state[k] + j * ld, sizeof(float) * S);
    }
    ELMAN_INLINE Vec share(const float* keep, int64_t u, Lanes l) const { return keep ? load(keep + u, l) : set(it.rate); }

    void step(int64_t j, int64_t t) {
        float *a = place(it.gates, j, t, 0), *cells = place(it.cells, j, t, 0), *y = place(it.y, j, t, 0);
        const float *keep_h = place(it.keep, j, t, 0), *q = p + j * ld_p;
        float *h = state[0] + j * ld, *c = state[1] + j * ld, *n = state[2] + j * ld, *m = state[3] + j * ld;
        for_units([&](int64_t u, Lanes l) {
            Vec x[4];
            for (int k = 0; k < 4; ++k) x[k] = load(a + k * H + u, l) + load(q + k * S + u, l);
            const Vec n0 = load(n + u, l), f = x[1];
            // log sigmoid(f); and log 0 for a unit without a past
            const Vec log_f = min(set(0), f) - log_1_plus(exp(min(f, set(0) - f)));
            const Vec carried = load(m + u, l) + log_f + (where_positive(n0, set(-NOTHING)) + set(NOTHING));
            const Vec largest = max(x[0], carried);
            const Vec keep = where_positive(n0, exp(carried - largest)), take = exp(x[0] - largest);
            const Vec z = tanh(x[2]), o = sigmoid(x[3]);
            const Vec c1 = fma(keep, load(c + u, l), take * z), n1 = fma(keep, n0, take);
            const Vec made = o * c1 * reciprocal(n1), h1 = fma(share(keep_h, u, l), load(h + u, l) - made, made);
            store(h + u, h1, l), store(c + u, c1, l), store(n + u, n1, l), store(m + u, largest, l);
            store(y + u, h1, l);
            if (!cells) return;
            store(a + u, take, l), store(a + H + u, f, l), store(a + 2 * H + u, z, l), store(a + 3 * H + u, o, l);
            store(cells + u, c1, l), store(cells + H + u, n1, l), store(cells + 2 * H + u, largest, l);
        });
    }

    void step_back(int64_t j, int64_t t) {
        float *a = place(it.gates, j, t, 0), *q = p + j * ld_p, *to_seen = place(it.seen, j, t, 0);
        const float *cells = place(it.cells, j, t, 0), *d_y = place(it.d_y, j, t, 0), *keep_h = place(it.keep, j, t, 0);
        const float *h0 = before(it.y, it.s0[0], j, t, 0), *dropped = it.mask ? mask(j) : nullptr;
        const float* old[3];
        for (int k = 0; k < 3; ++k) old[k] = before(it.cells, it.s0[k + 1], j, t, k);
        float *d_h = state[0] + j * ld, *d_c = state[1] + j * ld, *d_n = state[2] + j * ld, *d_m = state[3] + j * ld;
        for_units([&](int64_t u, Lanes l) {
            const auto get = [&](const float* from) { return from ? load(from + u, l) : set(0); };
            const Vec take = load(a + u, l), f = load(a + H + u, l), z = load(a + 2 * H + u, l), o = load(a + 3 * H + u, l);
            const Vec c1 = load(cells + u, l), m1 = load(cells + 2 * H + u, l), c0 = get(old[0]), n0 = get(old[1]);
            const Vec forgets = sigmoid(f), keep = where_positive(n0, forgets * exp(get(old[2]) - m1));
            const Vec all = load(d_h + u, l) + get(d_y), kept = all * share(keep_h, u, l), g = all - kept;
            const Vec per_n = reciprocal(load(cells + H + u, l)), ratio = c1 * per_n, of_ratio = g * o;
            const Vec to_c = fma(of_ratio, per_n, load(d_c + u, l)), to_n = load(d_n + u, l) - of_ratio * ratio * per_n;
            const Vec e = fma(to_c, c0, to_n * n0) * keep, s = fma(to_c, z, to_n) * take;
            const Vec rest = load(d_m + u, l) - e - s, to_carried = where_positive(keep - take, rest), of_old = e + to_carried;
            const Vec d[4] = {s + (rest - to_carried), of_old * (set(1) - forgets), to_c * take * fma(set(0) - z, z, set(1)),
                              g * ratio * o * (set(1) - o)};
            for (int k = 0; k < 4; ++k) store(a + k * H + u, d[k], l), store(q + k * S + u, d[k], l);
            store(d_h + u, kept, l), store(d_c + u, to_c * keep, l), store(d_n + u, to_n * keep, l), store(d_m + u, of_old, l);
            const Vec was = get(h0);
            store(to_seen + u, dropped ? was * load(dropped + u, l) : was, l);
        });
    }

    const Slstm& it;
    const int64_t S, H, at, first, rows, ld, ld_p;  // `at` is the first unit of the head
    const float* packed;
    float *p, *seen, *state[4];  // products of the head; h after dropout; h, c, n, m or their gradients
};

template <bool BACKWARD>
void run_slstm(const Slstm& it) {
    const int64_t work = it.B * it.T * it.N * it.S * it.S >> 16;
    const int wanted = static_cast<int>(work < it.threads ? work + 1 : it.threads);
    in_team(wanted, [&](int thread, int threads, Barrier&) {
        const int64_t sharing = (threads + it.N - 1) / it.N;  // threads for each head
        int64_t most = (it.B + sharing - 1) / sharing;
        if (it.S <= SMALL_HEAD && most > FEW_ROWS) most = FEW_ROWS;
        const int64_t matrix = BACKWARD ? ::packed_size(4 * it.S, it.S) : ::packed_size(it.S, 4 * it.S);
        float *packed = scratch(matrix + HeadRows::floats(it, most)), *memory = packed + matrix;
        const int64_t groups = (it.B + most - 1) / most;
        int64_t last = -1;
        for (int64_t n = thread; n < it.N * groups; n += threads) {
            const int64_t head = n / groups, first = n % groups * most;
            const float* r = it.r + head * 4 * it.S * it.S;
            if (head != last) {
                if (BACKWARD)
                    pack(r, 4 * it.S, it.S, false, 0, panels(it.S), packed);
                else
                    pack(r, it.S, 4 * it.S, true, 0, panels(4 * it.S), packed);
            }
            last = head;
            HeadRows part(it, head, first, it.B - first < most ? it.B - first : most, packed, memory);
            if (BACKWARD)
                part.backward();
            else
                part.forward();
        }
    });
}

}  // namespace
