// Bilinear samples of an image whose pixels are rows of channels: the inner loops of deformable attention and
// deformable convolution, forward and backward.
#pragma once

#include <cstdint>

#include "simd.h"

namespace {

constexpr int64_t kBlock = 256;

// Up to kBlock sample positions and the four pixels around each, in the order (y0,x0) (y0,x1) (y1,x0) (y1,x1).
// A row of -1 is a pixel outside the image. ly, lx: how far the position is from y0, x0.
struct SampleBlock {
  alignas(64) float y[kBlock], x[kBlock];
  alignas(64) float ly[kBlock], lx[kBlock];
  alignas(64) int32_t row[4][kBlock];

  // Fills the corners of samples [0, count) from y and x. Every bound is strict, and NaN is outside. A coordinate is
  // replaced by 0 before it is converted, because converting one that no int can hold is undefined.
  void find_corners(int64_t count, int32_t height, int32_t width) {
    const float h = static_cast<float>(height), w = static_cast<float>(width);
    for (int64_t i = 0; i < count; ++i) {
      const int32_t inside = (y[i] > -1.f) & (x[i] > -1.f) & (y[i] < h) & (x[i] < w);
      const float yi = inside ? y[i] : 0.f, xi = inside ? x[i] : 0.f;
      int32_t y0 = static_cast<int32_t>(yi), x0 = static_cast<int32_t>(xi);
      y0 -= static_cast<float>(y0) > yi;
      x0 -= static_cast<float>(x0) > xi;
      ly[i] = yi - static_cast<float>(y0);
      lx[i] = xi - static_cast<float>(x0);
      const int32_t top = inside & (y0 >= 0) & (y0 < height), bottom = inside & (y0 + 1 < height);
      const int32_t left = (x0 >= 0) & (x0 < width), right = x0 + 1 < width;
      const int32_t first = y0 * width + x0;
      row[0][i] = top & left ? first : -1;
      row[1][i] = top & right ? first + 1 : -1;
      row[2][i] = bottom & left ? first + width : -1;
      row[3][i] = bottom & right ? first + width + 1 : -1;
    }
  }

  bool touches(int64_t i) const { return (row[0][i] & row[1][i] & row[2][i] & row[3][i]) != -1; }

  void weights(int64_t i, float weight[4]) const {
    const float hy = 1.f - ly[i], hx = 1.f - lx[i];
    weight[0] = hy * hx, weight[1] = hy * lx[i], weight[2] = ly[i] * hx, weight[3] = ly[i] * lx[i];
  }

  // The corner pixels of sample i in an image of `stride` floats a pixel; `outside` stands for those that do not exist.
  template <typename Float>
  void pixels(int64_t i, Float *image, int64_t stride, Float *outside, Float *pixel[4]) const {
    for (int k = 0; k < 4; ++k) pixel[k] = row[k][i] < 0 ? outside : image + row[k][i] * stride;
  }
};

// One vector of a sample: the corners at channel c.
inline Vec blend(const float *const pixel[4], const Vec weight[4], int64_t c, int n) {
  Vec s = load(pixel[0] + c, n) * weight[0];
  s = weight[1].fma(load(pixel[1] + c, n), s);
  s = weight[2].fma(load(pixel[2] + c, n), s);
  return weight[3].fma(load(pixel[3] + c, n), s);
}

// Gradients for one sample of `channels` channels. pixel[k] are the corner pixels; grad_pixel[k] receive
// weight[k] * scale * g. Returns in dots[k] the sums of g * pixel[k].
inline void backward_sample(const float *g, float scale, const float *const pixel[4], float *const grad_pixel[4],
                            const float weight[4], int64_t channels, float dots[4]) {
  Vec d0 = Vec::zero(), d1 = d0, d2 = d0, d3 = d0;
  const Vec w0 = Vec::all(weight[0] * scale), w1 = Vec::all(weight[1] * scale);
  const Vec w2 = Vec::all(weight[2] * scale), w3 = Vec::all(weight[3] * scale);
  for_vectors(channels, [&](int64_t c, int n) __attribute__((always_inline)) {
    const Vec gc = load(g + c, n);
    d0 = gc.fma(load(pixel[0] + c, n), d0);
    d1 = gc.fma(load(pixel[1] + c, n), d1);
    d2 = gc.fma(load(pixel[2] + c, n), d2);
    d3 = gc.fma(load(pixel[3] + c, n), d3);
    // One corner after the other: two corners outside the image share the same unused row.
    store(gc.fma(w0, load(grad_pixel[0] + c, n)), grad_pixel[0] + c, n);
    store(gc.fma(w1, load(grad_pixel[1] + c, n)), grad_pixel[1] + c, n);
    store(gc.fma(w2, load(grad_pixel[2] + c, n)), grad_pixel[2] + c, n);
    store(gc.fma(w3, load(grad_pixel[3] + c, n)), grad_pixel[3] + c, n);
  });
  sum4(d0, d1, d2, d3, dots);
}

// Derivatives of the sample with respect to y and x, from the dot products of backward_sample.
inline float derivative_y(float lx, const float dots[4]) {
  return (1.f - lx) * (dots[2] - dots[0]) + lx * (dots[3] - dots[1]);
}
inline float derivative_x(float ly, const float dots[4]) {
  return (1.f - ly) * (dots[1] - dots[0]) + ly * (dots[3] - dots[2]);
}

}  // namespace
