// One vector type for the instruction set that this file is compiled for. Included only by sources that build.py compiles
// once per instruction set; everything here has internal linkage, so that no wider code leaks into another object.
#pragma once

#include <cstdint>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)

struct Vec {
  static constexpr int width = 16;
  __m512 v;
  static Vec zero() { return {_mm512_setzero_ps()}; }
  static Vec all(float x) { return {_mm512_set1_ps(x)}; }
  static Vec load(const float *p) { return {_mm512_loadu_ps(p)}; }
  static Vec load(const float *p, int n) { return {_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p)}; }
  void store(float *p) const { _mm512_storeu_ps(p, v); }
  void store(float *p, int n) const { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v); }
  Vec operator+(Vec o) const { return {_mm512_add_ps(v, o.v)}; }
  Vec operator-(Vec o) const { return {_mm512_sub_ps(v, o.v)}; }
  Vec operator*(Vec o) const { return {_mm512_mul_ps(v, o.v)}; }
  Vec operator/(Vec o) const { return {_mm512_div_ps(v, o.v)}; }
  Vec magnitude() const { return {_mm512_abs_ps(v)}; }
  // this * a + b, rounded once
  Vec fma(Vec a, Vec b) const { return {_mm512_fmadd_ps(v, a.v, b.v)}; }
  // b - this * a, rounded once
  Vec negative_fma(Vec a, Vec b) const { return {_mm512_fnmadd_ps(v, a.v, b.v)}; }
  // this where gate > 0, else 0
  Vec where_positive(Vec gate) const {
    return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(gate.v, _mm512_setzero_ps(), _CMP_GT_OQ), v)};
  }
  float sum() const { return _mm512_reduce_add_ps(v); }
  float largest() const { return _mm512_reduce_max_ps(v); }
};

inline Vec least(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
inline Vec greatest(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
inline __mmask16 equal(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
inline __mmask16 below(Vec a, Vec b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
inline Vec pick(__mmask16 condition, Vec yes, Vec no) { return {_mm512_mask_blend_ps(condition, no.v, yes.v)}; }

inline __m256 halves(Vec x) {
  return _mm256_add_ps(_mm512_castps512_ps256(x.v),
                       _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(x.v), 1)));
}

#elif defined(__AVX2__)

alignas(32) const int32_t kTailMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};

struct Vec {
  static constexpr int width = 8;
  __m256 v;
  static __m256i mask(int n) { return _mm256_loadu_si256((const __m256i *)(kTailMask + 8 - n)); }
  static Vec zero() { return {_mm256_setzero_ps()}; }
  static Vec all(float x) { return {_mm256_set1_ps(x)}; }
  static Vec load(const float *p) { return {_mm256_loadu_ps(p)}; }
  static Vec load(const float *p, int n) { return {_mm256_maskload_ps(p, mask(n))}; }
  void store(float *p) const { _mm256_storeu_ps(p, v); }
  void store(float *p, int n) const { _mm256_maskstore_ps(p, mask(n), v); }
  Vec operator+(Vec o) const { return {_mm256_add_ps(v, o.v)}; }
  Vec operator-(Vec o) const { return {_mm256_sub_ps(v, o.v)}; }
  Vec operator*(Vec o) const { return {_mm256_mul_ps(v, o.v)}; }
  Vec operator/(Vec o) const { return {_mm256_div_ps(v, o.v)}; }
  Vec magnitude() const { return {_mm256_andnot_ps(_mm256_set1_ps(-0.f), v)}; }
  Vec fma(Vec a, Vec b) const { return {_mm256_fmadd_ps(v, a.v, b.v)}; }
  Vec negative_fma(Vec a, Vec b) const { return {_mm256_fnmadd_ps(v, a.v, b.v)}; }
  Vec where_positive(Vec gate) const {
    return {_mm256_and_ps(v, _mm256_cmp_ps(gate.v, _mm256_setzero_ps(), _CMP_GT_OQ))};
  }
  float sum() const {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
  }
  float largest() const {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
  }
};

inline Vec least(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vec greatest(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
inline __m256 equal(Vec a, Vec b) { return _mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ); }
inline __m256 below(Vec a, Vec b) { return _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ); }
inline Vec pick(__m256 condition, Vec yes, Vec no) { return {_mm256_blendv_ps(no.v, yes.v, condition)}; }

inline __m256 halves(Vec x) { return x.v; }

#else

// Plain code for any machine; four lanes, which compilers turn into whatever vectors exist.
struct Vec {
  static constexpr int width = 4;
  typedef float Lanes __attribute__((vector_size(16)));
  Lanes v;
  static Vec zero() { return all(0); }
  static Vec all(float x) { return {Lanes{x, x, x, x}}; }
  static Vec load(const float *p) { return {Lanes{p[0], p[1], p[2], p[3]}}; }
  static Vec load(const float *p, int n) {
    Vec r = zero();
    for (int i = 0; i < n; ++i) r.v[i] = p[i];
    return r;
  }
  void store(float *p) const { store(p, 4); }
  void store(float *p, int n) const {
    for (int i = 0; i < n; ++i) p[i] = v[i];
  }
  Vec operator+(Vec o) const { return {v + o.v}; }
  Vec operator-(Vec o) const { return {v - o.v}; }
  Vec operator*(Vec o) const { return {v * o.v}; }
  Vec operator/(Vec o) const { return {v / o.v}; }
  Vec magnitude() const { return {v < 0 ? -v : v}; }
  Vec fma(Vec a, Vec b) const { return {v * a.v + b.v}; }
  Vec negative_fma(Vec a, Vec b) const { return {b.v - v * a.v}; }
  Vec where_positive(Vec gate) const { return {gate.v > 0 ? v : zero().v}; }
  float sum() const { return (v[0] + v[2]) + (v[1] + v[3]); }
  float largest() const {
    const float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
    return a > b ? a : b;
  }
};

typedef int32_t Choice __attribute__((vector_size(16)));

inline Vec least(Vec a, Vec b) { return {a.v < b.v ? a.v : b.v}; }
inline Vec greatest(Vec a, Vec b) { return {a.v > b.v ? a.v : b.v}; }
inline Choice equal(Vec a, Vec b) { return a.v == b.v; }
inline Choice below(Vec a, Vec b) { return a.v < b.v; }
inline Vec pick(Choice condition, Vec yes, Vec no) { return {condition ? yes.v : no.v}; }

#endif

// 2^n for whole numbers n from -126 to 127.
inline Vec power_of_two(Vec n) {
#if defined(__AVX512F__)
  return {_mm512_scalef_ps(_mm512_set1_ps(1.f), n.v)};
#elif defined(__AVX2__)
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127)), 23))};
#else
  return {(Vec::Lanes)((__builtin_convertvector(n.v, Choice) + 127) << 23)};
#endif
}

// exp(x) for x <= 0, to 1e-7 of it; 0 below -87, where it leaves the range of normal numbers; NaN stays NaN.
inline Vec exponential(Vec x) {
  const Vec rounder = Vec::all(12582912.f);  // 1.5 * 2^23: adding it leaves no digits after the point
  const Vec n = Vec::all(1.44269504f).fma(x, rounder) - rounder;
  const Vec r = n.negative_fma(Vec::all(-2.12194440e-4f), n.negative_fma(Vec::all(0.693359375f), x));
  constexpr float series[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
  Vec p = Vec::all(1.9875691500e-4f);
  for (const float c : series) p = p.fma(r, Vec::all(c));
  const Vec y = p.fma(r * r, r + Vec::all(1.f)) * power_of_two(n);
  return pick(below(x, Vec::all(-87.f)), Vec::zero(), y);
}

// The sums of four vectors at once.
inline void sum4(Vec a, Vec b, Vec c, Vec d, float out[4]) {
#if defined(__AVX2__) || defined(__AVX512F__)
  const __m256 x = _mm256_hadd_ps(_mm256_hadd_ps(halves(a), halves(b)), _mm256_hadd_ps(halves(c), halves(d)));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
#else
  out[0] = a.sum(), out[1] = b.sum(), out[2] = c.sum(), out[3] = d.sum();
#endif
}

// Calls body(offset, n) over [0, count) in steps of a whole vector, then once for the rest; n < 0 means a whole vector.
template <typename Body>
inline __attribute__((always_inline)) void for_vectors(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + Vec::width <= count; i += Vec::width) body(i, -1);
  if (i < count) body(i, static_cast<int>(count - i));
}

inline Vec load(const float *p, int n) { return n < 0 ? Vec::load(p) : Vec::load(p, n); }
inline void store(Vec x, float *p, int n) { n < 0 ? x.store(p) : x.store(p, n); }

}  // namespace
