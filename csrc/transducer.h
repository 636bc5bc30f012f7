// The loss of a transducer and its gradients, without storing the scores of all nodes.
//
//   z = W h + b,  h = tanh(e_t + p_u),  for each node (t, u) of a row
//
// The steps for each row are:
//
//   1  log-probabilities  each thread processes some nodes, a group at a time: h, z, and of its softmax
//                         only 1 / sum and the two numbers of the lattice are stored.  If the scores of
//                         the row are few, their exponentials are kept for step 3;
//   2  lattice            one thread computes the loss and the posteriors of edges (lattice.h);
//   3  gradients          each thread processes some frames: h and z are computed again, and
//                         d_z = posterior of the node * softmax(z) - posteriors of its edges,
//                         d_h = d_z W, d_W^T += h^T d_z, and d_e and d_p are sums of d_h (1 - h^2);
//   4  d_p                the contributions of the threads are added up.
//
// Step 3 skips nodes with a negligible posterior: a fifth to a half of the lattice before training,
// and most of it afterwards.
#pragma once

#include "kernels.h"
#include "lattice.h"
#include "product.h"
#include "softmax.h"
#include "team.h"

namespace {

constexpr int64_t GROUP = 8 * MAX_ROWS;  // nodes whose scores are computed at a time
constexpr int64_t KEPT = 1 << 23;        // most scores that are kept (32 MiB)
// Nodes below this posterior are skipped.  A node's gradient is proportional to its posterior, and in
// lattices of 133 x 40 to 400 x 80 all skipped nodes together had 1e-8 of the sum of all posteriors,
// less than the rounding of a float.
constexpr float LEAST = 1e-8f;

class TransducerTask {
public:
    TransducerTask(const Transducer& it, int thread, int threads, float* memory, Barrier& barrier)
        : it_(it), thread_(thread), threads_(threads), P_(pitch(it.V)), F_(padded_width(it.J)),
          gradients_(wants_gradients(it)), barrier_(barrier), lattice_(memory, it.T, it.U) {
        memory += rounded(Lattice::size(it.T, it.U));
        const auto take = [&memory](int64_t floats) { float* p = memory; memory += rounded(floats); return p; };
        w_t_ = take(packed_size(it.J, it.V));
        w_ = take(packed_size(it.V, it.J));
        bias_ = take(P_);
        scale_ = take(it.T * (it.U + 1));
        nodes_ = reinterpret_cast<int32_t*>(take(it.T * (it.U + 1)));
        begin_ = reinterpret_cast<int32_t*>(take(threads + 1));
        kept_ = take(kept(it));
        // From here on each thread has separate memory.
        own_ = memory + thread * own(it);
        memory = own_;
        h_ = take(GROUP * F_);
        d_h_ = take(GROUP * F_);
        x_ = take(GROUP * P_);
        packed_x_ = take(GROUP * P_);
        d_w_ = take(it.J * P_);
        d_bias_ = take(P_);
        d_p_ = take((it.U + 1) * F_);
    }

    static int64_t size(const Transducer& it, int threads) {
        const int64_t nodes = it.T * (it.U + 1);
        return rounded(Lattice::size(it.T, it.U)) + rounded(packed_size(it.J, it.V)) + rounded(packed_size(it.V, it.J)) +
               rounded(pitch(it.V)) + 2 * rounded(nodes) + rounded(threads + 1) + rounded(kept(it)) + threads * own(it);
    }

    void run() {
        prepare();
        targets_ = it_.targets;
        for (int64_t b = 0; b < it_.B; ++b) {
            T_ = it_.frames[b], U_ = it_.tokens[b];
            if (T_)
                run_row(b);
            else if (thread_ == 0)
                it_.loss[b] = 0;
            targets_ += U_;
        }
        barrier_.wait();
        sum_weights();
    }

private:
    static int64_t rounded(int64_t floats) { return (floats + 15) / 16 * 16; }
    static int64_t pitch(int64_t V) { return panels(V) * PANEL; }
    static bool wants_gradients(const Transducer& it) { return it.d_e || it.d_p || it.d_w || it.d_bias; }
    static int64_t kept(const Transducer& it) {
        return wants_gradients(it) ? std::min(KEPT, it.T * (it.U + 1) * pitch(it.V)) : 0;
    }
    static int64_t own(const Transducer& it) {
        const int64_t P = pitch(it.V), F = padded_width(it.J);
        return 2 * rounded(GROUP * F) + 2 * rounded(GROUP * P) + rounded(it.J * P) + rounded(P) + rounded((it.U + 1) * F);
    }
    int64_t share(int64_t n, int thread) const { return n * thread / threads_; }

    void prepare() {
        const int64_t v = panels(it_.V), j = panels(it_.J);
        pack(it_.w, it_.J, it_.V, true, share(v, thread_), share(v, thread_ + 1), w_t_);
        if (it_.d_e || it_.d_p) pack(it_.w, it_.V, it_.J, false, share(j, thread_), share(j, thread_ + 1), w_);
        if (thread_ == 0)  // columns beyond V contribute nothing
            for (int64_t i = 0; i < P_; ++i) bias_[i] = i >= it_.V ? -INFINITY : it_.bias ? it_.bias[i] : 0;
        std::fill(d_w_, d_w_ + it_.J * P_, 0.0f);
        std::fill(d_bias_, d_bias_ + P_, 0.0f);
    }

    void run_row(int64_t b) {
        e_ = it_.e + b * it_.T * it_.J, p_ = it_.p + b * (it_.U + 1) * it_.J;
        lattice_.resize(T_, U_);
        keep_ = gradients_ && T_ * (U_ + 1) * P_ <= KEPT;
        if (thread_ == 0) lattice_.clear();
        barrier_.wait();
        log_probabilities();
        barrier_.wait();
        if (thread_ == 0) {
            it_.loss[b] = lattice_.forward();
            if (gradients_) find_nodes();
        }
        barrier_.wait();
        if (!gradients_) return;
        differentiate(it_.d_e ? it_.d_e + b * it_.T * it_.J : nullptr);
        barrier_.wait();
        if (it_.d_p) sum_d_p(it_.d_p + b * (it_.U + 1) * it_.J);
    }

    void log_probabilities() {
        const int64_t all = T_ * (U_ + 1), end = share(all, thread_ + 1);
        int32_t nodes[GROUP];
        for (int64_t n = share(all, thread_); n < end; n += GROUP) {
            const int64_t count = std::min(GROUP, end - n);
            for (int64_t i = 0; i < count; ++i) nodes[i] = static_cast<int32_t>(n + i);
            float* x = keep_ ? kept_ + n * P_ : x_;
            scores(nodes, count, x);
            for (int64_t i = 0; i < count; ++i) {
                const int64_t t = nodes[i] / (U_ + 1), u = nodes[i] % (U_ + 1);
                float* row = x + i * P_;
                const int64_t blank = it_.V - 1, label = u < U_ ? targets_[u] : blank;
                const float of_blank = row[blank] + bias_[blank], of_label = row[label] + bias_[label];
                const Sum sum = exponentials(row);
                const float log_sum = sum.top + std::log(sum.total);
                scale_[nodes[i]] = 1 / sum.total;
                lattice_.blank(t, u) = of_blank - log_sum;
                if (u < U_) lattice_.label(t, u) = of_label - log_sum;
            }
        }
    }

    // Computes h and W h of some nodes.
    void scores(const int32_t* nodes, int64_t count, float* x) {
        hidden(nodes, count);
        product(count, h_, F_, w_t_, it_.J, P_, 0, panels(P_), x, P_, false, false);
    }

    void hidden(const int32_t* nodes, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
            const float *e = e_ + nodes[i] / (U_ + 1) * it_.J, *p = p_ + nodes[i] % (U_ + 1) * it_.J;
            for (int64_t j = 0; j < it_.J; j += WIDTH) {
                const Lanes l(it_.J - j);
                store(h_ + i * F_ + j, tanh(load(e + j, l) + load(p + j, l)));
            }
        }
    }

    struct Sum { float top, total; };

    // Replaces scores by exp(score + bias - top).
    Sum exponentials(float* x) const {
        Vec tops = set(-INFINITY), sums = set(0);
        for (int64_t v = 0; v < P_; v += WIDTH) tops = max(tops, load(x + v) + load(bias_ + v));
        const float top = largest(tops);
        for (int64_t v = 0; v < P_; v += WIDTH) {
            const Vec below = load(x + v) + load(bias_ + v) - set(top), e = exp(below);
            sums += e;  // a NaN can be missed by the maximum, but not by the sum
            store(x + v, where_positive(below + set(NEGLIGIBLE), e));
        }
        return {top, sum(sums)};
    }

    // Lists the nodes with a gradient, and gives each thread frames with about as many of them.
    void find_nodes() {
        lattice_.backward();
        int32_t count = 0;
        for (int64_t t = 0; t < T_; ++t)
            for (int64_t u = 0; u <= U_; ++u)
                if (!(lattice_.blank(t, u) + lattice_.label(t, u) <= LEAST)) nodes_[count++] = static_cast<int32_t>(t * (U_ + 1) + u);
        for (int k = 0; k <= threads_; ++k) {
            int64_t i = share(count, k);
            while (i > 0 && i < count && nodes_[i] / (U_ + 1) == nodes_[i - 1] / (U_ + 1)) ++i;
            begin_[k] = static_cast<int32_t>(i);
        }
    }

    void differentiate(float* d_e) {
        std::fill(d_p_, d_p_ + (U_ + 1) * F_, 0.0f);
        const int64_t end = begin_[thread_ + 1];
        for (int64_t n = begin_[thread_]; n < end; n += GROUP) {
            const int32_t* nodes = nodes_ + n;
            const int64_t count = std::min(GROUP, end - n);
            if (keep_)
                hidden(nodes, count);
            else
                scores(nodes, count, x_);
            for (int64_t i = 0; i < count; ++i) differentiate_scores(nodes[i], x_ + i * P_);
            if (it_.d_bias) add_d_bias(count);
            if (it_.d_w) add_d_w(count);
            if (it_.d_e || it_.d_p) add_d_h(nodes, count, d_e);
        }
    }

    // Computes d_z of one node, from its kept exponentials or from the scores in x.
    void differentiate_scores(int32_t node, float* x) {
        const int64_t t = node / (U_ + 1), u = node % (U_ + 1);
        if (!keep_) exponentials(x);
        const float* from = keep_ ? kept_ + node * P_ : x;
        const float blank = lattice_.blank(t, u), label = u < U_ ? lattice_.label(t, u) : 0;
        const Vec factor = set((blank + label) * scale_[node]);
        for (int64_t v = 0; v < P_; v += WIDTH) store(x + v, load(from + v) * factor);
        x[it_.V - 1] -= blank;
        if (u < U_) x[targets_[u]] -= label;
    }

    void add_d_bias(int64_t count) {
        for (int64_t v = 0; v < P_; v += WIDTH) {
            Vec sum = set(0);
            for (int64_t i = 0; i < count; ++i) sum += load(x_ + i * P_ + v);
            store(d_bias_ + v, load(d_bias_ + v) + sum);
        }
    }

    // Adds h^T d_z to d_W^T, one panel after another.
    void add_d_w(int64_t count) {
        pack(x_, count, P_, false, 0, panels(P_), packed_x_);
        for (int64_t p = 0; p < panels(P_); ++p)
            for (int64_t j = 0; j < it_.J; j += MAX_ROWS) {
                const int64_t rows = std::min<int64_t>(MAX_ROWS, it_.J - j);
                BY_ROWS<false, false, K_MAJOR>[rows](h_ + j, F_, packed_x_, count, P_, p, p + 1, d_w_ + j * P_, P_, true, nullptr);
            }
    }

    void add_d_h(const int32_t* nodes, int64_t count, float* d_e) {
        product(count, x_, P_, w_, it_.V, it_.J, 0, panels(it_.J), d_h_, F_, false, false);
        for (int64_t i = 0; i < count; ++i) {
            float *to_e = d_e ? d_e + nodes[i] / (U_ + 1) * it_.J : nullptr, *to_p = d_p_ + nodes[i] % (U_ + 1) * F_;
            for (int64_t j = 0; j < it_.J; j += WIDTH) {
                const Lanes l(it_.J - j);
                const Vec h = load(h_ + i * F_ + j, l), d = load(d_h_ + i * F_ + j, l) * (set(1) - h * h);
                if (to_e) store(to_e + j, load(to_e + j, l) + d, l);
                store(to_p + j, load(to_p + j, l) + d, l);
            }
        }
    }

    // Returns the sum over threads of a number in their separate memory.
    float total(const float* mine) const {
        float total = 0;
        for (int k = 0; k < threads_; ++k) total += mine[(k - thread_) * own(it_)];
        return total;
    }

    void sum_d_p(float* d_p) {
        for (int64_t u = share(U_ + 1, thread_); u < share(U_ + 1, thread_ + 1); ++u)
            for (int64_t j = 0; j < it_.J; ++j) d_p[u * it_.J + j] = total(d_p_ + u * F_ + j);
    }

    void sum_weights() {
        for (int64_t v = share(it_.V, thread_); v < share(it_.V, thread_ + 1); ++v) {
            for (int64_t j = 0; it_.d_w && j < it_.J; ++j) it_.d_w[v * it_.J + j] = total(d_w_ + j * P_ + v);
            if (it_.d_bias) it_.d_bias[v] = total(d_bias_ + v);
        }
    }

    const Transducer& it_;
    const int thread_, threads_;
    const int64_t P_, F_;  // V and J, rounded up
    const bool gradients_;
    Barrier& barrier_;
    Lattice lattice_;
    float *w_t_, *w_, *bias_, *scale_, *kept_;
    int32_t *nodes_, *begin_;  // nodes with a gradient, and where those of each thread begin
    float *own_, *h_, *d_h_, *x_, *packed_x_, *d_w_, *d_bias_, *d_p_;

    // The row that is processed.
    const float *e_ = nullptr, *p_ = nullptr;
    const int64_t* targets_ = nullptr;
    int64_t T_ = 0, U_ = 0;
    bool keep_ = false;
};

void run_transducer(const Transducer& it) {
    const bool small = it.B * it.T * (it.U + 1) * it.J * it.V < 400000;
    const int threads = small ? 1 : static_cast<int>(it.threads);
    float* memory = scratch(TransducerTask::size(it, threads));
    in_team(threads, [&](int thread, int threads, Barrier& barrier) {
        TransducerTask(it, thread, threads, memory, barrier).run();
    });
}

}  // namespace
