// Projection and cross-entropy of few rows, for instruction sets without tiles: see cross_entropy.h.
//
// With 32 rows, reading a matrix W of 10,000 words takes as long as multiplying it, and a product that
// packs W first moves it three times.  Here the rows lie side by side in registers, h^T is packed, and
// W is read twice without packing.  The steps are:
//
//   1  scores        each thread computes s^T = W h^T for its words, and the largest score of each row;
//   2  exp and sums  they are computed in place, lane by lane;
//   3  gradients     P^T = exp / sum - onehot is computed for a block of words at a time, and while it is
//                    in the L1 cache, d_W = P^T h, d_h += P W and d_b = the sum over rows;
//   4  d_h           the contributions of the threads are added up.
//
// Lanes beyond the last row have h = 0 and P = 0.
#pragma once

#include "kernels.h"
#include "product.h"
#include "softmax.h"
#include "team.h"

namespace {

constexpr int64_t WORDS = 48;  // words of a block: with D = 128 its part of W just fits into the L1 cache

// Computes C (ROWS, PANEL) += A^T B over k steps; a step's numbers of A lie side by side.  There
// are no masks, because with a mask in the loop GCC keeps the sums in memory.
template <int ROWS>
void add_block(const float* a, int64_t lda, const float* b, int64_t ldb, int64_t k, float* c, int64_t ldc) {
    Vec sums[ROWS][2];
    for (int r = 0; r < ROWS; ++r)
        for (int j = 0; j < 2; ++j) sums[r][j] = set(0);
    for (int64_t i = 0; i < k; ++i) {
        const Vec w[2] = {load(b + i * ldb), load(b + i * ldb + WIDTH)};
        for (int r = 0; r < ROWS; ++r) {
            const Vec x = set(a[i * lda + r]);
            for (int j = 0; j < 2; ++j) sums[r][j] = fma(x, w[j], sums[r][j]);
        }
    }
    // These are sums of sums, because adding thousands of words one by one would round thousands of
    // times.
    for (int r = 0; r < ROWS; ++r)
        for (int j = 0; j < 2; ++j) {
            float* to = c + r * ldc + j * WIDTH;
            store(to, load(to) + sums[r][j]);
        }
}

using Outer = void (*)(const float*, int64_t, const float*, int64_t, int64_t, float*, int64_t);
constexpr Outer ADD_BLOCK[] = {
    nullptr, add_block<1>, add_block<2>, add_block<3>, add_block<4>, add_block<5>, add_block<6>,
#if defined(__AVX512F__) || defined(__aarch64__)
    add_block<7>, add_block<8>, add_block<9>, add_block<10>, add_block<11>, add_block<12>,
#endif
};

// The work of one thread, and the memory of the call.
class FewRowsTask {
public:
    FewRowsTask(const CrossEntropy& it, int thread, int threads, float* memory, Barrier& barrier)
        : it_(it), thread_(thread), threads_(threads), R_(lanes(it)), F_(panels(it.D) * PANEL), first_(it.V * thread / threads),
          last_(it.V * (thread + 1) / threads), barrier_(barrier) {
        const auto take = [&memory](int64_t floats) { float* p = memory; memory += floats; return p; };
        s_ = take(it.V * R_);
        h_t_ = take(it.D * R_);
        h_ = take(packed_size(it.N, it.D));
        score_ = take(R_);
        tops_ = take(threads * R_);
        sums_ = take(threads * R_);
        beaten_ = take(threads * R_);
        d_h_ = take(threads * it.N * F_);
    }

    static int64_t lanes(const CrossEntropy& it) { return panels(it.N) * PANEL; }
    static int64_t size(const CrossEntropy& it, int threads) {
        const int64_t R = lanes(it);
        return it.V * R + it.D * R + packed_size(it.N, it.D) + R + threads * (3 * R + it.N * panels(it.D) * PANEL);
    }

    void run() {
        const bool gradients = it_.d_h || it_.d_w || it_.d_bias;
        pack(it_.h, it_.D, it_.N, true, panels(it_.N) * thread_ / threads_,
             panels(it_.N) * (thread_ + 1) / threads_, h_t_);
        if (it_.d_w)
            pack(it_.h, it_.N, it_.D, false, panels(it_.D) * thread_ / threads_,
                 panels(it_.D) * (thread_ + 1) / threads_, h_);
        barrier_.wait();
        scores();
        barrier_.wait();
        if (it_.right) compare();
        exponentials(gradients);
        barrier_.wait();
        if (thread_ == 0) give_loss();
        if (!gradients) return;
        differentiate();
        if (!it_.d_h) return;
        barrier_.wait();
        for (int64_t n = it_.N * thread_ / threads_; n < it_.N * (thread_ + 1) / threads_; ++n)
            for (int64_t d = 0; d < it_.D; ++d) {
                float total = 0;
                for (int t = 0; t < threads_; ++t) total += d_h_[(t * it_.N + n) * F_ + d];
                it_.d_h[n * it_.D + d] = total;
            }
    }

private:
    int64_t end(int64_t v) const { return v + WORDS < last_ ? v + WORDS : last_; }
    bool mine(int64_t target) const { return target >= first_ && target < last_; }

    void scores() {
        float* tops = tops_ + thread_ * R_;
        for (int64_t r = 0; r < R_; ++r) tops[r] = -INFINITY;
        for (int64_t v0 = first_; v0 < last_; v0 += WORDS) {
            product(end(v0) - v0, it_.w + v0 * it_.D, it_.D, h_t_, it_.D, R_, 0, panels(R_), s_ + v0 * R_, R_,
                    false, false);
            for (int64_t r = 0; r < R_; r += WIDTH) {
                Vec top = load(tops + r);
                for (int64_t v = v0; v < end(v0); ++v) {
                    float* s = s_ + v * R_ + r;
                    const Vec score = it_.bias ? load(s) + set(it_.bias[v]) : load(s);
                    store(s, score);
                    top = max(top, score);
                }
                store(tops + r, top);
            }
        }
        for (int64_t n = 0; n < it_.N; ++n)
            if (mine(it_.targets[n])) score_[n] = s_[it_.targets[n] * R_ + n];
    }

    Vec top(int64_t r) const {
        Vec top = load(tops_ + r);
        for (int t = 1; t < threads_; ++t) top = max(top, load(tops_ + t * R_ + r));
        return top;
    }

    Vec total(int64_t r) const {
        Vec total = load(sums_ + r);
        for (int t = 1; t < threads_; ++t) total += load(sums_ + t * R_ + r);
        return total;
    }

    // A prediction is right if the target is the first word with the highest score.
    void compare() {
        for (int64_t n = 0; n < it_.N; ++n) {
            const int64_t target = it_.targets[n];
            float top = tops_[n], &beaten = beaten_[thread_ * R_ + n];
            for (int t = 1; t < threads_; ++t) top = top > tops_[t * R_ + n] ? top : tops_[t * R_ + n];
            beaten = !(score_[n] == top);
            for (int64_t v = first_; !beaten && v < last_ && v < target; ++v) beaten = s_[v * R_ + n] == top;
        }
    }

    void exponentials(bool gradients) {
        float* sums = sums_ + thread_ * R_;
        std::memset(sums, 0, sizeof(float) * R_);
        const Vec negligible = set(NEGLIGIBLE);
        for (int64_t v0 = first_; v0 < last_; v0 += WORDS)
            for (int64_t r = 0; r < R_; r += WIDTH) {
                const Vec shift = top(r);
                Vec part = set(0);  // a NaN can be missed by the maximum, but not by the sum
                for (int64_t v = v0; v < end(v0); ++v) {
                    float* s = s_ + v * R_ + r;
                    const Vec below = load(s) - shift, e = exp(below);
                    part += e;
                    if (gradients) store(s, where_positive(below + negligible, e));
                }
                store(sums + r, load(sums + r) + part);
            }
    }

    void give_loss() {
        for (int64_t r = 0; r < R_; r += WIDTH) {
            float tops[WIDTH], totals[WIDTH];
            store(tops, top(r));
            store(totals, total(r));
            for (int64_t n = r; n < r + WIDTH && n < it_.N; ++n) {
                const float total = totals[n - r];
                it_.loss[n] = std::log(static_cast<double>(total)) + tops[n - r] - score_[n];
                if (!it_.right) continue;
                it_.right[n] = total == total;
                for (int t = 0; t < threads_; ++t) it_.right[n] &= !beaten_[t * R_ + n];
            }
        }
    }

    void differentiate() {
        float* d_h = d_h_ + thread_ * it_.N * F_;
        if (it_.d_h) std::memset(d_h, 0, sizeof(float) * it_.N * F_);
        for (int64_t v0 = first_; v0 < last_; v0 += WORDS) {
            const int64_t count = end(v0) - v0;
            float* p = s_ + v0 * R_;
            probabilities(v0, count);
            if (it_.d_bias)
                for (int64_t v = 0; v < count; ++v) {
                    Vec over_rows = set(0);
                    for (int64_t r = 0; r < R_; r += WIDTH) over_rows += load(p + v * R_ + r);
                    it_.d_bias[v0 + v] = sum(over_rows);
                }
            if (it_.d_w)
                product(count, p, R_, h_, it_.N, it_.D, 0, panels(it_.D), it_.d_w + v0 * it_.D, it_.D, false, false);
            if (it_.d_h) add_d_h(p, it_.w + v0 * it_.D, count, d_h);
        }
    }

    void probabilities(int64_t v0, int64_t count) {
        for (int64_t r = 0; r < R_; r += WIDTH) {
            float scale[WIDTH];
            store(scale, total(r));
            for (int64_t i = 0; i < WIDTH; ++i) {
                const int64_t n = r + i, target = n < it_.N ? it_.targets[n] : -1;
                if (target >= v0 && target < v0 + count) s_[target * R_ + n] -= scale[i];
                scale[i] = n < it_.N ? 1 / scale[i] : 0;
            }
            const Vec factor = load(scale);
            for (int64_t v = v0; v < v0 + count; ++v) {
                float* s = s_ + v * R_ + r;
                store(s, load(s) * factor);
            }
        }
    }

    // Adds P W of a block of words to d_h, one panel of features after another.
    void add_d_h(const float* p, const float* w, int64_t count, float* d_h) {
        const int64_t groups = (it_.N + MAX_ROWS - 1) / MAX_ROWS;
        for (int64_t d = 0; d < it_.D; d += PANEL) {
            const float* b = w + d;
            int64_t ldb = it_.D;
            float whole[WORDS * PANEL];
            if (it_.D - d < PANEL) {
                fill(w + d, count, it_.D - d, it_.D, whole);
                b = whole, ldb = PANEL;
            }
            for (int64_t g = 0, n = 0; g < groups; ++g) {
                const int64_t rows = (it_.N - n + groups - g - 1) / (groups - g);
                ADD_BLOCK[rows](p + n, R_, b, ldb, count, d_h + n * F_ + d, F_);
                n += rows;
            }
        }
    }

    // Copies some columns of a block of words, and fills them up with zeros to a panel.
    static void fill(const float* w, int64_t count, int64_t columns, int64_t ld, float* to) {
        std::memset(to, 0, sizeof(float) * count * PANEL);
        for (int64_t v = 0; v < count; ++v) std::memcpy(to + v * PANEL, w + v * ld, sizeof(float) * columns);
    }

    const CrossEntropy& it_;
    const int thread_, threads_;
    const int64_t R_, F_;         // rows and features, rounded up to whole panels
    const int64_t first_, last_;  // this thread's words
    Barrier& barrier_;
    float *s_, *h_t_, *h_, *score_, *tops_, *sums_, *beaten_, *d_h_;
};

template <class Task>
void run_cross_entropy_by(const CrossEntropy& it) {
    const int threads = it.threads > 1 ? static_cast<int>(it.threads) : 1;
    float* memory = scratch(Task::size(it, threads));
    in_team(threads, [&](int thread, int threads, Barrier& barrier) {
        Task(it, thread, threads, memory, barrier).run();
    });
}

}  // namespace
