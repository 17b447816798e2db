// Multi-scale deformable attention for one instruction set. Included by isa.cpp.
#pragma once

#include <cstring>

#include "bilinear.h"
#include "kernels.h"
#include "scratch.h"
#include "thread_pool.h"

namespace {

using mindvideo::AttentionShape;

// Where the numbers of one image b and one head m lie.
struct HeadView {
  const AttentionShape &s;
  int64_t b, m;

  int64_t row_stride() const { return s.M * s.D; }
  int64_t first_value() const { return (b * s.S * s.M + m) * s.D; }
  int64_t output(int64_t q) const { return ((b * s.Lq + q) * s.M + m) * s.D; }
  int64_t sample(int64_t q, int64_t level) const { return (((b * s.Lq + q) * s.M + m) * s.L + level) * s.P; }
  int32_t height(int64_t level) const { return s.spatial_shapes[2 * level]; }
  int32_t width(int64_t level) const { return s.spatial_shapes[2 * level + 1]; }
  int64_t start(int64_t level) const { return s.level_start_index[level]; }
  int64_t pixels(int64_t level) const { return static_cast<int64_t>(height(level)) * width(level); }
};

// A run of queries and points of one level, small enough for a SampleBlock.
struct Run {
  int64_t level, first_query, queries, first_point, points;
};

inline void load_positions(const HeadView &view, const Run &run, const float *locations, SampleBlock &block) {
  const float height = static_cast<float>(view.height(run.level)), width = static_cast<float>(view.width(run.level));
  int64_t i = 0;
  for (int64_t q = 0; q < run.queries; ++q) {
    const float *from = locations + 2 * (view.sample(run.first_query + q, run.level) + run.first_point);
    for (int64_t p = 0; p < run.points; ++p, ++i) block.x[i] = from[2 * p], block.y[i] = from[2 * p + 1];
  }
  for (int64_t j = 0; j < i; ++j) {
    block.x[j] = block.x[j] * width - 0.5f;
    block.y[j] = block.y[j] * height - 0.5f;
  }
  block.find_corners(i, view.height(run.level), view.width(run.level));
}

// Calls body(run) for the queries [begin, end) of one level, in runs that fit a SampleBlock.
template <typename Body>
inline void for_runs(const HeadView &view, int64_t level, int64_t begin, int64_t end, Body body) {
  const int64_t points = view.s.P < kBlock ? view.s.P : kBlock, queries = kBlock / points;
  for (int64_t q = begin; q < end; q += queries)
    for (int64_t p = 0; p < view.s.P; p += points)
      body(Run{level, q, end - q < queries ? end - q : queries, p, view.s.P - p < points ? view.s.P - p : points});
}

// Adds one query's samples of a run, channels [c, c + count) with count at most NV vectors.
template <int NV>
inline void add_samples(const SampleBlock &block, const float *image, int64_t stride, const float *outside,
                        const float *weights, int64_t first, int64_t points, int64_t c, int64_t count, float *output) {
  const int tail = static_cast<int>(count - (NV - 1) * Vec::width);
  const int last = tail == Vec::width ? -1 : tail;
  Vec sum[NV];
  for (int v = 0; v < NV; ++v) sum[v] = load(output + c + v * Vec::width, v == NV - 1 ? last : -1);
  for (int64_t p = 0; p < points; ++p) {
    if (!block.touches(first + p)) continue;
    const float *pixel[4];
    float corner[4];
    block.pixels(first + p, image, stride, outside, pixel);
    block.weights(first + p, corner);
    const Vec weight[4] = {Vec::all(corner[0]), Vec::all(corner[1]), Vec::all(corner[2]), Vec::all(corner[3])};
    const Vec attention = Vec::all(weights[p]);
    for (int v = 0; v < NV; ++v)
      sum[v] = attention.fma(blend(pixel, weight, c + v * Vec::width, v == NV - 1 ? last : -1), sum[v]);
  }
  for (int v = 0; v < NV; ++v) store(sum[v], output + c + v * Vec::width, v == NV - 1 ? last : -1);
}

inline void add_run(const HeadView &view, const Run &run, const SampleBlock &block, const float *image, int64_t stride,
                    const float *outside, const float *weights, float *output) {
  for (int64_t q = 0; q < run.queries; ++q) {
    const float *attention = weights + view.sample(run.first_query + q, run.level) + run.first_point;
    float *to = output + view.output(run.first_query + q);
    for (int64_t c = 0; c < view.s.D; c += 4 * Vec::width) {
      const int64_t count = view.s.D - c < 4 * Vec::width ? view.s.D - c : 4 * Vec::width;
      const int64_t first = q * run.points;
#define MINDVIDEO_ADD(NV) add_samples<NV>(block, image, stride, outside, attention, first, run.points, c, count, to)
      switch ((count + Vec::width - 1) / Vec::width) {
        case 1: MINDVIDEO_ADD(1); break;
        case 2: MINDVIDEO_ADD(2); break;
        case 3: MINDVIDEO_ADD(3); break;
        default: MINDVIDEO_ADD(4); break;
      }
#undef MINDVIDEO_ADD
    }
  }
}

// Copies one head's pixels next to each other. Rows of one head lie M*D floats apart, which leaves most sets of a cache
// unused; with many queries the copy pays for itself.
inline void pack(const float *from, int64_t stride, int64_t rows, int64_t channels, float *to) {
  for (int64_t r = 0; r < rows; ++r) std::memcpy(to + r * channels, from + r * stride, channels * sizeof(float));
}

inline bool packing_pays(const AttentionShape &s) { return s.M > 1 && s.Lq * s.L * s.P * 4 >= 6 * s.S; }

bool attention_forward(const AttentionShape &s, const float *value, const float *locations, const float *weights,
                       float *output) {
  const int64_t heads = s.N * s.M;
  const int threads = mindvideo::thread_count();
  const bool packed = packing_pays(s) && heads >= 2 * threads;
  // Without packing a unit is a part of the queries, so that one image keeps every thread busy.
  const int64_t parts = packed ? 1 : (s.Lq + 63) / 64;
  const int64_t image_size = packed ? s.S * s.D : 0;
  Scratch scratch(threads * image_size + s.D);
  if (!scratch.ok()) return false;
  float *outside = scratch.get() + threads * image_size;
  std::memset(outside, 0, s.D * sizeof(float));

  auto unit_body = [&](int64_t unit, int thread) {
    const int64_t head = unit / parts, part = unit % parts;
    const HeadView view{s, head / s.M, head % s.M};
    const int64_t begin = part * s.Lq / parts, end = (part + 1) * s.Lq / parts;
    const float *image = value + view.first_value();
    int64_t stride = view.row_stride();
    if (packed) {
      float *copy = scratch.get() + thread * image_size;
      pack(image, stride, s.S, s.D, copy);
      image = copy, stride = s.D;
    }
    SampleBlock block;
    const int64_t step = s.P < kBlock ? kBlock / s.P : 1;
    for (int64_t q = begin; q < end; q += step) {
      const int64_t stop = q + step < end ? q + step : end;
      for (int64_t r = q; r < stop; ++r) std::memset(output + view.output(r), 0, s.D * sizeof(float));
      for (int64_t level = 0; level < s.L; ++level)
        for_runs(view, level, q, stop, [&](const Run &run) {
          load_positions(view, run, locations, block);
          add_run(view, run, block, image + view.start(level) * stride, stride, outside, weights, output);
        });
    }
  };
  mindvideo::parallel_for(heads * parts, unit_body);
  return true;
}

struct Gradients {
  const float *weights, *gradient;
  float *grad_locations, *grad_weights;
};

inline void backward_run(const HeadView &view, const Run &run, const SampleBlock &block, const Gradients &g,
                         const float *image, float *grad_image, int64_t stride, float *outside) {
  const float height = static_cast<float>(view.height(run.level)), width = static_cast<float>(view.width(run.level));
  float *discarded = outside + view.s.D;
  for (int64_t q = 0; q < run.queries; ++q) {
    const float *gradient = g.gradient + view.output(run.first_query + q);
    const int64_t sample = view.sample(run.first_query + q, run.level) + run.first_point;
    for (int64_t p = 0; p < run.points; ++p) {
      const int64_t i = q * run.points + p;
      float *to_location = g.grad_locations + 2 * (sample + p), *to_weight = g.grad_weights + sample + p;
      to_location[0] = to_location[1] = *to_weight = 0.f;
      if (!block.touches(i)) continue;
      const float *pixel[4];
      float *grad_pixel[4], corner[4], dots[4];
      block.pixels(i, image, stride, const_cast<const float *>(outside), pixel);
      block.pixels(i, grad_image, stride, discarded, grad_pixel);
      block.weights(i, corner);
      const float attention = g.weights[sample + p];
      backward_sample(gradient, attention, pixel, grad_pixel, corner, view.s.D, dots);
      *to_weight = (corner[0] * dots[0] + corner[1] * dots[1]) + (corner[2] * dots[2] + corner[3] * dots[3]);
      to_location[0] = width * attention * derivative_x(block.ly[i], dots);
      to_location[1] = height * attention * derivative_y(block.lx[i], dots);
    }
  }
}

// A unit is one level of one head of one image: it owns that part of grad_value, so nothing is shared, and the result
// does not depend on the number of threads.
bool attention_backward(const AttentionShape &s, const float *value, const float *locations, const float *weights,
                        const float *gradient, float *grad_value, float *grad_locations, float *grad_weights) {
  const int threads = mindvideo::thread_count();
  int64_t largest = 0;
  for (int64_t level = 0; level < s.L; ++level) {
    const int64_t pixels = HeadView{s, 0, 0}.pixels(level);
    if (pixels > largest) largest = pixels;
  }
  const bool packed = packing_pays(s);
  const int64_t image_size = packed ? largest * s.D : 0, share = 2 * image_size + round_up(2 * s.D, 16);
  Scratch scratch(threads * share);
  if (!scratch.ok()) return false;
  const Gradients g{weights, gradient, grad_locations, grad_weights};

  auto unit_body = [&](int64_t unit, int thread) {
    const int64_t level = unit % s.L, head = unit / s.L;
    const HeadView view{s, head / s.M, head % s.M};
    const int64_t rows = view.pixels(level), first = view.first_value() + view.start(level) * view.row_stride();
    float *copy = scratch.get() + thread * share, *grad_copy = copy + image_size, *outside = grad_copy + image_size;
    std::memset(outside, 0, 2 * s.D * sizeof(float));
    const float *image = value + first;
    float *grad_image = grad_value + first;
    int64_t stride = view.row_stride();
    if (packed) {
      pack(image, stride, rows, s.D, copy);
      std::memset(grad_copy, 0, rows * s.D * sizeof(float));
      image = copy, grad_image = grad_copy, stride = s.D;
    } else {
      for (int64_t r = 0; r < rows; ++r) std::memset(grad_image + r * stride, 0, s.D * sizeof(float));
    }
    SampleBlock block;
    for_runs(view, level, 0, s.Lq, [&](const Run &run) {
      load_positions(view, run, locations, block);
      backward_run(view, run, block, g, image, grad_image, stride, outside);
    });
    if (packed)
      for (int64_t r = 0; r < rows; ++r)
        std::memcpy(grad_value + first + r * view.row_stride(), grad_copy + r * s.D, s.D * sizeof(float));
  };
  mindvideo::parallel_for(s.N * s.M * s.L, unit_body);
  return true;
}

}  // namespace
