// The pointwise part of each cell for one row, in the forward and the backward pass.
//
// Gates are named as in elman/recur: z_* is the argument of a gate's function.  d_x is the gradient
// of the loss with respect to x.  A part of the row, units first..last, can be computed separately
// unless the cell has layer normalisation, which needs the whole row.
#pragma once

#include "kernels.h"
#include "layer_norm.h"
#include "vector.h"

namespace {

// One row at one step.  Pointers point to its first unit, and are null where an option is off.
struct Row {
    int64_t H, first, last;
    float *a, *p;             // Recurrence::a and ::p of this row
    bool bf16;                // whether `a` is bfloat16
    const float* z;           // forward: the input of the gates, which can be `a`
    float *h, *c;             // the state before the step; backward: the carried gradients
    float* out;               // output of the cell: h_t before projection and zoneout
    float* stats;             // 1 / standard deviation of the normalised parts
    float* scratch;           // (H)
    float* inner;             // (H) r * h, the input of a second product; backward: its gradient
    const float *bias, *gain, *peephole, *gain_c, *bias_c;
    const float* mask;        // (H) mask of recurrent dropout
    const float* keep_c;      // zoneout of c: a number for each unit; null if all have rate_c
    float rate_c;
    // backward only
    const float *h_before, *c_before;  // the state before this step; null: zeros
    bool c_bf16;                       // whether `c_before` is bfloat16
    const float* d_out;                // gradient of `out`
    float* product;                    // (G H) gradient of the products with h, a factor of the next product
    float *d_bias, *d_gain, *d_peephole, *d_gain_c, *d_bias_c;  // added to
};

#define FOR_UNITS(u, n)                                       \
    for (int64_t u = row.first; u < row.last; u += WIDTH)     \
        if (const Lanes n(row.last - u); true)

// Returns the share of the old value that zoneout keeps.
ELMAN_INLINE Vec share(const float* keep, float rate, int64_t u, Lanes n) {
    return keep ? load(keep + u, n) : set(rate);
}

ELMAN_INLINE Vec slope_of_sigmoid(Vec s) { return s * (set(1) - s); }
ELMAN_INLINE Vec slope_of_tanh(Vec t) { return fma(set(0) - t, t, set(1)); }

// These read and write number i of `a`: any gate or gradient, a sigmoid, and a tanh.
ELMAN_INLINE Vec gate(const Row& row, int64_t i, Lanes n) { return load(row.a, row.bf16, i, n); }
ELMAN_INLINE void set_gate(const Row& row, int64_t i, Vec x, Lanes n) { store(row.a, row.bf16, i, x, n); }
ELMAN_INLINE Vec share_gate(const Row& row, int64_t i, Lanes n) {
    return row.bf16 ? load_share(reinterpret_cast<const uint16_t*>(row.a) + i, n) : load(row.a + i, n);
}
ELMAN_INLINE void set_share_gate(const Row& row, int64_t i, Vec x, Lanes n) {
    row.bf16 ? store_share(reinterpret_cast<uint16_t*>(row.a) + i, x, n) : store(row.a + i, x, n);
}
ELMAN_INLINE Vec tanh_gate(const Row& row, int64_t i, Lanes n) {
    return row.bf16 ? load_signed_share(reinterpret_cast<const uint16_t*>(row.a) + i, n) : load(row.a + i, n);
}
ELMAN_INLINE void set_tanh_gate(const Row& row, int64_t i, Vec x, Lanes n) {
    row.bf16 ? store_signed_share(reinterpret_cast<uint16_t*>(row.a) + i, x, n) : store(row.a + i, x, n);
}

// Returns the argument of gate g: the sum of the inputs, the product with h (normalised if there is
// a gain) and the bias.
ELMAN_INLINE Vec gate_input(const Row& row, int64_t g, int64_t u, Lanes n) {
    const int64_t i = g * row.H + u;
    Vec z = load(row.z + i, n);
    if (row.p) z = row.gain ? fma(load(row.p + i, n), load(row.gain + i, n), z) : z + load(row.p + i, n);
    return row.bias ? z + load(row.bias + i, n) : z;
}

// h_t = f(W_hh h_{t-1} + W_xh x_t + b_h)
template <bool RELU>
struct RnnCell {
    static constexpr int GATES = 1;
    static constexpr int FIRST = 1;       // gates that multiply h; the other gates multiply `inner`
    static constexpr bool CELLS = false;  // whether the state has a second leaf, c
    static constexpr bool MIXES = false;  // whether the backward pass needs h before the step

    static Vec output(const Row& row, const float* from, int64_t u, Lanes n) {
        Vec z = load(from + u, n);
        if (row.gain) z = z * load(row.gain + u, n);
        if (row.bias) z += load(row.bias + u, n);
        return RELU ? max(set(0), z) : tanh(z);
    }

    static void forward(const Row& row) {
        if (row.gain) normalise(row.a, row.H, row.stats);
        FOR_UNITS(u, n) {
            const Vec h = output(row, row.z, u, n);
            if (!row.gain) RELU ? set_gate(row, u, h, n) : set_tanh_gate(row, u, h, n);
            store(row.out + u, h, n);
        }
    }

    static void backward(const Row& row) {
        FOR_UNITS(u, n) {
            const Vec h = row.gain ? output(row, row.a, u, n) : RELU ? gate(row, u, n) : tanh_gate(row, u, n);
            const Vec d_h = load(row.d_out + u, n);
            const Vec d_z = RELU ? where_positive(h, d_h) : d_h * slope_of_tanh(h);
            store(row.product + u, d_z, n);
            if (row.gain) continue;
            set_gate(row, u, d_z, n);
            add(row.d_bias, u, n, d_z);
        }
        if (!row.gain) return;
        normalise_backward(row.product, row.a, row.H, row.stats[0], row.gain, row.d_gain, row.d_bias);
        std::memcpy(row.product, row.a, sizeof(float) * row.H);
    }
};

struct LstmCell {
    static constexpr int GATES = 4;
    static constexpr int FIRST = 4;
    static constexpr bool CELLS = true;
    static constexpr bool MIXES = false;

    static void forward(const Row& row) {
        const int64_t H = row.H;
        const float *p_i = row.peephole, *p_f = p_i ? p_i + H : nullptr, *p_o = p_i ? p_f + H : nullptr;
        if (row.gain) normalise(row.p, 4 * H, row.stats);
        FOR_UNITS(u, n) {
            const Vec before = load(row.c + u, n);
            Vec z_i = gate_input(row, 0, u, n), z_f = gate_input(row, 1, u, n);
            if (p_i) z_i = fma(load(p_i + u, n), before, z_i), z_f = fma(load(p_f + u, n), before, z_f);
            const Vec i = sigmoid(z_i), f = sigmoid(z_f), g = tanh(gate_input(row, 2, u, n));
            const Vec c = fma(f, before, i * g);
            Vec z_o = gate_input(row, 3, u, n);
            if (p_o) z_o = fma(load(p_o + u, n), c, z_o);
            const Vec o = sigmoid(z_o);
            set_share_gate(row, u, i, n);
            set_share_gate(row, H + u, f, n);
            set_tanh_gate(row, 2 * H + u, g, n);
            set_share_gate(row, 3 * H + u, o, n);
            store(row.c + u, fma(share(row.keep_c, row.rate_c, u, n), before - c, c), n);
            if (row.gain_c)
                store(row.scratch + u, c, n);
            else
                store(row.out + u, o * tanh(c), n);
        }
        if (!row.gain_c) return;
        normalise(row.scratch, H, nullptr);
        FOR_UNITS(u, n) store(row.out + u, share_gate(row, 3 * H + u, n) * tanh(normalised(row, u, n)), n);
    }

    static void backward(const Row& row) {
        const int64_t H = row.H;
        const float *p_i = row.peephole, *p_f = p_i ? p_i + H : nullptr, *p_o = p_i ? p_f + H : nullptr;
        float *d_p = row.d_peephole, *d_p_f = d_p ? d_p + H : nullptr, *d_p_o = d_p ? d_p_f + H : nullptr;
        // With normalisation, scratch[0..H) is the normalised c, then the gradient of c; `product`
        // has that of the normalisation's result.
        if (row.gain_c) {
            FOR_UNITS(u, n) store(row.scratch + u, cell(row, u, n), n);
            const Moments m = moments(row.scratch, H);
            FOR_UNITS(u, n) store(row.scratch + u, (load(row.scratch + u, n) - set(m.mean)) * set(m.scale), n);
            FOR_UNITS(u, n) {
                const Vec t = tanh(normalised(row, u, n)), d_o = load(row.d_out + u, n);
                const Vec d = d_o * share_gate(row, 3 * H + u, n) * slope_of_tanh(t);
                store(row.product + u, d, n);
                store(row.product + H + u, d_o * t, n);
            }
            normalise_backward(row.product, row.scratch, H, m.scale, row.gain_c, row.d_gain_c, row.d_bias_c);
        }
        FOR_UNITS(u, n) {
            const Vec i = share_gate(row, u, n), f = share_gate(row, H + u, n), g = tanh_gate(row, 2 * H + u, n),
                      o = share_gate(row, 3 * H + u, n), before = c_before(row, u, n);
            const Vec c = cell(row, u, n), d_next = load(row.c + u, n);
            const Vec k = share(row.keep_c, row.rate_c, u, n);
            Vec d_o, d_c;
            if (row.gain_c) {
                d_o = load(row.product + H + u, n);
                d_c = load(row.scratch + u, n);
            } else {
                const Vec t = tanh(c), d_h = load(row.d_out + u, n);
                d_o = d_h * t;
                d_c = d_h * o * slope_of_tanh(t);
            }
            const Vec d_z_o = d_o * slope_of_sigmoid(o);
            d_c += fma(set(0) - k, d_next, d_next);
            if (p_o) d_c = fma(d_z_o, load(p_o + u, n), d_c);
            const Vec d_z_i = d_c * g * slope_of_sigmoid(i), d_z_f = d_c * before * slope_of_sigmoid(f),
                      d_z_g = d_c * i * slope_of_tanh(g);
            Vec d_before = fma(k, d_next, d_c * f);
            if (p_i) {
                d_before = fma(d_z_i, load(p_i + u, n), fma(d_z_f, load(p_f + u, n), d_before));
                add(d_p, u, n, d_z_i * before);
                add(d_p_f, u, n, d_z_f * before);
                add(d_p_o, u, n, d_z_o * c);
            }
            store(row.c + u, d_before, n);
            const Vec d_z[4] = {d_z_i, d_z_f, d_z_g, d_z_o};
            for (int j = 0; j < 4; ++j) {
                set_gate(row, j * H + u, d_z[j], n);
                if (row.gain) continue;
                store(row.product + j * H + u, d_z[j], n);
                add(row.d_bias, j * H + u, n, d_z[j]);
            }
        }
        if (!row.gain) return;
        normalise_backward(row.a, row.p, 4 * H, row.stats[0], row.gain, row.d_gain, row.d_bias);
        std::memcpy(row.product, row.p, sizeof(float) * 4 * H);
    }

private:
    static Vec c_before(const Row& row, int64_t u, Lanes n) {
        return row.c_before ? load(row.c_before, row.c_bf16, u, n) : set(0);
    }
    static Vec cell(const Row& row, int64_t u, Lanes n) {
        const int64_t H = row.H;
        return fma(share_gate(row, H + u, n), c_before(row, u, n),
                   share_gate(row, u, n) * tanh_gate(row, 2 * H + u, n));
    }
    static Vec normalised(const Row& row, int64_t u, Lanes n) {
        return fma(load(row.scratch + u, n), load(row.gain_c + u, n), part(row.bias_c, u, n));
    }
};

// The GRU that resets after the product.
struct GruCell {
    static constexpr int GATES = 3;
    static constexpr int FIRST = 3;
    static constexpr bool CELLS = false;
    static constexpr bool MIXES = true;

    // Returns W_hn h_{t-1} + b_hn.
    static Vec hidden(const Row& row, int64_t u, Lanes n) {
        const int64_t i = 2 * row.H + u;
        Vec q = load(row.p + i, n);
        if (row.gain) q = q * load(row.gain + i, n);
        return row.bias ? q + load(row.bias + i, n) : q;
    }

    static void forward(const Row& row) {
        const int64_t H = row.H;
        if (row.gain) {
            normalise(row.p, 2 * H, row.stats);
            normalise(row.p + 2 * H, H, row.stats ? row.stats + 1 : nullptr);
        }
        FOR_UNITS(u, n) {
            const Vec r = sigmoid(gate_input(row, 0, u, n)), z = sigmoid(gate_input(row, 1, u, n));
            const Vec new_ = tanh(fma(r, hidden(row, u, n), load(row.z + 2 * H + u, n)));
            const Vec before = load(row.h + u, n), h = fma(z, before - new_, new_);
            set_share_gate(row, u, r, n);
            set_share_gate(row, H + u, z, n);
            set_tanh_gate(row, 2 * H + u, new_, n);
            store(row.out + u, h, n);
        }
    }

    static void backward(const Row& row) {
        const int64_t H = row.H;
        FOR_UNITS(u, n) {
            const Vec r = share_gate(row, u, n), z = share_gate(row, H + u, n), new_ = tanh_gate(row, 2 * H + u, n);
            const Vec before = part(row.h_before, u, n), d = load(row.d_out + u, n);
            const Vec d_z_n = d * (set(1) - z) * slope_of_tanh(new_);
            const Vec d_z_z = d * (before - new_) * slope_of_sigmoid(z);
            const Vec d_z_r = d_z_n * hidden(row, u, n) * slope_of_sigmoid(r), d_hidden = d_z_n * r;
            store(row.h + u, fma(d, z, load(row.h + u, n)), n);
            set_gate(row, u, d_z_r, n);
            set_gate(row, H + u, d_z_z, n);
            set_gate(row, 2 * H + u, d_z_n, n);
            const Vec d_p[3] = {d_z_r, d_z_z, d_hidden};
            for (int j = 0; j < 3; ++j) {
                store(row.product + j * H + u, d_p[j], n);
                if (row.gain) continue;
                store(row.p + j * H + u, d_p[j], n);
                add(row.d_bias, j * H + u, n, d_p[j]);
            }
        }
        if (!row.gain) return;
        normalise_backward(row.product, row.p, 2 * H, row.stats[0], row.gain, row.d_gain, row.d_bias);
        normalise_backward(row.product + 2 * H, row.p + 2 * H, H, row.stats[1], row.gain + 2 * H,
                           row.d_gain + 2 * H, row.d_bias ? row.d_bias + 2 * H : nullptr);
        std::memcpy(row.product, row.p, sizeof(float) * 3 * H);
    }
};

// The GRU that resets before the product.  The candidate's product needs r, so a step has two
// products, each of which follows its own pointwise part.
struct GruResetBeforeCell {
    static constexpr int GATES = 3;
    static constexpr int FIRST = 2;
    static constexpr bool CELLS = false;
    static constexpr bool MIXES = true;

    static Vec dropped(const Row& row, int64_t u, Lanes n, Vec x) {
        return row.mask ? x * load(row.mask + u, n) : x;
    }

    // Computes r, z and r * h.
    static void reset(const Row& row) {
        const int64_t H = row.H;
        if (row.gain) normalise(row.p, 2 * H, row.stats);
        FOR_UNITS(u, n) {
            const Vec r = sigmoid(gate_input(row, 0, u, n)), z = sigmoid(gate_input(row, 1, u, n));
            store(row.a + u, r, n);
            store(row.a + H + u, z, n);
            store(row.inner + u, r * dropped(row, u, n, load(row.h + u, n)), n);
        }
    }

    static void forward(const Row& row) {
        const int64_t H = row.H;
        if (row.gain) normalise(row.p + 2 * H, H, row.stats ? row.stats + 1 : nullptr);
        FOR_UNITS(u, n) {
            const Vec new_ = tanh(gate_input(row, 2, u, n)), z = load(row.a + H + u, n);
            store(row.a + 2 * H + u, new_, n);
            store(row.out + u, fma(z, load(row.h + u, n) - new_, new_), n);
        }
    }

    // Computes the gradients of the arguments of z and of the candidate.
    static void backward(const Row& row) {
        const int64_t H = row.H;
        FOR_UNITS(u, n) {
            const Vec z = load(row.a + H + u, n), new_ = load(row.a + 2 * H + u, n);
            const Vec before = part(row.h_before, u, n), d = load(row.d_out + u, n);
            store(row.h + u, fma(d, z, load(row.h + u, n)), n);
            give(row, 1, u, n, d * (before - new_) * slope_of_sigmoid(z));
            give(row, 2, u, n, d * (set(1) - z) * slope_of_tanh(new_));
        }
        if (!row.gain) return;
        normalise_backward(row.product + 2 * H, row.p + 2 * H, H, row.stats[1], row.gain + 2 * H,
                           row.d_gain + 2 * H, row.d_bias ? row.d_bias + 2 * H : nullptr);
        std::memcpy(row.product + 2 * H, row.p + 2 * H, sizeof(float) * H);
    }

    // Computes the gradients of r and h from the gradient of r * h.
    static void reset_backward(const Row& row) {
        const int64_t H = row.H;
        FOR_UNITS(u, n) {
            const Vec r = load(row.a + u, n), d = load(row.inner + u, n);
            const Vec seen = dropped(row, u, n, part(row.h_before, u, n));
            store(row.h + u, fma(dropped(row, u, n, d), r, load(row.h + u, n)), n);
            give(row, 0, u, n, d * seen * slope_of_sigmoid(r));
        }
        if (!row.gain) return;
        normalise_backward(row.product, row.p, 2 * H, row.stats[0], row.gain, row.d_gain, row.d_bias);
        std::memcpy(row.product, row.p, sizeof(float) * 2 * H);
    }

private:
    // Stores the gradient of the argument of gate g.
    static void give(const Row& row, int64_t g, int64_t u, Lanes n, Vec d) {
        const int64_t i = g * row.H + u;
        store(row.a + i, d, n);
        store(row.product + i, d, n);
        if (!row.gain) add(row.d_bias, i, n, d);
    }
};

#undef FOR_UNITS

}  // namespace
