// The arguments of the kernels.  They are plain data, because all instruction sets share this
// header.
#pragma once

#include <array>
#include <cstdint>

// A vector for each step and row.  If rows are packed, step t begins at row start[t] of the buffer
// (see Recurrence), otherwise at p + t * step.  Strides count numbers.
struct Steps {
    float* p = nullptr;
    int64_t step = 0;
    int64_t row = 0;
    bool packed = false;  // rows of step t begin at start[t], in order of length
    bool bf16 = false;    // whether the numbers in memory are bfloat16; only on tiles
};

enum Cell : int64_t { RNN_TANH, RNN_RELU, LSTM, GRU, GRU_RESET_BEFORE };

// A matrix of rows in the order of time: row n is number n % per_step of step n / per_step.  Strides
// count numbers.
struct Rows {
    const void* p = nullptr;
    int64_t per_step = 1, step = 0, row = 0;
    bool bf16 = false;               // whether the numbers in memory are bfloat16
    const void* initial = nullptr;   // dense rows of step `initial_step`, of the same type
    int64_t initial_step = -1;
};

// C (N, columns) (+)= A (N, K) W (+ bias); C can be bfloat16 on tiles.
struct Product {
    int64_t N = 0, K = 0, columns = 0, threads = 1;
    bool bf16 = false;  // factors can be rounded to bfloat16
    Rows a;
    const float* w = nullptr;
    bool transposed = false;  // w is W^T (columns, K)
    const float* bias = nullptr;
    void* c = nullptr;
    bool w_bf16 = false, c_bf16 = false;  // whether w and c are bfloat16 in memory
    bool add = false;       // without a bias, and only to floats
    int64_t c_row = 0;      // numbers from one row of C to the next, of floats; 0: columns
    int64_t ldc() const { return c_row ? c_row : columns; }
};

// One layer in one direction over a whole sequence.  T steps, B rows, H units, R features of h (H,
// or the projection's), G gates.  Pointers can be null where an option is off.
struct Recurrence {
    int64_t cell = 0, T = 0, B = 0, H = 0, R = 0, threads = 1;
    bool reverse = false;
    bool bf16 = false;        // products can round their factors to bfloat16
    bool multiplied = false;  // a single step whose product with h the caller has already computed
    bool w_bf16 = false;      // whether w_hh and w_hr are bfloat16 in memory

    const int64_t* start = nullptr;   // (T) first row of step t in packed buffers
    const int64_t* active = nullptr;  // (T) number of rows that run at step t; rows are in order of length
    const int64_t* order = nullptr;   // (B) index in the caller's tensors of the r-th longest row

    // The product whose result is `a`, if the call computes it, some steps at a time; `a` can then
    // be null.
    const Product* inputs = nullptr;

    // `a`, `y` and the `c` of an LSTM can be bfloat16.
    Steps a;     // (G H) contribution of the inputs to the gates; then the gates, then their gradient
    Steps p;     // (G H) products with h, where they are needed separately; then their gradient
    Steps c;     // (H) cells after each step; for a GRU, in the backward pass: h after each step
    Steps seen;  // (R) h before each step, after dropout
    Steps m;     // (H) the factor of w_hr: output before the projection, or r * h
    Steps d_r;   // (R) gradient of the projection's result
    Steps stats; // (2) 1 / standard deviation of each normalised part
    Steps y;     // (R) output; in the backward pass its gradient
    Steps keep_h, keep_c;  // (R), (H) shares of the old values that zoneout keeps
    Steps decay, d_decay;  // (R) factors of h before each step, and their gradient
    float rate_h = 0, rate_c = 0;  // keep_h and keep_c where they are one number

    const float* packed = nullptr;  // the result of `pack` for w_hh and w_hr, if it is kept between calls
    // w_hr is the second matrix of a step: the projection (R, H), or W_hn (H, H) of a GRU that
    // resets before the product, whose rows are then missing in w_hh.
    const float *w_hh = nullptr, *bias = nullptr, *w_hr = nullptr, *peephole = nullptr;
    const float *gain = nullptr, *gain_c = nullptr, *bias_c = nullptr;
    const float* mask = nullptr;                    // (B, R) recurrent dropout
    const float *h0 = nullptr, *c0 = nullptr;       // (B, R), (B, H); null: zeros
    float *h_end = nullptr, *c_end = nullptr;       // out; in the backward pass their gradients, in
    float *d_h0 = nullptr, *d_c0 = nullptr;         // backward pass: out
    // The backward pass adds to these.
    float *d_bias = nullptr, *d_gain = nullptr, *d_peephole = nullptr;  // (G H), (G H), (3 H)
    float *d_gain_c = nullptr, *d_bias_c = nullptr;                     // (H)
};

// C_j (rows, columns_j) (+)= A^T B_j for A (N, rows) and up to two B_j (N, columns_j); C is dense.
struct OuterProduct {
    int64_t N = 0, rows = 0, threads = 1;
    bool bf16 = false, add = false;
    const void* a = nullptr;
    int64_t a_row = 0;    // numbers from one row of A to the next
    bool a_bf16 = false;  // whether A is bfloat16 in memory; only on tiles
    int count = 0;
    int64_t columns[2] = {};
    Rows b[2];
    float* c[2] = {};
};

// Dense rows of G numbers; the first `first` of them and the rest are normalised separately.
struct LayerNorm {
    int64_t N = 0, G = 0, first = 0, threads = 1;
    const float *gain = nullptr, *bias = nullptr;  // (G)
    float* y = nullptr;       // (N, G): the input, replaced by the result; backward: d_y
    float* x = nullptr;       // (N, G) out, normalised without gain and bias, or null; backward: replaced by d_x
    float* scales = nullptr;  // (N, 2) out, 1 / standard deviation, or null; backward: in
    float *d_gain = nullptr, *d_bias = nullptr;  // (G) added to
};

// One layer of a stream, which runs one step at a time and keeps everything it needs between the
// steps.
struct StepLayer {
    Recurrence it;  // a, p: (B, G H) of one step; h_end, c_end: the state, replaced in place
    int64_t D = 0;  // features of the inputs
    const float *packed_ih = nullptr, *bias_ih = nullptr;  // (G H); null where `it.bias` is the sum
    float *out = nullptr, *projected = nullptr;  // (B, H), (B, R); `projected` is also r * h
};

// Cross-entropy of rows of V scores, dense; with `gradient`, x becomes the gradient of the scores.
struct Softmax {
    int64_t rows = 0, V = 0, threads = 1;
    bool gradient = false;
    float* x = nullptr;
    const float* bias = nullptr;       // (V) added to the scores
    const int64_t* targets = nullptr;  // (rows) in 0..V-1
    double* loss = nullptr;            // (rows)
    bool* right = nullptr;             // (rows) whether the target has the highest score; without gradient only
    float* d_bias = nullptr;           // (threads, V) added to
};

// Projection and cross-entropy.  Everything is dense; outputs that are null are not computed.
struct CrossEntropy {
    int64_t N = 0, D = 0, V = 0, threads = 1;
    int64_t rows = 0;                  // rows whose scores are stored at a time
    const float* h = nullptr;          // (N, D)
    const float* w = nullptr;          // (V, D)
    const float* bias = nullptr;       // (V) or null
    const int64_t* targets = nullptr;  // (N) in 0..V-1
    double* loss = nullptr;            // (N) out
    bool* right = nullptr;             // (N) out, without gradients only
    float *d_h = nullptr, *d_w = nullptr, *d_bias = nullptr;
};

// The loss of a transducer.  Everything is dense; outputs that are null are not computed.
struct Transducer {
    int64_t B = 0, T = 0, U = 0, J = 0, V = 0, threads = 1;
    const float* e = nullptr;          // (B, T, J)
    const float* p = nullptr;          // (B, U + 1, J)
    const float* w = nullptr;          // (V, J)
    const float* bias = nullptr;       // (V) or null
    const int64_t* targets = nullptr;  // tokens of all rows, one row after another, in 0..V-2
    const int64_t* frames = nullptr;   // (B) in 0..T
    const int64_t* tokens = nullptr;   // (B) in 0..U, and 0 where there are no frames
    double* loss = nullptr;            // (B) out
    float *d_e = nullptr, *d_p = nullptr;     // zeros, replaced where a row has frames and tokens
    float *d_w = nullptr, *d_bias = nullptr;  // out
};

// Numbers (B, T, D) of rows, steps and units with any strides, which count numbers, not floats.  A
// stride of 0 means one value for all rows or steps, and for a gradient its sum over them.
struct Field {
    float* p = nullptr;
    int64_t row = 0, step = 0, unit = 1;
};

// h_t = a_t h_{t-1} + b_t for each row and unit; complex numbers are pairs of floats.
struct Scan {
    int64_t B = 0, T = 0, D = 0, threads = 1;
    bool complex = false;
    bool reverse = false;              // run from a row's last step to its first
    const int64_t* lengths = nullptr;  // (B) steps of each row; null: T

    Field a, b;
    Field h;                       // forward: out; backward: in
    const float* h0 = nullptr;     // (B, D); null: zeros
    float* h_end = nullptr;        // (B, D), out

    Field d_h;                     // backward: in, null for zeros
    const float* d_end = nullptr;  // (B, D), backward: in, null for zeros
    Field d_a, d_b;                // backward: out, null if not wanted
    float* d_h0 = nullptr;         // (B, D)
};

enum GatedCell : int64_t { MIN_GRU, MIN_LSTM, RG_LRU };

// h_t = a_t h_{t-1} + b_t for each row and unit, with a and b from G gates, see gated_scan.h.  The
// numbers of a step lie side by side.
struct GatedScan {
    int64_t cell = 0, B = 0, T = 0, D = 0, threads = 1;
    bool reverse = false;              // run from a row's last step to its first
    const int64_t* lengths = nullptr;  // (B) steps of each row; null: T

    Field gates;                   // (B, T, G D), without their bias
    Field input;                   // (B, T, D), of an RG-LRU
    const float* bias = nullptr;   // (G D)
    const float* rate = nullptr;   // (D) logarithm of the smallest factor, of an RG-LRU
    Field keep;                    // (B, T, D) share of the old value that zoneout keeps; null: `kept`
    float kept = 0;
    Field h;                       // (B, T, D), forward: out; backward: in
    const float* h0 = nullptr;     // (B, D); null: zeros
    float* h_end = nullptr;        // (B, D), out

    Field d_h;                     // backward: in, null for zeros
    const float* d_end = nullptr;  // (B, D), backward: in, null for zeros
    Field d_gates, d_input;        // backward: out
    float* d_sums = nullptr;       // (B, G D), of an RG-LRU (B, (G + 1) D): gradients of bias and rate, out
    float* d_h0 = nullptr;         // (B, D)
};

// The recurrence of an sLSTM with N heads of S units, H = N S, see slstm.h.  The numbers of a step lie
// side by side.
struct Slstm {
    int64_t B = 0, T = 0, N = 0, S = 0, threads = 1;
    bool reverse = false;              // run from a row's last step to its first
    const int64_t* lengths = nullptr;  // (B) steps of each row; null: T
    const int64_t* order = nullptr;    // (B) rows, longest first; null: all have T steps

    Field gates;                  // (B, T, 4 H) products with x; with `cells` replaced by values that the
                                  // backward pass needs, and there by their gradients
    const float* r = nullptr;     // (N, 4 S, S)
    const float* mask = nullptr;  // (B, H) recurrent dropout
    Field keep;                   // (B, T, H) share of the old h that zoneout keeps; null: `rate`
    float rate = 0;
    Field y;                      // (B, T, H), forward: out; backward: in
    Field cells;                  // (B, T, 3 H) c, n and m after each step; forward: out, or null; backward: in
    const float* s0[4] = {};      // (B, H) h, c, n, m; null: zeros
    float* end[4] = {};           // out

    Field d_y;                    // backward: in, null for zeros
    Field seen;                   // (B, T, H) backward: out, h before each step after dropout
    const float* d_end[4] = {};   // backward: in, null for zeros
    float* d_s0[4] = {};          // backward: out
};

// A recurrence whose state is a matrix (K, V) for each row and each of N heads, see matrix_scan.h.
// The numbers of a head lie side by side.
struct MatrixScan {
    int64_t B = 0, T = 0, N = 0, K = 0, V = 0, threads = 1;
    bool delta = false;         // whether a step first reads what it overwrites
    bool decay_of_key = false;  // whether a has K numbers for each head
    bool reverse = false;       // run from a row's last step to its first
    const int64_t* lengths = nullptr;  // (B) steps of each row; null: T

    Field q, k;     // (B, T, N K)
    Field v;        // (B, T, N V)
    Field a, beta;  // (B, T, N), or (B, T, N K); null: 1
    Field y;        // (B, T, N V), out
    Field w;        // (B, T, N V): what is written, before beta; forward: out, or null; backward: in
    const float* s0 = nullptr;  // (B, N, K, V); null: zeros
    float* s_end = nullptr;     // (B, N, K, V), out

    Field d_y;                              // backward: in, null for zeros
    const float* d_end = nullptr;           // backward: in, null for zeros
    Field d_q, d_k, d_v, d_a, d_beta;       // backward: out, null if not wanted
    float* d_s0 = nullptr;
};

// An operation of a recorded step, see program.h.  The names of the kinds are in program_call.h.
struct Operation {
    enum Kind : int { COPY, NEG, ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, EQUAL, SELECT, ABS, SQRT, RSQRT, EXP, EXPM1, SIGMOID, TANH, SILU, GELU,
                SOFTPLUS, LOG_SIGMOID, SUM, MEAN, NORM, MATMUL, LAYER_NORM, MATRIX_SCAN };
    Kind kind;
    const MatrixScan* scan = nullptr;  // what MATRIX_SCAN runs, instead of the following
    std::array<int64_t, 4> size{};
    std::array<float*, 5> p{};  // the result and up to four operands
    std::array<std::array<int64_t, 4>, 5> stride{};
};

// The functions of one instruction set.
struct Kernels {
    const char* name;
    int64_t (*packed_floats)(const Recurrence&);  // enough for either pass
    void (*pack)(const Recurrence&, bool backward, float* to);
    void (*forward)(const Recurrence&);
    void (*backward)(const Recurrence&);
    int64_t (*packed_size)(int64_t k, int64_t columns);
    void (*pack_transposed)(const float* w, int64_t k, int64_t columns, float* to);
    void (*step)(const StepLayer* layers, int count, const float* x, bool from_end, int threads);
    void (*softmax)(const Softmax&);
    void (*cross_entropy)(const CrossEntropy&);
    int64_t cross_entropy_rows;  // for more rows, products and a softmax are as fast
    void (*product)(const Product&);  // null if torch's products are as fast
    bool has_tiles;  // whether there are AMX tiles: a recurrence then multiplies its inputs, and supports bfloat16
    void (*outer_product)(const OuterProduct&);
    void (*layer_norm)(const LayerNorm&);
    void (*layer_norm_backward)(const LayerNorm&);
    void (*scan)(const Scan&);
    void (*scan_backward)(const Scan&);
    void (*transducer)(const Transducer&);
    void (*gated_scan)(const GatedScan&);
    void (*gated_scan_backward)(const GatedScan&);
    void (*slstm)(const Slstm&);
    void (*slstm_backward)(const Slstm&);
    void (*matrix_scan)(const MatrixScan&);
    void (*matrix_scan_backward)(const MatrixScan&);
    void (*program)(const Operation*, int64_t count);
};

extern const Kernels portable_kernels;
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
extern const Kernels avx512_bf16_kernels;
extern const Kernels amx_kernels;
