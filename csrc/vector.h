// A register full of floats: AVX-512, AVX2, NEON, or plain loops for any compiler.
//
// This header is compiled once for each instruction set, with different flags.  Everything in it
// has internal linkage, because no inline function of one set may replace that of another.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(_MSC_VER)
#define ELMAN_INLINE __forceinline
#define ELMAN_APART __declspec(noinline)
#define ELMAN_UNROLL
#else
#define ELMAN_INLINE inline __attribute__((always_inline))
#define ELMAN_APART __attribute__((noinline))  // gives a loop all general registers
#define ELMAN_UNROLL _Pragma("GCC unroll 16")  // arrays of registers stay in registers only without loops
#endif

namespace {

#if defined(__AVX512F__)

constexpr int WIDTH = 16;      // floats in a register
constexpr int REGISTERS = 32;  // registers of the instruction set
struct Vec { __m512 v; };

// The first n lanes of a register; the others are neither read nor written.
struct Lanes {
    __mmask16 mask;
    explicit Lanes(int64_t n) : mask(n >= 16 ? 0xffff : static_cast<__mmask16>((1u << n) - 1)) {}
};

ELMAN_INLINE Vec set(float x) { return {_mm512_set1_ps(x)}; }
ELMAN_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
ELMAN_INLINE Vec load(const float* p, Lanes n) { return {_mm512_maskz_loadu_ps(n.mask, p)}; }
ELMAN_INLINE void store(float* p, Vec a) { _mm512_storeu_ps(p, a.v); }
ELMAN_INLINE void store(float* p, Vec a, Lanes n) { _mm512_mask_storeu_ps(p, n.mask, a.v); }
ELMAN_INLINE Vec keep(Vec a, Lanes n) { return {_mm512_maskz_mov_ps(n.mask, a.v)}; }
ELMAN_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
ELMAN_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
ELMAN_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
ELMAN_INLINE Vec square_root(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
ELMAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// Returns the maximum of two numbers; if b is NaN, the result is NaN.
ELMAN_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
ELMAN_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
// For alternating real and imaginary parts: the first two put one part in both places, the third
// exchanges the parts.
ELMAN_INLINE Vec real(Vec a) { return {_mm512_moveldup_ps(a.v)}; }
ELMAN_INLINE Vec imaginary(Vec a) { return {_mm512_movehdup_ps(a.v)}; }
ELMAN_INLINE Vec exchanged(Vec a) { return {_mm512_permute_ps(a.v, 0xb1)}; }
// Stores to memory, bypassing the cache; p is aligned to the register.
ELMAN_INLINE void stream(float* p, Vec a) { _mm512_stream_ps(p, a.v); }
// Shifts the lowest bits of a into the exponent; see exp_minus_1.
ELMAN_INLINE Vec bits_to_exponent(Vec a) {
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(a.v), 23))};
}
ELMAN_INLINE Vec where_positive(Vec a, Vec b) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_GT_OQ), b.v)};
}
ELMAN_INLINE float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
ELMAN_INLINE float largest(Vec a) { return _mm512_reduce_max_ps(a.v); }
// Returns 1/a for a between 1e-37 and 1e37; one Newton step makes it accurate to the last bit or two.
ELMAN_INLINE Vec reciprocal(Vec a) {
    const __m512 r = _mm512_rcp14_ps(a.v);
    return {_mm512_fmadd_ps(_mm512_fnmadd_ps(a.v, r, _mm512_set1_ps(1)), r, r)};
}

#elif defined(__AVX2__)

constexpr int WIDTH = 8;
constexpr int REGISTERS = 16;
struct Vec { __m256 v; };

alignas(32) const int32_t LANES[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
struct Lanes {
    __m256i mask;
    bool full;
    explicit Lanes(int64_t n)
        : mask(_mm256_loadu_si256(
              reinterpret_cast<const __m256i*>(LANES + (n >= 8 ? 0 : 8 - static_cast<int>(n))))),
          full(n >= 8) {}
};

ELMAN_INLINE Vec set(float x) { return {_mm256_set1_ps(x)}; }
ELMAN_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
ELMAN_INLINE Vec load(const float* p, Lanes n) {
    return {n.full ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, n.mask)};
}
ELMAN_INLINE void store(float* p, Vec a) { _mm256_storeu_ps(p, a.v); }
ELMAN_INLINE void store(float* p, Vec a, Lanes n) {
    if (n.full)
        _mm256_storeu_ps(p, a.v);
    else
        _mm256_maskstore_ps(p, n.mask, a.v);
}
ELMAN_INLINE Vec keep(Vec a, Lanes n) { return {_mm256_and_ps(a.v, _mm256_castsi256_ps(n.mask))}; }
ELMAN_INLINE Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
ELMAN_INLINE Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
ELMAN_INLINE Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
ELMAN_INLINE Vec square_root(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
ELMAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
ELMAN_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
ELMAN_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
ELMAN_INLINE Vec real(Vec a) { return {_mm256_moveldup_ps(a.v)}; }
ELMAN_INLINE Vec imaginary(Vec a) { return {_mm256_movehdup_ps(a.v)}; }
ELMAN_INLINE Vec exchanged(Vec a) { return {_mm256_permute_ps(a.v, 0xb1)}; }
ELMAN_INLINE void stream(float* p, Vec a) { _mm256_stream_ps(p, a.v); }
ELMAN_INLINE Vec bits_to_exponent(Vec a) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(a.v), 23))};
}
ELMAN_INLINE Vec where_positive(Vec a, Vec b) {
    return {_mm256_and_ps(_mm256_cmp_ps(a.v, _mm256_setzero_ps(), _CMP_GT_OQ), b.v)};
}
ELMAN_INLINE float sum(Vec a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
ELMAN_INLINE float largest(Vec a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}
ELMAN_INLINE Vec reciprocal(Vec a) { return {_mm256_div_ps(_mm256_set1_ps(1), a.v)}; }

#elif defined(__ARM_NEON) && defined(__aarch64__)

constexpr int WIDTH = 4;
constexpr int REGISTERS = 32;
struct Vec { float32x4_t v; };
struct Lanes {
    int n;
    explicit Lanes(int64_t count) : n(count >= 4 ? 4 : static_cast<int>(count)) {}
};

ELMAN_INLINE Vec set(float x) { return {vdupq_n_f32(x)}; }
ELMAN_INLINE Vec load(const float* p) { return {vld1q_f32(p)}; }
ELMAN_INLINE Vec load(const float* p, Lanes n) {
    if (n.n == 4) return load(p);
    float part[4] = {0, 0, 0, 0};
    for (int i = 0; i < n.n; ++i) part[i] = p[i];
    return load(part);
}
ELMAN_INLINE void store(float* p, Vec a) { vst1q_f32(p, a.v); }
ELMAN_INLINE void store(float* p, Vec a, Lanes n) {
    if (n.n == 4) return store(p, a);
    float part[4];
    store(part, a);
    for (int i = 0; i < n.n; ++i) p[i] = part[i];
}
ELMAN_INLINE Vec keep(Vec a, Lanes n) {
    float part[4];
    store(part, a);
    return load(part, n);
}
ELMAN_INLINE Vec operator+(Vec a, Vec b) { return {vaddq_f32(a.v, b.v)}; }
ELMAN_INLINE Vec operator-(Vec a, Vec b) { return {vsubq_f32(a.v, b.v)}; }
ELMAN_INLINE Vec operator*(Vec a, Vec b) { return {vmulq_f32(a.v, b.v)}; }
ELMAN_INLINE Vec square_root(Vec a) { return {vsqrtq_f32(a.v)}; }
ELMAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
ELMAN_INLINE Vec max(Vec a, Vec b) { return {vmaxq_f32(a.v, b.v)}; }
ELMAN_INLINE Vec min(Vec a, Vec b) { return {vminq_f32(a.v, b.v)}; }
ELMAN_INLINE Vec real(Vec a) { return {vtrn1q_f32(a.v, a.v)}; }
ELMAN_INLINE Vec imaginary(Vec a) { return {vtrn2q_f32(a.v, a.v)}; }
ELMAN_INLINE Vec exchanged(Vec a) { return {vrev64q_f32(a.v)}; }
ELMAN_INLINE void stream(float* p, Vec a) { store(p, a); }
ELMAN_INLINE Vec bits_to_exponent(Vec a) {
    return {vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(a.v), 23))};
}
ELMAN_INLINE Vec where_positive(Vec a, Vec b) {
    const uint32x4_t yes = vcgtq_f32(a.v, vdupq_n_f32(0));
    return {vreinterpretq_f32_u32(vandq_u32(yes, vreinterpretq_u32_f32(b.v)))};
}
ELMAN_INLINE float sum(Vec a) { return vaddvq_f32(a.v); }
ELMAN_INLINE float largest(Vec a) { return vmaxvq_f32(a.v); }
ELMAN_INLINE Vec reciprocal(Vec a) { return {vdivq_f32(vdupq_n_f32(1), a.v)}; }

#else

constexpr int WIDTH = 4;
constexpr int REGISTERS = 16;
struct Vec { float v[WIDTH]; };
struct Lanes {
    int n;
    explicit Lanes(int64_t count) : n(count >= WIDTH ? WIDTH : static_cast<int>(count)) {}
};

#define ELMAN_EACH(expression) \
    Vec r; \
    for (int i = 0; i < WIDTH; ++i) r.v[i] = (expression); \
    return r

ELMAN_INLINE Vec set(float x) { ELMAN_EACH(x); }
ELMAN_INLINE Vec load(const float* p) { ELMAN_EACH(p[i]); }
ELMAN_INLINE Vec load(const float* p, Lanes n) { ELMAN_EACH(i < n.n ? p[i] : 0); }
ELMAN_INLINE void store(float* p, Vec a) { std::memcpy(p, a.v, sizeof a.v); }
ELMAN_INLINE void store(float* p, Vec a, Lanes n) {
    for (int i = 0; i < n.n; ++i) p[i] = a.v[i];
}
ELMAN_INLINE Vec keep(Vec a, Lanes n) { ELMAN_EACH(i < n.n ? a.v[i] : 0); }
ELMAN_INLINE Vec operator+(Vec a, Vec b) { ELMAN_EACH(a.v[i] + b.v[i]); }
ELMAN_INLINE Vec operator-(Vec a, Vec b) { ELMAN_EACH(a.v[i] - b.v[i]); }
ELMAN_INLINE Vec operator*(Vec a, Vec b) { ELMAN_EACH(a.v[i] * b.v[i]); }
ELMAN_INLINE Vec square_root(Vec a) { ELMAN_EACH(std::sqrt(a.v[i])); }
ELMAN_INLINE Vec fma(Vec a, Vec b, Vec c) { ELMAN_EACH(a.v[i] * b.v[i] + c.v[i]); }
ELMAN_INLINE Vec max(Vec a, Vec b) { ELMAN_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
ELMAN_INLINE Vec min(Vec a, Vec b) { ELMAN_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
ELMAN_INLINE Vec real(Vec a) { ELMAN_EACH(a.v[i & ~1]); }
ELMAN_INLINE Vec imaginary(Vec a) { ELMAN_EACH(a.v[i | 1]); }
ELMAN_INLINE Vec exchanged(Vec a) { ELMAN_EACH(a.v[i ^ 1]); }
ELMAN_INLINE void stream(float* p, Vec a) { store(p, a); }
ELMAN_INLINE Vec bits_to_exponent(Vec a) {
    uint32_t bits[WIDTH];
    std::memcpy(bits, a.v, sizeof bits);
    for (uint32_t& b : bits) b <<= 23;
    Vec r;
    std::memcpy(r.v, bits, sizeof bits);
    return r;
}
ELMAN_INLINE Vec where_positive(Vec a, Vec b) { ELMAN_EACH(a.v[i] > 0 ? b.v[i] : 0); }
ELMAN_INLINE float sum(Vec a) {
    float s = 0;
    for (float x : a.v) s += x;
    return s;
}
ELMAN_INLINE float largest(Vec a) {
    float s = a.v[0];
    for (float x : a.v) s = x > s ? x : s;
    return s;
}
ELMAN_INLINE Vec reciprocal(Vec a) { ELMAN_EACH(1 / a.v[i]); }
#undef ELMAN_EACH

#endif

// These functions load bfloat16 numbers, and round when they store them.  Instruction sets without
// bfloat16 compile them but never run them, because none of their tensors is bfloat16.
#if defined(__AVX512BF16__)
ELMAN_INLINE Vec load_bf16(const uint16_t* p, Lanes n) {
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(n.mask, p));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
ELMAN_INLINE void store_bf16(uint16_t* p, Vec a, Lanes n) {
    const __m256bh rounded = _mm512_cvtneps_pbh(a.v);
    __m256i bits;
    std::memcpy(&bits, &rounded, 32);
    _mm256_mask_storeu_epi16(p, n.mask, bits);
}

// A share s in 0..1, such as a sigmoid, is stored as s - 1 if it is above a half, always with a
// sign bit, even for 0. A share near 1, which decides how long a memory lasts, thereby keeps as
// many digits as a share near 0.
ELMAN_INLINE Vec load_share(const uint16_t* p, Lanes n) {
    const __m512 x = load_bf16(p, n).v;
    return {_mm512_mask_add_ps(x, _mm512_movepi32_mask(_mm512_castps_si512(x)), x, _mm512_set1_ps(1))};
}
ELMAN_INLINE void store_share(uint16_t* p, Vec s, Lanes n) {
    const __mmask16 above = _mm512_cmp_ps_mask(s.v, _mm512_set1_ps(0.5f), _CMP_GT_OQ);
    const __m512 x = _mm512_mask_sub_ps(s.v, above, s.v, _mm512_set1_ps(1));
    store_bf16(p, {_mm512_mask_or_ps(x, above, x, _mm512_set1_ps(-0.0f))}, n);
}

// A number t in -1..1, such as a tanh, is stored as (1 - |t|) 2^26 + 2, which is at least 2, with
// the sign of t, if |t| is above a half.  The slope of a saturated tanh, 1 - t^2, is thereby not 0.
ELMAN_INLINE Vec load_signed_share(const uint16_t* p, Lanes n) {
    const __m512 x = load_bf16(p, n).v, sign = _mm512_and_ps(x, _mm512_set1_ps(-0.0f)), size = _mm512_abs_ps(x);
    const __mmask16 above = _mm512_cmp_ps_mask(size, _mm512_set1_ps(1), _CMP_GT_OQ);
    const __m512 distance = _mm512_mul_ps(_mm512_sub_ps(size, _mm512_set1_ps(2)), _mm512_set1_ps(0x1p-26f));
    return {_mm512_mask_or_ps(x, above, _mm512_sub_ps(_mm512_set1_ps(1), distance), sign)};
}
ELMAN_INLINE void store_signed_share(uint16_t* p, Vec t, Lanes n) {
    const __m512 sign = _mm512_and_ps(t.v, _mm512_set1_ps(-0.0f)), size = _mm512_abs_ps(t.v);
    const __mmask16 above = _mm512_cmp_ps_mask(size, _mm512_set1_ps(0.5f), _CMP_GT_OQ);
    const __m512 distance = _mm512_fmadd_ps(_mm512_sub_ps(_mm512_set1_ps(1), size), _mm512_set1_ps(0x1p26f), _mm512_set1_ps(2));
    store_bf16(p, {_mm512_mask_or_ps(t.v, above, distance, sign)}, n);
}
#else
ELMAN_INLINE Vec load_bf16(const uint16_t*, Lanes) { return set(0); }
ELMAN_INLINE void store_bf16(uint16_t*, Vec, Lanes) {}
ELMAN_INLINE Vec load_share(const uint16_t*, Lanes) { return set(0); }
ELMAN_INLINE void store_share(uint16_t*, Vec, Lanes) {}
ELMAN_INLINE Vec load_signed_share(const uint16_t*, Lanes) { return set(0); }
ELMAN_INLINE void store_signed_share(uint16_t*, Vec, Lanes) {}
#endif

// These load and store number i of an array of floats, or of bfloat16 numbers at the same address.
ELMAN_INLINE Vec load(const float* p, bool bf16, int64_t i, Lanes n) {
    return bf16 ? load_bf16(reinterpret_cast<const uint16_t*>(p) + i, n) : load(p + i, n);
}
ELMAN_INLINE void store(float* p, bool bf16, int64_t i, Vec a, Lanes n) {
    bf16 ? store_bf16(reinterpret_cast<uint16_t*>(p) + i, a, n) : store(p + i, a, n);
}

ELMAN_INLINE void operator+=(Vec& a, Vec b) { a = a + b; }

// Makes streamed stores visible to other threads.
ELMAN_INLINE void end_streams() {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

// exp(x) - 1 = 2^n p + (2^n - 1) with n = round(x / ln 2), r = x - n ln 2 and p = exp(r) - 1, a
// minimax polynomial of degree 6 (relative error 1.4e-8 before rounding; the error of ln 2 in float
// adds 2e-9 n).  Small x keeps its relative accuracy; x must be in -87..87, where exp neither
// overflows nor is subnormal.  NaN stays NaN.
//
// Adding 1.5 * 2^23 rounds x / ln 2 to an integer and leaves it in the lowest bits of the sum;
// adding 127 as well makes those bits the exponent of 2^n.
ELMAN_INLINE Vec exp_minus_1(Vec x, Vec& two_to_n) {
    const Vec magic = set(12582912.0f + 127.0f);
    const Vec sum = fma(x, set(1.44269504088896341f), magic);
    const Vec n = sum - magic;
    two_to_n = bits_to_exponent(sum);
    const Vec r = fma(n, set(-0.693147180559945f), x);
    Vec q = set(0.001394643434f);
    q = fma(q, r, set(0.008366571382f));
    q = fma(q, r, set(0.04166628235f));
    q = fma(q, r, set(0.1666654312f));
    q = fma(q, r, set(0.5000000062f));
    return fma(r * r, q, r);
}

ELMAN_INLINE Vec clamp(Vec x, float bound) { return min(set(bound), max(set(-bound), x)); }

ELMAN_INLINE Vec exp(Vec x) {
    Vec scale;
    const Vec p = exp_minus_1(clamp(x, 87), scale);
    return fma(scale, p, scale);
}

#if defined(__AMX_BF16__)

// 1 / (1 + 2^t) with t = -x / ln 2 and 2^t = 2^floor(t) p, p a minimax polynomial of degree 5 in t
// - floor(t) (relative error 8e-8).  It has fewer instructions than the function below, but is not
// faster on the processors of the other sets.
ELMAN_INLINE Vec sigmoid(Vec x) {
    const Vec t = min(set(126), x * set(-1.44269504088896341f));
    const Vec r{_mm512_reduce_ps(t.v, 0x09)};
    Vec q = set(0.0018671301659f);
    q = fma(q, r, set(0.009017029777f));
    q = fma(q, r, set(0.05579991266f));
    q = fma(q, r, set(0.2401644439f));
    q = fma(q, r, set(0.6931512952f));
    q = fma(q, r, set(1));
    return reciprocal(set(1) + Vec{_mm512_scalef_ps(q.v, t.v)});
}

#else

ELMAN_INLINE Vec sigmoid(Vec x) {
    Vec scale;
    const Vec p = exp_minus_1(clamp(set(0) - x, 87), scale);
    return reciprocal(fma(scale, p, scale + set(1)));
}

#endif

// tanh(x) = e / (e + 2) with e = exp(2 x) - 1.  Beyond x = 10 it is 1 in float, and 2^n - 1 would
// lose the 1.
ELMAN_INLINE Vec tanh(Vec x) {
    Vec scale;
    const Vec p = exp_minus_1(clamp(x + x, 20), scale);
    const Vec d = scale + set(1);                 // e + 2 = 2^n p + (2^n + 1)
    return fma(scale, p, scale - set(1)) * reciprocal(fma(scale, p, d));
}

// Returns log(1 + x) = 2 atanh(x / (2 + x)) for x in 0..1: a series of odd powers, with minimax
// coefficients (relative error 4e-9 before rounding).
ELMAN_INLINE Vec log_1_plus(Vec x) {
    const Vec s = x * reciprocal(set(2) + x), y = s * s;
    Vec q = set(0.2817465626f);
    q = fma(q, y, set(0.2796141884f));
    q = fma(q, y, set(0.4002485372f));
    q = fma(q, y, set(0.6666631593f));
    q = fma(q, y, set(2.0000000079f));
    return s * q;
}

}  // namespace
