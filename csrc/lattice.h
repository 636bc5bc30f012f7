// The lattice of a transducer: the sum over all alignments of a row, and the posterior of each edge.
//
// A node (t, u) has a blank edge to (t + 1, u) and an edge with the next token to (t, u + 1).  With
// the log-probabilities of the edges,
//
//   alpha(t, u) = log(exp(a) + exp(b)),  a = alpha(t-1, u) + blank(t-1, u),  b = alpha(t, u-1) + label(t, u-1)
//
// The share of alpha that came over each of the two edges, a sigmoid of a - b, replaces the edge's
// log-probability.  Going back, the posterior of an edge is its share of the posterior of the node
// to which it leads.  This needs no second recursion in log space, and the posteriors of a diagonal
// always add up to 1.
//
// The nodes of a diagonal d = t + u do not depend on each other, so they lie side by side.  Each
// diagonal is relative to the highest alpha of an earlier one, and the sum of these numbers is a
// double, so that a long sequence loses no digits.
#pragma once

#include <algorithm>

#include "vector.h"

namespace {

constexpr float LOW = -1e30f;  // log 0, with which differences stay numbers

class Lattice {
public:
    // Takes memory for rows of up to T frames and U tokens.
    Lattice(float* memory, int64_t T, int64_t U)
        : edges_(memory), nodes_{memory + 2 * span(T, U) + WIDTH, memory + 2 * span(T, U) + WIDTH + padded(U)} {}
    static int64_t size(int64_t T, int64_t U) { return 2 * span(T, U) + 2 * padded(U); }

    // Begins a row; `clear` must be called once for it.
    void resize(int64_t T, int64_t U) { T_ = T, U_ = U, pitch_ = pitch(T, U); }
    void clear() { std::fill(edges_, edges_ + 2 * span(T_, U_), LOW); }

    float& blank(int64_t t, int64_t u) { return blanks(t + u)[u]; }
    float& label(int64_t t, int64_t u) { return labels(t + u)[u + 1]; }

    // Returns -log p of the row, and replaces the log-probabilities by shares.
    double forward() {
        fill_nodes(LOW);
        float *before = nodes_[0], *now = nodes_[1];
        before[0] = 0;
        double passed = 0;
        float shift = 0;
        for (int64_t d = 1; d < T_ + U_; ++d) {
            const float top = diagonal(before, now, blanks(d - 1), labels(d - 1), first(d), last(d), shift);
            passed += shift;
            shift = top;
            std::swap(before, now);
        }
        const double log_p = passed + before[U_] + blank(T_ - 1, U_);
        return log_p < LOW / 2 ? INFINITY : -log_p;
    }

    // Replaces the shares by posteriors.
    void backward() {
        fill_nodes(0);
        float *after = nodes_[0], *now = nodes_[1];
        after[U_] = blank(T_ - 1, U_) = 1;
        label(T_ - 1, U_) = 0;
        for (int64_t d = T_ + U_ - 2; d >= 0; --d) {
            float *blank = blanks(d), *label = labels(d) + 1;
            for (int64_t u = first(d); u <= last(d); u += WIDTH) {
                const Lanes l(last(d) + 1 - u);
                const Vec down = load(after + u, l) * load(blank + u, l), along = load(after + u + 1, l) * load(label + u, l);
                store(blank + u, down, l);
                store(label + u, along, l);
                store(now + u, down + along, l);
            }
            std::swap(after, now);
        }
    }

private:
    static int64_t pitch(int64_t T, int64_t U) { return std::min(T, U + 1) + 1; }
    static int64_t span(int64_t T, int64_t U) { return (T + U) * pitch(T, U); }
    static int64_t padded(int64_t U) { return U + 2 + 2 * WIDTH; }

    int64_t first(int64_t d) const { return std::max<int64_t>(0, d - T_ + 1); }
    int64_t last(int64_t d) const { return std::min(d, U_); }
    // Both are indexed by the u of the node to which the edge leads.
    float* blanks(int64_t d) { return edges_ + d * pitch_ - first(d); }
    float* labels(int64_t d) { return blanks(d) + span(T_, U_); }

    void fill_nodes(float x) {
        for (float* p : nodes_) std::fill(p - WIDTH, p - WIDTH + padded(U_), x);
    }

    // Computes alpha - shift of nodes u..end, whose edges come from the diagonal `before`, and returns
    // the highest.
    static float diagonal(const float* before, float* now, float* blank, float* label, int64_t u, int64_t end, float shift) {
        Vec tops = set(LOW);
        for (; u <= end; u += WIDTH) {
            const Lanes l(end + 1 - u);
            const Vec a = load(before + u) + load(blank + u, l), b = load(before + u - 1) + load(label + u, l);
            const Vec above = a - b, below = b - a, e = exp(min(above, below));
            const Vec more = reciprocal(set(1) + e), less = e * more;
            store(blank + u, where_positive(above, more - less) + less, l);
            store(label + u, where_positive(below, more - less) + less, l);
            store(now + u, max(a, b) + log_1_plus(e) - set(shift), l);
            tops = max(tops, load(now + u));  // lanes beyond the end are LOW
        }
        return largest(tops);
    }

    float* edges_;     // the blank edges of all diagonals, then the other edges
    float* nodes_[2];  // two diagonals, with LOW or 0 on both sides
    int64_t T_ = 0, U_ = 0, pitch_ = 0;
};

}  // namespace
