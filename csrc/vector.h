// A register full of floats: AVX-512, AVX2, NEON, or plain loops that any compiler takes.
//
// This header is compiled once for each instruction set, with other flags each time, so everything
// in it has internal linkage: no inline function of one set may replace that of another.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(_MSC_VER)
#define ELMAN_INLINE __forceinline
#else
#define ELMAN_INLINE inline __attribute__((always_inline))
#endif

namespace {

#if defined(__AVX512F__)

constexpr int WIDTH = 16;      // floats in a register
constexpr int REGISTERS = 32;  // that the instruction set has
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
ELMAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// Of two numbers; where b is NaN the result is NaN.
ELMAN_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
ELMAN_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
ELMAN_INLINE Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, 0)}; }
ELMAN_INLINE Vec power_of_two(Vec n) { return {_mm512_scalef_ps(_mm512_set1_ps(1), n.v)}; }
ELMAN_INLINE Vec where_positive(Vec a, Vec b) {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a.v, _mm512_setzero_ps(), _CMP_GT_OQ), b.v)};
}
ELMAN_INLINE float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
ELMAN_INLINE float largest(Vec a) { return _mm512_reduce_max_ps(a.v); }
// 1/a for a >= 1, infinity included; one Newton step makes it good to the last bit or two.
ELMAN_INLINE Vec reciprocal(Vec a) {
    const __m512 r = _mm512_rcp14_ps(a.v);
    const __m512 e = _mm512_fnmadd_ps(a.v, r, _mm512_set1_ps(1));
    // For infinity r is 0 and e is NaN: there r stands as it is.
    const __mmask16 finite = _mm512_cmp_ps_mask(r, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    return {_mm512_mask_fmadd_ps(r, finite, e, r)};
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
ELMAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
ELMAN_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
ELMAN_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
ELMAN_INLINE Vec round(Vec a) { return {_mm256_round_ps(a.v, 8)}; }
ELMAN_INLINE Vec power_of_two(Vec n) {  // for n in -126..127
    const __m256i bits = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(bits, 23))};
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
ELMAN_INLINE Vec fma(Vec a, Vec b, Vec c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
ELMAN_INLINE Vec max(Vec a, Vec b) { return {vmaxq_f32(a.v, b.v)}; }
ELMAN_INLINE Vec min(Vec a, Vec b) { return {vminq_f32(a.v, b.v)}; }
ELMAN_INLINE Vec round(Vec a) { return {vrndnq_f32(a.v)}; }
ELMAN_INLINE Vec power_of_two(Vec n) {
    const int32x4_t bits = vaddq_s32(vcvtq_s32_f32(n.v), vdupq_n_s32(127));
    return {vreinterpretq_f32_s32(vshlq_n_s32(bits, 23))};
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
ELMAN_INLINE Vec fma(Vec a, Vec b, Vec c) { ELMAN_EACH(a.v[i] * b.v[i] + c.v[i]); }
ELMAN_INLINE Vec max(Vec a, Vec b) { ELMAN_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
ELMAN_INLINE Vec min(Vec a, Vec b) { ELMAN_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
ELMAN_INLINE Vec round(Vec a) { ELMAN_EACH(std::nearbyintf(a.v[i])); }
ELMAN_INLINE Vec power_of_two(Vec n) { ELMAN_EACH(std::ldexp(1.0f, std::isnan(n.v[i]) ? 0 : static_cast<int>(n.v[i]))); }
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

ELMAN_INLINE void operator+=(Vec& a, Vec b) { a = a + b; }

// exp(x) - 1 = 2^n p + (2^n - 1) with n = round(x / ln 2), r = x - n ln 2 and p = exp(r) - 1, a
// minimax polynomial of degree 6 (relative error 1.4e-8 before rounding).  Small x keeps its
// relative accuracy; x is cut at +-87, where exp neither overflows nor is subnormal.  NaN stays.
ELMAN_INLINE Vec exp_minus_1(Vec x, Vec& two_to_n) {
    x = min(set(87.0f), max(set(-87.0f), x));
    const Vec n = round(x * set(1.44269504088896341f));
    Vec r = fma(n, set(-0.693359375f), x);
    r = fma(n, set(2.12194440e-4f), r);
    Vec q = set(0.001394643434f);
    q = fma(q, r, set(0.008366571382f));
    q = fma(q, r, set(0.04166628235f));
    q = fma(q, r, set(0.1666654312f));
    q = fma(q, r, set(0.5000000062f));
    two_to_n = power_of_two(n);
    return fma(r * r, q, r);
}

ELMAN_INLINE Vec exp(Vec x) {
    Vec scale;
    const Vec p = exp_minus_1(x, scale);
    return fma(scale, p, scale);
}

ELMAN_INLINE Vec sigmoid(Vec x) { return reciprocal(set(1) + exp(set(0) - x)); }

// tanh(x) = e / (e + 2) with e = exp(2|x|) - 1, and the sign of x.
ELMAN_INLINE Vec tanh(Vec x) {
    Vec scale;
    // Beyond 10 tanh is 1 in float, and 2^n must not lose the -1.
    const Vec y = min(set(20), max(set(-20), x + x));
    const Vec p = exp_minus_1(y, scale);
    const Vec e = fma(scale, p, scale - set(1));
    return e * reciprocal(e + set(2));
}

}  // namespace
