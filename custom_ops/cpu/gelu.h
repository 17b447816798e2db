// GELU, x times the normal distribution's probability below x, and its gradient, for one instruction set: one pass over
// memory where MindSpore's operators make seven. Included by isa.cpp.
#pragma once

#include "kernels.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

constexpr int64_t kNumbersAtOnce = 1 << 14;

struct Normal {
  Vec below;    // the probability of less than x
  Vec density;  // at x
};

// To 3e-7 of the smaller of the two probabilities; the numbers come from benchmarks/gaussian_tail.py.
inline Normal normal(Vec x) {
  constexpr float series[] = {-2.136509940e-01f, 4.395348922e-01f, -3.754436022e-01f, 5.857068472e-02f, -1.456900560e-02f,
                              7.559355437e-02f,  1.799484438e-01f, 2.461448829e-01f,  2.821590529e-01f, 2.820923856e-01f};
  const Vec one = Vec::all(1.f), bell = exponential(x * x * Vec::all(-0.5f));
  const Vec t = one / x.magnitude().fma(Vec::all(0.35355339f), one);  // 1 / (1 + z / 2), z = |x| / sqrt(2)
  Vec p = Vec::all(3.961971009e-02f);
  for (const float c : series) p = p.fma(t, Vec::all(c));
  const Vec tail = p * t * bell * Vec::all(0.5f);
  return {pick(::below(x, Vec::zero()), tail, one - tail), bell * Vec::all(0.39894228f)};
}

// body(offset, n) over [0, count), cut into pieces for the threads.
template <typename Body>
inline void for_pieces(int64_t count, Body body) {
  auto piece = [&](int64_t unit, int) {
    const int64_t first = unit * kNumbersAtOnce, own = count - first < kNumbersAtOnce ? count - first : kNumbersAtOnce;
    for_vectors(own, [&](int64_t i, int n) __attribute__((always_inline)) { body(first + i, n); });
  };
  mindvideo::parallel_for((count + kNumbersAtOnce - 1) / kNumbersAtOnce, piece);
}

bool gelu(int64_t count, const float *x, float *output) {
  for_pieces(count, [=](int64_t i, int n) __attribute__((always_inline)) {
    const Vec own = load(x + i, n);
    store(own * normal(own).below, output + i, n);
  });
  return true;
}

bool gelu_gradient(int64_t count, const float *x, const float *gradient, float *grad_x) {
  for_pieces(count, [=](int64_t i, int n) __attribute__((always_inline)) {
    const Vec own = load(x + i, n);
    const Normal at = normal(own);
    store(load(gradient + i, n) * own.fma(at.density, at.below), grad_x + i, n);
  });
  return true;
}

}  // namespace
