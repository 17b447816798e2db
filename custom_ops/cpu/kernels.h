// The kernels that exist once per instruction set, and the choice between them at run time.
#pragma once

#include <array>
#include <cstdint>

namespace mindvideo {

struct AttentionShape {
  int64_t N, S, M, D, Lq, L, P;
  const int32_t *spatial_shapes;     // [L, 2] height, width
  const int32_t *level_start_index;  // [L]
};

// B clips, M heads, R queries, S keys, D channels a head; how far apart the biases of two clips and two queries lie, or 0.
struct DenseAttentionShape {
  int64_t B, M, R, S, D, bias_batch, bias_row;
};

// N sequences of R queries and S keys of C channels, those of the heads one after the other; the floats of a row of each
// tensor, and where its channels begin in the row.
struct ShortAttentionShape {
  int64_t N, R, S, C, heads;
  std::array<int64_t, 3> row, begin;  // of query, key, value
  float scale;
};

struct ConvShape {
  int64_t B, C, H, W, outputs, kernel_h, kernel_w, out_h, out_w;
  int stride, padding, dilation;
};

// Maps whose size stays, and a square kernel of an odd side.
struct DepthwiseShape {
  int64_t B, C, H, W, kernel;
};

// Which mask is drawn, and the factor on what stays.
struct DropoutStream {
  int32_t iteration, offset, threshold;
  float scale;
};

// F frames of H x W cells with a row of numbers each, `stride` pixels apart; N queries with so many parameters each.
struct DynamicMaskShape {
  int64_t F, channels, H, W, N, parameters, stride;
};

// F frames with Q maps of C channels each; for each row and column of the new size H x W where it lies in the old, h x w.
struct JoinShape {
  int64_t F, Q, C, h, w, H, W;
  const int32_t *rows, *columns;
};

struct GroupShape {
  int64_t B, C, positions, groups;
  float epsilon;
  bool relu;
};

// Rows of logits, each compared with one of fewer or as many targets: the first with the first, and so on, over and over.
struct MaskRows {
  int64_t rows, targets, pixels;
};

// What is done to the colours of a picture, in this order.
struct Colours {
  float brightness;       // added
  float contrast_before;  // factor before the change of saturation and hue
  float saturation;       // factor
  float hue;              // degrees
  float contrast_after;   // factor after it
  bool wrap;              // levels beyond 0..255 wrap around instead of being clipped
  std::array<int, 3> place;  // of each channel in a pixel of the result
};

// Every function that returns a bool returns false when scratch memory could not be had. Tensors are laid out as the README says.
struct Kernels {
  const char *name;
  bool (*attention_forward)(const AttentionShape &, const float *value, const float *locations, const float *weights,
                            float *output);
  bool (*attention_backward)(const AttentionShape &, const float *value, const float *locations, const float *weights,
                             const float *gradient, float *grad_value, float *grad_locations, float *grad_weights);
  // bias may be null.
  bool (*dense_attention)(const DenseAttentionShape &, const float *query, const float *key, const float *value,
                          const float *bias, float *output);
  // bias [S] or null, the same for all sequences.
  bool (*short_attention)(const ShortAttentionShape &, const float *query, const float *key, const float *value,
                          const float *bias, float *output);
  // rows x depth, outputs x depth.
  bool (*dense_layer)(int64_t rows, int64_t depth, int64_t outputs, const float *x, const float *weight,
                      const float *bias, float *output);
  bool (*dense_layer_input_gradient)(int64_t rows, int64_t depth, int64_t outputs, const float *gradient,
                                     const float *weight, float *grad_x);
  bool (*dense_layer_weight_gradient)(int64_t rows, int64_t depth, int64_t outputs, const float *x,
                                      const float *gradient, float *grad_weight, float *grad_bias);
  // scale and shift for each output; residual may be null.
  bool (*dense_convolution)(const ConvShape &, const float *x, const float *weight, const float *scale,
                            const float *shift, const float *residual, bool relu, float *output);
  // Of the forward pass's shape.
  bool (*dense_convolution_input_gradient)(const ConvShape &, const float *gradient, const float *weight,
                                           const float *scale, float *grad_x);
  bool (*dense_convolution_weight_gradient)(const ConvShape &, const float *x, const float *gradient, const float *scale,
                                            float *grad_weight, float *grad_shift);
  bool (*depthwise_convolution)(const DepthwiseShape &, const float *x, const float *weight, bool turned, float *output);
  bool (*depthwise_weight_gradient)(const DepthwiseShape &, const float *x, const float *gradient, float *grad_weight);
  bool (*gelu)(int64_t count, const float *x, float *output);
  bool (*gelu_gradient)(int64_t count, const float *x, const float *gradient, float *grad_x);
  bool (*dropout)(int64_t rows, int64_t columns, const DropoutStream &, const float *x, float *output);
  // kernel, stride and padding of the shape; it has no weights.
  bool (*max_pool)(const ConvShape &, const float *x, float *output);
  bool (*dynamic_masks)(const DynamicMaskShape &, const float *features, const float *parameters,
                        const float *references, float *output);
  bool (*join_nearest)(const JoinShape &, const float *x, const float *fine, float *output);
  bool (*join_nearest_gradient)(const JoinShape &, const float *gradient, float *grad_x, float *grad_fine);
  bool (*focal_rows)(const MaskRows &, float alpha, const float *logits, const float *targets, float *means);
  bool (*focal_rows_gradient)(const MaskRows &, float alpha, const float *logits, const float *targets,
                              const float *gradient, float *grad_logits);
  bool (*dice_rows)(const MaskRows &, const float *logits, const float *targets, float *sums);
  bool (*dice_rows_gradient)(const MaskRows &, const float *logits, const float *targets, const float *gradient,
                             float *grad_logits);
  bool (*conv_forward)(const ConvShape &, const float *x, const float *offset, const float *weight, float *output);
  bool (*conv_backward)(const ConvShape &, const float *x, const float *offset, const float *weight,
                        const float *gradient, float *grad_x, float *grad_offset, float *grad_weight);
  // residual may be null. rows x channels.
  bool (*layer_norm_forward)(int64_t rows, int64_t channels, float epsilon, const float *x, const float *residual,
                             const float *weight, const float *bias, float *output);
  bool (*layer_norm_backward)(int64_t rows, int64_t channels, float epsilon, const float *x, const float *residual,
                              const float *weight, const float *gradient, float *grad_x, float *grad_weight,
                              float *grad_bias);
  bool (*group_norm_forward)(const GroupShape &, const float *x, const float *weight, const float *bias,
                             float *output);
  bool (*group_norm_backward)(const GroupShape &, const float *x, const float *weight, const float *bias,
                              const float *gradient, float *grad_x, float *grad_weight, float *grad_bias);
  // `count` pixels of three bytes from `source` on, or to its left where they are mirrored.
  void (*distort_row)(const Colours &, const uint8_t *source, bool mirrored, int64_t count, uint8_t *result);
};

extern const Kernels kernels_plain;
#ifdef MINDVIDEO_X86
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#endif

// The best set for this processor; MINDVIDEO_CPU_ISA=plain|avx2|avx512 lowers the choice.
const Kernels &kernels();

}  // namespace mindvideo
