// Projection and cross-entropy in one: scores = h W^T + b, their loss, and the gradients of h, W and b.
//
// Rows are processed in blocks, and only the scores of one block are stored, as contiguous squares
// of 32 x 32.  The steps for each block of rows are:
//
//   1  scores         each thread computes some of their columns;
//   2  exp and sums   each thread processes some rows; the target's number becomes exp - sum;
//   3  gradients      each thread processes some columns again: P = exp / sum - onehot is split and
//                     packed once for both products, dh += P W and dW^T += h^T P;
//   4  dh             the contributions of the threads are added up.
//
// All products use AMX (tiles.h).  Sizes are padded to blocks of 32.
#pragma once

#include "tiles.h"

#if defined(ELMAN_AMX)

#include "kernels.h"
#include "softmax.h"
#include "subnormal.h"
#include "threads.h"

namespace {

constexpr int64_t STEP = STRIP<3>;  // numbers in a step of a strip
constexpr int64_t CHUNK = 4;  // blocks of columns that a thread processes at a time

// The work of one thread, and the memory of the call.
class CrossEntropyTask {
public:
    CrossEntropyTask(const CrossEntropy& it, int thread, int threads, float* memory, Barrier& barrier)
        : it_(it), thread_(thread), threads_(threads), S_(blocks(it.rows)), D_(blocks(it.D)), V_(blocks(it.V)),
          first_(V_ * thread / threads), last_(V_ * (thread + 1) / threads), barrier_(barrier) {
        const auto take = [&memory](int64_t floats) { float* p = memory; memory += floats; return p; };
        const auto packed = [&](int64_t strips) { return reinterpret_cast<uint16_t*>(take(strips * STEP / 2)); };
        x_ = take(S_ * V_ * SQUARE);
        bias_ = take(V_ * BLOCK);
        scale_ = take(S_ * BLOCK);
        h_ = packed(S_ * D_);
        h_t_ = packed(S_ * D_);
        // From here on each thread has separate memory.
        memory += thread * own(it);
        d_h_ = take(S_ * D_ * SQUARE);
        w_ = packed(CHUNK * D_);
        p_ = packed(CHUNK);
        p_t_ = packed(CHUNK * S_);
    }

    static int64_t own(const CrossEntropy& it) {
        const int64_t S = blocks(it.rows), D = blocks(it.D);
        return S * D * SQUARE + (CHUNK * D + CHUNK + CHUNK * S) * STEP / 2;
    }
    static int64_t size(const CrossEntropy& it, int threads) {
        const int64_t S = blocks(it.rows), D = blocks(it.D), V = blocks(it.V);
        return S * V * SQUARE + V * BLOCK + S * BLOCK + S * D * STEP + threads * own(it);
    }

    void run() {
        const Tiles tiles;
        const bool gradients = it_.d_h || it_.d_w || it_.d_bias;
        set_bias();
        for (int64_t row = 0; row < it_.N; row += it_.rows) {
            const int64_t n = it_.N - row < it_.rows ? it_.N - row : it_.rows;
            pack_h(row, n);
            barrier_.wait();
            scores(blocks(n));
            barrier_.wait();
            softmax(row, n, gradients);
            barrier_.wait();
            if (!gradients) continue;
            differentiate(blocks(n), row > 0);
            barrier_.wait();
            if (it_.d_h) sum_d_h(row, n);
        }
    }

private:
    static constexpr int64_t SQUARE = BLOCK * BLOCK;

    // Columns beyond V get -infinity, so that they contribute nothing.
    void set_bias() {
        for (int64_t v = first_ * BLOCK; v < last_ * BLOCK; ++v) {
            bias_[v] = v >= it_.V ? -INFINITY : it_.bias ? it_.bias[v] : 0;
            if (it_.d_bias && v < it_.V) it_.d_bias[v] = 0;
        }
    }

    void pack_h(int64_t row, int64_t n) {
        const float* h = it_.h + row * it_.D;
        for (int64_t s = thread_; s < blocks(n); s += threads_)
            pack_strip<3, true, true>(Dense<float>{h, it_.D}, s * BLOCK, n, 0, it_.D, D_, h_ + s * D_ * STEP);
        if (it_.d_w)
            for (int64_t d = thread_; d < D_; d += threads_)
                pack_strip<3, false, true>(Dense<float>{h, it_.D}, d * BLOCK, it_.D, 0, n, blocks(n), h_t_ + d * S_ * STEP);
    }

    void scores(int64_t strips) {
        for (int64_t v0 = first_; v0 < last_; v0 += CHUNK) {
            const int64_t v1 = v0 + CHUNK < last_ ? v0 + CHUNK : last_;
            for (int64_t v = v0; v < v1; ++v)
                pack_strip<3, true, false>(Dense<float>{it_.w, it_.D}, v * BLOCK, it_.V, 0, it_.D, D_, w_ + (v - v0) * D_ * STEP);
            for (int64_t s = 0; s < strips; ++s)
                for (int64_t v = v0; v < v1; ++v)
                    block_of_tiles<3, 2, 2>(h_ + s * D_ * STEP, w_ + (v - v0) * D_ * STEP, D_, nullptr, 0,
                                            x_ + (s * V_ + v) * SQUARE, BLOCK);
        }
    }

    void softmax(int64_t row, int64_t n, bool gradients) {
        const int64_t from = n * thread_ / threads_, to = n * (thread_ + 1) / threads_;
        for (int64_t r = from; r < to;) {
            const int64_t s = r / BLOCK, end = (s + 1) * BLOCK < to ? (s + 1) * BLOCK : to;
            softmax_strip(s, r - s * BLOCK, end - s * BLOCK, row, gradients);
            r = end;
        }
        if (thread_ == 0)  // rows beyond the end have no gradient
            for (int64_t r = n; r < blocks(n) * BLOCK; ++r) scale_[r] = 0;
    }

    float* number(int64_t s, int64_t r, int64_t v) {
        return x_ + (s * V_ + v / BLOCK) * SQUARE + r * BLOCK + v % BLOCK;
    }

    // Processes rows from..to of a strip together, so that memory is read in its order.
    void softmax_strip(int64_t s, int64_t from, int64_t to, int64_t row, bool gradients) {
        Vec tops[BLOCK], sums[BLOCK];
        float top[BLOCK], score[BLOCK];
        float* x = x_ + s * V_ * SQUARE;
        for (int64_t r = from; r < to; ++r) tops[r] = set(-INFINITY), sums[r] = set(0);
        for (int64_t v = 0; v < V_; ++v) {
            const Vec low = load(bias_ + v * BLOCK), high = load(bias_ + v * BLOCK + WIDTH);
            for (int64_t r = from; r < to; ++r) {
                float* p = x + v * SQUARE + r * BLOCK;
                const Vec a = load(p) + low, b = load(p + WIDTH) + high;
                store(p, a);
                store(p + WIDTH, b);
                tops[r] = max(tops[r], max(a, b));
            }
        }
        for (int64_t r = from; r < to; ++r) {
            top[r] = largest(tops[r]);
            score[r] = *number(s, r, it_.targets[row + s * BLOCK + r]);
        }
        const Vec negligible = set(NEGLIGIBLE);
        for (int64_t v = 0; v < V_; ++v)
            for (int64_t r = from; r < to; ++r) {
                float* p = x + v * SQUARE + r * BLOCK;
                const Vec a = load(p) - set(top[r]), b = load(p + WIDTH) - set(top[r]);
                const Vec ea = exp(a), eb = exp(b);
                sums[r] += ea + eb;  // a NaN can be missed by the maximum, but not by the sum
                if (!gradients) continue;
                store(p, where_positive(a + negligible, ea));
                store(p + WIDTH, where_positive(b + negligible, eb));
            }
        for (int64_t r = from; r < to; ++r) {
            const float total = sum(sums[r]);
            const int64_t n = row + s * BLOCK + r, target = it_.targets[n];
            it_.loss[n] = std::log(static_cast<double>(total)) + top[r] - score[r];
            scale_[s * BLOCK + r] = 1 / total;
            if (gradients) *number(s, r, target) -= total;
            if (!it_.right) continue;
            bool right = score[r] == top[r] && total == total;
            for (int64_t v = 0; right && v < target; ++v) right = *number(s, r, v) != top[r];
            it_.right[n] = right;
        }
    }

    void differentiate(int64_t strips, bool add) {
        if (it_.d_h) std::memset(d_h_, 0, sizeof(float) * strips * D_ * SQUARE);
        for (int64_t v0 = first_; v0 < last_; v0 += CHUNK) {
            const int64_t n = v0 + CHUNK < last_ ? CHUNK : last_ - v0;
            if (it_.d_h)
                for (int64_t d = 0; d < D_; ++d)
                    pack_strip<3, false, false>(Dense<float>{it_.w, it_.D}, d * BLOCK, it_.D, v0 * BLOCK, it_.V, n, w_ + d * CHUNK * STEP);
            for (int64_t s = 0; s < strips; ++s) {
                for (int64_t v = 0; v < n; ++v) pack_p(s, v0 + v, p_ + v * STEP, p_t_ + (v * S_ + s) * STEP);
                for (int64_t d = 0; it_.d_h && d < D_; ++d) {
                    float* sum = d_h_ + (s * D_ + d) * SQUARE;
                    block_of_tiles<3, 2, 2>(p_, w_ + d * CHUNK * STEP, n, sum, BLOCK, sum, BLOCK);
                }
            }
            for (int64_t d = 0; it_.d_w && d < D_; ++d)
                for (int64_t v = 0; v < n; ++v) {
                    alignas(64) float square[SQUARE];
                    block_of_tiles<3, 2, 2>(h_t_ + d * S_ * STEP, p_t_ + v * S_ * STEP, strips, nullptr, 0, square, BLOCK);
                    give_d_w(square, (v0 + v) * BLOCK, d * BLOCK, add);
                }
        }
    }

    // Splits a block of the scores' gradient into parts, as a step of A with k along V and of B
    // with k along rows.
    void pack_p(int64_t s, int64_t v, uint16_t* p, uint16_t* p_t) {
        const __m512i low_pairs = _mm512_set_epi16(
            47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37, 5, 36, 4,
            35, 3, 34, 2, 33, 1, 32, 0);
        const __m512i high_pairs = _mm512_add_epi16(low_pairs, _mm512_set1_epi16(16));
        const float* x = x_ + (s * V_ + v) * SQUARE;
        const float* scale = scale_ + s * BLOCK;
        Vec low_sum = set(0), high_sum = set(0);
        for (int64_t i = 0; i < BLOCK / 2; ++i) {
            __m512i rows[2][3];
            for (int64_t j = 0; j < 2; ++j) {
                const int64_t r = 2 * i + j;
                const Vec low = load(x + r * BLOCK) * set(scale[r]), high = load(x + r * BLOCK + WIDTH) * set(scale[r]);
                low_sum += low;
                high_sum += high;
                split(low.v, high.v, rows[j]);
                for (int64_t part = 0; part < 3; ++part)
                    _mm512_store_si512(p + (r / SIDE * 3 + part) * TILE + r % SIDE * DEPTH, rows[j][part]);
            }
            for (int64_t part = 0; part < 3; ++part) {
                uint16_t* to = p_t + part * TILE + i * DEPTH;
                _mm512_store_si512(to, _mm512_permutex2var_epi16(rows[0][part], low_pairs, rows[1][part]));
                _mm512_store_si512(to + 3 * TILE, _mm512_permutex2var_epi16(rows[0][part], high_pairs, rows[1][part]));
            }
        }
        if (!it_.d_bias) return;
        float* d = it_.d_bias + v * BLOCK;
        const Lanes l(it_.V - v * BLOCK), h(it_.V - v * BLOCK - WIDTH > 0 ? it_.V - v * BLOCK - WIDTH : 0);
        store(d, load(d, l) + low_sum, l);
        store(d + WIDTH, load(d + WIDTH, h) + high_sum, h);
    }

    // Transposes a block of dW^T into dW, and adds to it with `add`.
    void give_d_w(const float* square, int64_t v, int64_t d, bool add) {
        for (int64_t v1 = 0; v1 < BLOCK && v + v1 < it_.V; v1 += SIDE)
            for (int64_t d1 = 0; d1 < BLOCK && d + d1 < it_.D; d1 += SIDE) {
                __m512i r[16];
                for (int64_t i = 0; i < SIDE; ++i) r[i] = _mm512_load_si512(square + (d1 + i) * BLOCK + v1);
                transpose(r);
                const Lanes l(it_.D - d - d1);
                for (int64_t i = 0; i < SIDE && v + v1 + i < it_.V; ++i) {
                    float* to = it_.d_w + (v + v1 + i) * it_.D + d + d1;
                    const Vec x{_mm512_castsi512_ps(r[i])};
                    store(to, add ? load(to, l) + x : x, l);
                }
            }
    }

    void sum_d_h(int64_t row, int64_t n) {
        for (int64_t s = 0; s < blocks(n); ++s)
            for (int64_t d = 0; d < D_; ++d) {
                const int64_t at = s * D_ + d;
                if (at % threads_ != thread_) continue;
                const float* from = d_h_ - thread_ * own(it_) + at * SQUARE;
                for (int64_t r = 0; r < BLOCK && s * BLOCK + r < n; ++r)
                    for (int64_t c = 0; c < BLOCK && d * BLOCK + c < it_.D; c += WIDTH) {
                        Vec total = set(0);
                        for (int t = 0; t < threads_; ++t) total += load(from + t * own(it_) + r * BLOCK + c);
                        store(it_.d_h + (row + s * BLOCK + r) * it_.D + d * BLOCK + c, total, Lanes(it_.D - d * BLOCK - c));
                    }
            }
    }

    const CrossEntropy& it_;
    const int thread_, threads_;
    const int64_t S_, D_, V_;     // numbers of blocks of 32 in it.rows, D and V
    const int64_t first_, last_;  // this thread's blocks of V
    Barrier& barrier_;
    float *x_, *bias_, *scale_, *d_h_;
    uint16_t *h_, *h_t_, *w_, *p_, *p_t_;
};

}  // namespace

#endif
