// Focal and dice loss of masks and their gradients, for one instruction set: a pass over the logits, and nothing as large
// as they are but the gradient, where MindSpore's operators keep a dozen such maps for the backward pass. Included by
// isa.cpp.
#pragma once

#include "kernels.h"
#include "simd.h"
#include "thread_pool.h"

namespace {

using mindvideo::MaskRows;

constexpr int64_t kPixelsSummed = 2048;  // in float32, before they are added to a double

struct Pixel {
  Vec probability;
  Vec small;  // exp(-|logit|)
};

inline Pixel pixel(Vec logit) {
  const Vec one = Vec::all(1.f), small = exponential(Vec::zero() - logit.magnitude());
  const Vec less = small / (one + small);  // the smaller of p and 1 - p
  return {pick(below(logit, Vec::zero()), less, one - less), small};
}

// log(1 + x) for x from 0 to 1, to 1e-7 of it: 2 atanh(x / (2 + x)).
inline Vec log_of_one_plus(Vec x) {
  const Vec s = x / (x + Vec::all(2.f)), square = s * s;
  constexpr float series[] = {1.f / 11, 1.f / 9, 1.f / 7, 1.f / 5, 1.f / 3, 1.f};
  Vec p = Vec::all(1.f / 13);
  for (const float c : series) p = p.fma(square, Vec::all(c));
  return p * (s + s);
}

// How many of the pixels from the first one on are summed in float32.
inline int64_t piece(int64_t pixels, int64_t first) {
  return pixels - first < kPixelsSummed ? pixels - first : kPixelsSummed;
}

// Zero from lane n on.
inline Vec only(Vec x, int n) {
  if (n < 0) return x;
  float lanes[Vec::width];
  x.store(lanes);
  return Vec::load(lanes, n);
}

// alpha for the pixels of objects, 1 - alpha for the others; below 0 all count the same.
inline Vec weights(Vec target, float alpha) {
  const Vec one = Vec::all(1.f);
  return alpha < 0 ? one : target * Vec::all(alpha) + (one - target) * Vec::all(1.f - alpha);
}

// Cross-entropy times the square of what the probability misses. Row r of the logits [rows, pixels] is compared with row
// r % targets of the targets -> the means [rows].
bool focal_rows(const MaskRows &s, float alpha, const float *logits, const float *targets, float *means) {
  auto body = [&](int64_t row, int) {
    const float *const own = logits + row * s.pixels, *const wanted = targets + row % s.targets * s.pixels;
    double sum = 0;
    for (int64_t first = 0; first < s.pixels; first += kPixelsSummed) {
      Vec losses = Vec::zero();
      for_vectors(piece(s.pixels, first), [&](int64_t i, int n) __attribute__((always_inline)) {
        const Vec x = load(own + first + i, n), t = load(wanted + first + i, n);
        const Pixel at = pixel(x);
        const Vec entropy = x.where_positive(x) - x * t + log_of_one_plus(at.small);
        const Vec missing = at.probability + t - at.probability * t * Vec::all(2.f);
        losses = losses + only(entropy * missing * missing * weights(t, alpha), n);
      });
      sum += losses.sum();
    }
    means[row] = static_cast<float>(sum / s.pixels);
  };
  mindvideo::parallel_for(s.rows, body);
  return true;
}

bool focal_rows_gradient(const MaskRows &s, float alpha, const float *logits, const float *targets,
                         const float *gradient, float *grad_logits) {
  auto body = [&](int64_t row, int) {
    const float *const own = logits + row * s.pixels, *const wanted = targets + row % s.targets * s.pixels;
    const Vec factor = Vec::all(gradient[row] / s.pixels), one = Vec::all(1.f), two = Vec::all(2.f);
    for_vectors(s.pixels, [&](int64_t i, int n) __attribute__((always_inline)) {
      const Vec x = load(own + i, n), t = load(wanted + i, n);
      const Pixel at = pixel(x);
      const Vec p = at.probability, entropy = x.where_positive(x) - x * t + log_of_one_plus(at.small);
      const Vec missing = p + t - p * t * two, slope = p * (one - p) * (one - t * two);
      const Vec of_x = missing * ((p - t) * missing + entropy * slope * two);
      store(of_x * weights(t, alpha) * factor, grad_logits + row * s.pixels + i, n);
    });
  };
  mindvideo::parallel_for(s.rows, body);
  return true;
}

// -> [rows, 2]: the sums of probability times target, and of probability plus target.
bool dice_rows(const MaskRows &s, const float *logits, const float *targets, float *sums) {
  auto body = [&](int64_t row, int) {
    const float *const own = logits + row * s.pixels, *const wanted = targets + row % s.targets * s.pixels;
    double shared = 0, both = 0;
    for (int64_t first = 0; first < s.pixels; first += kPixelsSummed) {
      Vec of_shared = Vec::zero(), of_both = Vec::zero();
      for_vectors(piece(s.pixels, first), [&](int64_t i, int n) __attribute__((always_inline)) {
        const Vec p = pixel(load(own + first + i, n)).probability, t = load(wanted + first + i, n);
        of_shared = of_shared + p * t, of_both = of_both + only(p, n) + t;
      });
      shared += of_shared.sum(), both += of_both.sum();
    }
    sums[2 * row] = static_cast<float>(shared), sums[2 * row + 1] = static_cast<float>(both);
  };
  mindvideo::parallel_for(s.rows, body);
  return true;
}

// gradient [rows, 2], of both sums.
bool dice_rows_gradient(const MaskRows &s, const float *logits, const float *targets, const float *gradient,
                        float *grad_logits) {
  auto body = [&](int64_t row, int) {
    const float *const own = logits + row * s.pixels, *const wanted = targets + row % s.targets * s.pixels;
    const Vec of_shared = Vec::all(gradient[2 * row]), of_both = Vec::all(gradient[2 * row + 1]), one = Vec::all(1.f);
    for_vectors(s.pixels, [&](int64_t i, int n) __attribute__((always_inline)) {
      const Vec p = pixel(load(own + i, n)).probability;
      store(p * (one - p) * load(wanted + i, n).fma(of_shared, of_both), grad_logits + row * s.pixels + i, n);
    });
  };
  mindvideo::parallel_for(s.rows, body);
  return true;
}

}  // namespace
