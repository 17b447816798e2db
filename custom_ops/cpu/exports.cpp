// The exported CPU operators: they check what they were given, then call the kernels of the best instruction set.
#include <atomic>

#include "../aot.h"
#include "assignment.h"
#include "half.h"
#include "instruction_set.h"
#include "kernels.h"
#include "thread_pool.h"

namespace mindvideo {
namespace {

const Kernels &choose() {
#ifdef MINDVIDEO_X86
  const InstructionSet best = best_instruction_set();
  if (best == InstructionSet::avx512) return kernels_avx512;
  if (best == InstructionSet::avx2) return kernels_avx2;
#endif
  return kernels_plain;
}

int finish(bool done, const char *op) { return done ? kOk : refuse(kOutOfMemory, op, "no memory for scratch space"); }

// Inputs value, spatial_shapes, level_start_index, locations, weights of a deformable attention call.
int read_attention(const Call &call, const char *op, AttentionShape &s) {
  if (!call.is(0, "float32") || !call.is(1, "int32") || !call.is(2, "int32") || !call.all_are(3, call.count - 1, "float32"))
    return refuse(kWrongType, op, "value, locations and weights must be float32, shapes and starts int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 2 || call.ranks[2] != 1 || call.ranks[3] != 6 || call.ranks[4] != 5)
    return refuse(kWrongShape, op, "expected [N,S,M,D], [L,2], [L], [N,Lq,M,L,P,2], [N,Lq,M,L,P]");
  if (!call.fits_int32()) return refuse(kTooLarge, op, "a tensor has more than 2^31 - 1 elements");
  s = {call.axis(0, 0), call.axis(0, 1), call.axis(0, 2), call.axis(0, 3), call.axis(3, 1), call.axis(3, 3),
       call.axis(3, 4), call.get<int32_t>(1), call.get<int32_t>(2)};
  const bool same = call.axis(3, 0) == s.N && call.axis(3, 2) == s.M && call.axis(3, 5) == 2 && call.axis(1, 0) == s.L &&
                    call.axis(1, 1) == 2 && call.axis(2, 0) == s.L && call.size(4) * 2 == call.size(3);
  if (!same) return refuse(kWrongShape, op, "value, locations, weights and levels do not fit together");
  int64_t next = 0;
  for (int64_t level = 0; level < s.L; ++level) {
    const int64_t height = s.spatial_shapes[2 * level], width = s.spatial_shapes[2 * level + 1];
    if (height < 0 || width < 0 || s.level_start_index[level] != next)
      return refuse(kWrongShape, op, "level_start_index is not the running sum of the levels' sizes");
    next += height * width;
  }
  if (next != s.S) return refuse(kWrongShape, op, "the levels' sizes do not add up to the rows of value");
  return kOk;
}

// Inputs x, offset, weight, geometry (stride, padding, dilation) of a deformable convolution call.
int read_conv(const Call &call, const char *op, ConvShape &s) {
  if (!call.all_are(0, 2, "float32") || !call.is(3, "int32") || !call.all_are(4, call.count - 1, "float32"))
    return refuse(kWrongType, op, "tensors must be float32, the geometry int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 4 || call.ranks[2] != 4 || call.size(3) != 3)
    return refuse(kWrongShape, op, "expected [B,C,H,W], [B,2*kh*kw,Ho,Wo], [O,C,kh,kw], [3]");
  if (!call.fits_int32()) return refuse(kTooLarge, op, "a tensor has more than 2^31 - 1 elements");
  const int32_t *geometry = call.get<int32_t>(3);
  s = {call.axis(0, 0), call.axis(0, 1), call.axis(0, 2), call.axis(0, 3), call.axis(2, 0), call.axis(2, 2),
       call.axis(2, 3), call.axis(1, 2), call.axis(1, 3), geometry[0], geometry[1], geometry[2]};
  if (call.axis(1, 0) != s.B || call.axis(1, 1) != 2 * s.kernel_h * s.kernel_w || call.axis(2, 1) != s.C)
    return refuse(kWrongShape, op, "x, offset and weight do not fit together");
  return kOk;
}

// The shape of a convolution of tensor `x` with tensor `weight` to tensor `y`; geometry is stride, padding, dilation.
ConvShape shape_of_convolution(const Call &call, int x, int weight, int y, const int32_t *geometry) {
  return {call.axis(x, 0), call.axis(x, 1), call.axis(x, 2), call.axis(x, 3), call.axis(weight, 0), call.axis(weight, 2),
          call.axis(weight, 3), call.axis(y, 2), call.axis(y, 3), geometry[0], geometry[1], geometry[2]};
}

bool fits(const Call &call, const ConvShape &s, int x, int weight, int y) {
  const auto fit = [&](int64_t size, int64_t kernel, int64_t out) {
    return (size + 2 * s.padding - s.dilation * (kernel - 1) - 1) / s.stride + 1 == out;
  };
  return s.stride > 0 && s.padding >= 0 && s.dilation > 0 && call.axis(weight, 1) == s.C && call.axis(y, 0) == s.B &&
         call.axis(x, 0) == s.B && call.axis(y, 1) == s.outputs && fit(s.H, s.kernel_h, s.out_h) &&
         fit(s.W, s.kernel_w, s.out_w);
}

struct NormCall {
  int64_t rows, channels;
  float epsilon;
};

// A normalisation call: x first, `vectors` tensors of [C] from index `first_vector` on, epsilon after them.
int check_norm(const Call &call, const char *op, int first_vector, int vectors, int64_t channels) {
  if (!call.all_are(0, call.count - 1, "float32")) return refuse(kWrongType, op, "every tensor must be float32");
  for (int index = first_vector; index < first_vector + vectors; ++index)
    if (call.size(index) != channels) return refuse(kWrongShape, op, "weight and bias must have one number per channel");
  return kOk;
}

int read_group(const Call &call, const char *op, GroupShape &s) {
  if (call.ranks[0] < 2) return refuse(kWrongShape, op, "expected x [B, C, ...]");
  const int status = check_norm(call, op, 1, 2, call.axis(0, 1));
  if (status != kOk) return status;
  // options: number of groups, epsilon, 1 for a ReLU
  const float *options = call.get<float>(3);
  const int64_t groups = static_cast<int64_t>(options[0]), C = call.axis(0, 1), B = call.axis(0, 0);
  if (call.size(3) != 3 || groups < 1 || C % groups != 0)
    return refuse(kWrongShape, op, "the channels cannot be split into that many groups");
  s = {B, C, B * C > 0 ? call.size(0) / (B * C) : 0, groups, options[1], options[2] != 0.f};
  return kOk;
}

constexpr const char *kNoHalf = "this processor has no instructions for bfloat16, or the compiler knew none";

}  // namespace

const Kernels &kernels() {
  static const Kernels &chosen = choose();
  return chosen;
}

const HalfKernels *half_kernels() {
#ifdef MINDVIDEO_HALF
  static const HalfInstructions best = best_half_instructions();
  if (best == HalfInstructions::amx) return &half_amx;
  if (best == HalfInstructions::avx512_bf16) return &half_avx512_bf16;
#endif
  return nullptr;
}

}  // namespace mindvideo

using namespace mindvideo;

#define MINDVIDEO_OP(name)                                                                             \
  MINDVIDEO_EXPORT int name(int count, void **data, int *ranks, int64_t **shapes, const char **types, \
                            void *stream, void *extra)

// Stops the operator with the right message unless the call has that many tensors.
#define MINDVIDEO_CALL(op, expected)                   \
  (void)stream, (void)extra;                           \
  const Call call{count, data, ranks, shapes, types};  \
  if (count != expected) return refuse(kWrongCount, op, "wrong number of tensors")

MINDVIDEO_OP(MsDeformAttnForward) {
  MINDVIDEO_CALL("MsDeformAttnForward", 6);
  AttentionShape s;
  if (const int status = read_attention(call, "MsDeformAttnForward", s)) return status;
  if (call.size(5) != s.N * s.Lq * s.M * s.D) return refuse(kWrongShape, "MsDeformAttnForward", "wrong output size");
  return finish(kernels().attention_forward(s, call.get<float>(0), call.get<float>(3), call.get<float>(4),
                                            call.get<float>(5)),
                "MsDeformAttnForward");
}

MINDVIDEO_OP(MsDeformAttnBackward) {
  MINDVIDEO_CALL("MsDeformAttnBackward", 9);
  AttentionShape s;
  if (const int status = read_attention(call, "MsDeformAttnBackward", s)) return status;
  if (call.size(5) != s.N * s.Lq * s.M * s.D || call.size(6) != call.size(0) || call.size(7) != call.size(3) ||
      call.size(8) != call.size(4))
    return refuse(kWrongShape, "MsDeformAttnBackward", "gradients must have the shapes of their tensors");
  return finish(kernels().attention_backward(s, call.get<float>(0), call.get<float>(3), call.get<float>(4),
                                             call.get<float>(5), call.get<float>(6), call.get<float>(7),
                                             call.get<float>(8)),
                "MsDeformAttnBackward");
}

// query [B,M,R,D], key and value [B,M,S,D], bias [B or 1, 1, R or 1, S] or [1,1,1,1] for none -> [B,M,R,D]
template <typename Compute>
static int dense_attention(const Call &call, const char *op, Compute compute) {
  if (!call.all_are(0, 4, "float32")) return refuse(kWrongType, op, "every tensor must be float32");
  for (int index = 0; index < 4; ++index)
    if (call.ranks[index] != 4) return refuse(kWrongShape, op, "expected four axes: [B,M,R,D], [B,M,S,D]");
  const int64_t B = call.axis(0, 0), M = call.axis(0, 1), R = call.axis(0, 2), D = call.axis(0, 3), S = call.axis(1, 2);
  const bool has_bias = call.size(3) != 1, per_clip = call.axis(3, 0) != 1, per_query = call.axis(3, 2) != 1;
  bool fit = S > 0 && call.size(1) == B * M * S * D && call.size(2) == call.size(1) && call.size(4) == call.size(0);
  fit = fit && call.axis(1, 3) == D && call.axis(2, 2) == S;
  if (has_bias) fit = fit && call.size(3) == (per_clip ? B : 1) * (per_query ? R : 1) * S && call.axis(3, 3) == S;
  if (!fit) return refuse(kWrongShape, op, "query, key, value, bias and result do not fit together");
  const DenseAttentionShape s{B, M, R, S, D, per_clip ? (per_query ? R * S : S) : 0, per_query ? S : 0};
  return finish(compute(s, call.get<float>(0), call.get<float>(1), call.get<float>(2),
                        has_bias ? call.get<float>(3) : nullptr, call.get<float>(4)),
                op);
}

MINDVIDEO_OP(DenseAttention) {
  MINDVIDEO_CALL("DenseAttention", 5);
  return dense_attention(call, "DenseAttention", kernels().dense_attention);
}

MINDVIDEO_OP(HalfDenseAttention) {
  MINDVIDEO_CALL("HalfDenseAttention", 5);
  const HalfKernels *const half = half_kernels();
  if (!half) return refuse(kNoInstructions, "HalfDenseAttention", kNoHalf);
  return dense_attention(call, "HalfDenseAttention", half->dense_attention);
}

// query [N,R,.], key and value [N,S,.], bias [S] or [1,1,1,1] for none, int32 (channels, heads, where the channels of query,
// key and value begin in their rows), factor on the queries [1] -> [N,R,channels]
MINDVIDEO_OP(ShortAttention) {
  MINDVIDEO_CALL("ShortAttention", 7);
  if (!call.all_are(0, 3, "float32") || !call.is(4, "int32") || !call.all_are(5, 6, "float32"))
    return refuse(kWrongType, "ShortAttention", "tensors must be float32, the layout int32");
  for (int index : {0, 1, 2, 6})
    if (call.ranks[index] != 3) return refuse(kWrongShape, "ShortAttention", "expected three axes: [N,R,.], [N,S,.]");
  if (call.size(4) != 5 || call.size(5) != 1) return refuse(kWrongShape, "ShortAttention", "expected layout [5], scale [1]");
  const int32_t *layout = call.get<int32_t>(4);
  const ShortAttentionShape s{call.axis(0, 0), call.axis(0, 1), call.axis(1, 1), layout[0], layout[1],
                              {call.axis(0, 2), call.axis(1, 2), call.axis(2, 2)}, {layout[2], layout[3], layout[4]},
                              call.get<float>(5)[0]};
  const bool has_bias = call.ranks[3] == 1;
  bool fit = s.S > 0 && s.heads > 0 && s.C > 0 && s.C % s.heads == 0 && call.axis(1, 0) == s.N && call.axis(2, 0) == s.N &&
             call.axis(2, 1) == s.S && call.axis(6, 0) == s.N && call.axis(6, 1) == s.R && call.axis(6, 2) == s.C;
  for (int index = 0; index < 3; ++index) fit = fit && s.begin[index] >= 0 && s.begin[index] + s.C <= s.row[index];
  if (!fit || (has_bias && call.size(3) != s.S))
    return refuse(kWrongShape, "ShortAttention", "query, key, value, bias, layout and result do not fit together");
  return finish(kernels().short_attention(s, call.get<float>(0), call.get<float>(1), call.get<float>(2),
                                          has_bias ? call.get<float>(3) : nullptr, call.get<float>(6)),
                "ShortAttention");
}

// x [N,K], weight [O,K], bias [O] -> [N,O]
template <typename Compute>
static int dense_layer(const Call &call, const char *op, Compute compute) {
  if (!call.all_are(0, 3, "float32")) return refuse(kWrongType, op, "every tensor must be float32");
  if (call.ranks[0] != 2 || call.ranks[1] != 2) return refuse(kWrongShape, op, "expected x [N,K], weight [O,K]");
  const int64_t N = call.axis(0, 0), K = call.axis(0, 1), O = call.axis(1, 0);
  if (call.axis(1, 1) != K || call.size(2) != O || call.size(3) != N * O)
    return refuse(kWrongShape, op, "x, weight, bias and result do not fit together");
  return finish(compute(N, K, O, call.get<float>(0), call.get<float>(1), call.get<float>(2), call.get<float>(3)), op);
}

MINDVIDEO_OP(DenseLayer) {
  MINDVIDEO_CALL("DenseLayer", 4);
  return dense_layer(call, "DenseLayer", kernels().dense_layer);
}

MINDVIDEO_OP(HalfDenseLayer) {
  MINDVIDEO_CALL("HalfDenseLayer", 4);
  const HalfKernels *const half = half_kernels();
  if (!half) return refuse(kNoInstructions, "HalfDenseLayer", kNoHalf);
  return dense_layer(call, "HalfDenseLayer", half->dense_layer);
}

// gradient [N,O], weight [O,K] -> [N,K]
MINDVIDEO_OP(DenseLayerInputGradient) {
  MINDVIDEO_CALL("DenseLayerInputGradient", 3);
  if (!call.all_are(0, 2, "float32")) return refuse(kWrongType, "DenseLayerInputGradient", "every tensor must be float32");
  if (call.ranks[0] != 2 || call.ranks[1] != 2)
    return refuse(kWrongShape, "DenseLayerInputGradient", "expected gradient [N,O], weight [O,K]");
  const int64_t N = call.axis(0, 0), O = call.axis(0, 1), K = call.axis(1, 1);
  if (call.axis(1, 0) != O || call.size(2) != N * K)
    return refuse(kWrongShape, "DenseLayerInputGradient", "gradient, weight and result do not fit together");
  return finish(kernels().dense_layer_input_gradient(N, K, O, call.get<float>(0), call.get<float>(1), call.get<float>(2)),
                "DenseLayerInputGradient");
}

// x [N,K], gradient [N,O] -> [O,K], [O]
MINDVIDEO_OP(DenseLayerWeightGradient) {
  MINDVIDEO_CALL("DenseLayerWeightGradient", 4);
  if (!call.all_are(0, 3, "float32"))
    return refuse(kWrongType, "DenseLayerWeightGradient", "every tensor must be float32");
  if (call.ranks[0] != 2 || call.ranks[1] != 2)
    return refuse(kWrongShape, "DenseLayerWeightGradient", "expected x [N,K], gradient [N,O]");
  const int64_t N = call.axis(0, 0), K = call.axis(0, 1), O = call.axis(1, 1);
  if (call.axis(1, 0) != N || call.size(2) != O * K || call.size(3) != O)
    return refuse(kWrongShape, "DenseLayerWeightGradient", "x, gradient and results do not fit together");
  return finish(kernels().dense_layer_weight_gradient(N, K, O, call.get<float>(0), call.get<float>(1),
                                                      call.get<float>(2), call.get<float>(3)),
                "DenseLayerWeightGradient");
}

// x [B,C,H,W], weight [O,C,kh,kw], scale [O], shift [O], residual [B,O,Ho,Wo] or [1] for none, geometry (stride, padding,
// dilation, 1 for a ReLU) -> [B,O,Ho,Wo]
template <typename Compute>
static int dense_convolution(const Call &call, const char *op, Compute compute) {
  if (!call.all_are(0, 4, "float32") || !call.is(5, "int32") || !call.is(6, "float32"))
    return refuse(kWrongType, op, "tensors must be float32, the geometry int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 4 || call.ranks[6] != 4 || call.size(5) != 4)
    return refuse(kWrongShape, op, "expected [B,C,H,W], [O,C,kh,kw], [O], [O], [B,O,Ho,Wo] or [1], [4]");
  const int32_t *geometry = call.get<int32_t>(5);
  const ConvShape s = shape_of_convolution(call, 0, 1, 6, geometry);
  const bool has_residual = call.ranks[4] == 4;
  const bool fit = fits(call, s, 0, 1, 6) && call.size(2) == s.outputs && call.size(3) == s.outputs;
  if (!fit || (has_residual && call.size(4) != call.size(6)))
    return refuse(kWrongShape, op, "x, weight, scale, shift, residual and result do not fit together");
  return finish(compute(s, call.get<float>(0), call.get<float>(1), call.get<float>(2), call.get<float>(3),
                        has_residual ? call.get<float>(4) : nullptr, geometry[3] != 0, call.get<float>(6)),
                op);
}

MINDVIDEO_OP(DenseConvolution) {
  MINDVIDEO_CALL("DenseConvolution", 7);
  return dense_convolution(call, "DenseConvolution", kernels().dense_convolution);
}

MINDVIDEO_OP(HalfDenseConvolution) {
  MINDVIDEO_CALL("HalfDenseConvolution", 7);
  const HalfKernels *const half = half_kernels();
  if (!half) return refuse(kNoInstructions, "HalfDenseConvolution", kNoHalf);
  return dense_convolution(call, "HalfDenseConvolution", half->dense_convolution);
}

// gradient [B,O,Ho,Wo], weight [O,C,kh,kw], scale [O], geometry (stride, padding, dilation) -> [B,C,H,W]
MINDVIDEO_OP(DenseConvolutionInputGradient) {
  MINDVIDEO_CALL("DenseConvolutionInputGradient", 5);
  if (!call.all_are(0, 2, "float32") || !call.is(3, "int32") || !call.is(4, "float32"))
    return refuse(kWrongType, "DenseConvolutionInputGradient", "tensors must be float32, the geometry int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 4 || call.ranks[4] != 4 || call.size(3) != 3)
    return refuse(kWrongShape, "DenseConvolutionInputGradient", "expected [B,O,Ho,Wo], [O,C,kh,kw], [O], [3], [B,C,H,W]");
  const ConvShape s = shape_of_convolution(call, 4, 1, 0, call.get<int32_t>(3));
  if (!fits(call, s, 4, 1, 0) || call.size(2) != s.outputs)
    return refuse(kWrongShape, "DenseConvolutionInputGradient", "gradient, weight, scale and result do not fit together");
  return finish(kernels().dense_convolution_input_gradient(s, call.get<float>(0), call.get<float>(1),
                                                           call.get<float>(2), call.get<float>(4)),
                "DenseConvolutionInputGradient");
}

// x [B,C,H,W], gradient [B,O,Ho,Wo], scale [O], geometry (stride, padding, dilation) -> [O,C,kh,kw], [O]
MINDVIDEO_OP(DenseConvolutionWeightGradient) {
  MINDVIDEO_CALL("DenseConvolutionWeightGradient", 6);
  if (!call.all_are(0, 2, "float32") || !call.is(3, "int32") || !call.all_are(4, 5, "float32"))
    return refuse(kWrongType, "DenseConvolutionWeightGradient", "tensors must be float32, the geometry int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 4 || call.ranks[4] != 4 || call.size(3) != 3)
    return refuse(kWrongShape, "DenseConvolutionWeightGradient", "expected [B,C,H,W], [B,O,Ho,Wo], [O], [3], [O,C,kh,kw]");
  const ConvShape s = shape_of_convolution(call, 0, 4, 1, call.get<int32_t>(3));
  if (!fits(call, s, 0, 4, 1) || call.size(2) != s.outputs || call.size(5) != s.outputs)
    return refuse(kWrongShape, "DenseConvolutionWeightGradient", "x, gradient, scale and results do not fit together");
  return finish(kernels().dense_convolution_weight_gradient(s, call.get<float>(0), call.get<float>(1),
                                                            call.get<float>(2), call.get<float>(4), call.get<float>(5)),
                "DenseConvolutionWeightGradient");
}

// x [B,C,H,W], weight [C,1,k,k], int32 [1]: 1 for the weight turned half around -> [B,C,H,W]
MINDVIDEO_OP(DepthwiseConvolution) {
  MINDVIDEO_CALL("DepthwiseConvolution", 4);
  if (!call.all_are(0, 1, "float32") || !call.is(2, "int32") || !call.is(3, "float32"))
    return refuse(kWrongType, "DepthwiseConvolution", "tensors must be float32, the last input int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 4 || call.size(2) != 1)
    return refuse(kWrongShape, "DepthwiseConvolution", "expected [B,C,H,W], [C,1,k,k], [1]");
  const DepthwiseShape s{call.axis(0, 0), call.axis(0, 1), call.axis(0, 2), call.axis(0, 3), call.axis(1, 3)};
  if (call.size(1) != s.C * s.kernel * s.kernel || s.kernel % 2 == 0 || call.size(3) != call.size(0))
    return refuse(kWrongShape, "DepthwiseConvolution", "x, weight and result do not fit together, or the kernel is even");
  return finish(kernels().depthwise_convolution(s, call.get<float>(0), call.get<float>(1), call.get<int32_t>(2)[0] != 0,
                                                call.get<float>(3)),
                "DepthwiseConvolution");
}

// x, gradient [B,C,H,W] -> [C,1,k,k]
MINDVIDEO_OP(DepthwiseWeightGradient) {
  MINDVIDEO_CALL("DepthwiseWeightGradient", 3);
  if (!call.all_are(0, 2, "float32")) return refuse(kWrongType, "DepthwiseWeightGradient", "every tensor must be float32");
  if (call.ranks[0] != 4 || call.ranks[2] != 4 || call.size(1) != call.size(0))
    return refuse(kWrongShape, "DepthwiseWeightGradient", "expected x and gradient [B,C,H,W], result [C,1,k,k]");
  const DepthwiseShape s{call.axis(0, 0), call.axis(0, 1), call.axis(0, 2), call.axis(0, 3), call.axis(2, 3)};
  if (call.size(2) != s.C * s.kernel * s.kernel || s.kernel % 2 == 0)
    return refuse(kWrongShape, "DepthwiseWeightGradient", "x and result do not fit together, or the kernel is even");
  return finish(kernels().depthwise_weight_gradient(s, call.get<float>(0), call.get<float>(1), call.get<float>(2)),
                "DepthwiseWeightGradient");
}

// x [rows,columns], int32 iteration, int32 (offset of the stream, threshold), float32 factor [1] -> [rows,columns]
MINDVIDEO_OP(CounterDropout) {
  MINDVIDEO_CALL("CounterDropout", 5);
  if (!call.is(0, "float32") || !call.is(1, "int32") || !call.is(2, "int32") || !call.all_are(3, 4, "float32"))
    return refuse(kWrongType, "CounterDropout", "x and the factor must be float32, iteration, offset and threshold int32");
  if (call.ranks[0] != 2 || call.size(1) != 1 || call.size(2) != 2 || call.size(3) != 1 || call.size(4) != call.size(0))
    return refuse(kWrongShape, "CounterDropout", "expected [rows,columns], one number, two, one, and the shape of x");
  const DropoutStream own{call.get<int32_t>(1)[0], call.get<int32_t>(2)[0], call.get<int32_t>(2)[1],
                             call.get<float>(3)[0]};
  return finish(kernels().dropout(call.axis(0, 0), call.axis(0, 1), own, call.get<float>(0), call.get<float>(4)),
                "CounterDropout");
}

// features [F,C,H,W], parameters [F,N,.], references [F,N,2], int32 stride [1] -> [F,N,2H,2W]
MINDVIDEO_OP(DynamicMasks) {
  MINDVIDEO_CALL("DynamicMasks", 5);
  if (!call.all_are(0, 2, "float32") || !call.is(3, "int32") || !call.is(4, "float32"))
    return refuse(kWrongType, "DynamicMasks", "tensors must be float32, the stride int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 3 || call.ranks[2] != 3 || call.size(3) != 1)
    return refuse(kWrongShape, "DynamicMasks", "expected [F,C,H,W], [F,N,.], [F,N,2], [1]");
  const DynamicMaskShape s{call.axis(0, 0), call.axis(0, 1), call.axis(0, 2), call.axis(0, 3),
                           call.axis(1, 1), call.axis(1, 2), call.get<int32_t>(3)[0]};
  constexpr int64_t kWidth = 8;  // of the layers between
  const bool fit = call.axis(1, 0) == s.F && call.size(2) == 2 * s.F * s.N && call.size(4) == 4 * s.F * s.N * s.H * s.W;
  if (!fit || s.parameters != kWidth * (s.channels + 2) + kWidth * kWidth + 3 * kWidth + 1)
    return refuse(kWrongShape, "DynamicMasks", "features, parameters, references and result do not fit together");
  return finish(kernels().dynamic_masks(s, call.get<float>(0), call.get<float>(1), call.get<float>(2), call.get<float>(4)),
                "DynamicMasks");
}

// Rows [H] and columns [W] of the new size as tensors `rows` and `rows` + 1, of maps of h x w.
static bool read_places(const Call &call, int rows, JoinShape &s) {
  s.rows = call.get<int32_t>(rows), s.columns = call.get<int32_t>(rows + 1);
  bool inside = call.size(rows) == s.H && call.size(rows + 1) == s.W;
  for (int64_t i = 0; inside && i < s.H; ++i) inside = s.rows[i] >= 0 && s.rows[i] < s.h;
  for (int64_t j = 0; inside && j < s.W; ++j) inside = s.columns[j] >= 0 && s.columns[j] < s.w;
  return inside;
}

// x [F*Q,C,h,w], fine [F,C,H,W], int32 rows [H] and columns [W] -> [F*Q,C,H,W]
MINDVIDEO_OP(JoinNearest) {
  MINDVIDEO_CALL("JoinNearest", 5);
  if (!call.all_are(0, 1, "float32") || !call.is(2, "int32") || !call.is(3, "int32") || !call.is(4, "float32"))
    return refuse(kWrongType, "JoinNearest", "tensors must be float32, rows and columns int32");
  if (call.ranks[0] != 4 || call.ranks[1] != 4)
    return refuse(kWrongShape, "JoinNearest", "expected [F*Q,C,h,w], [F,C,H,W], [H], [W]");
  const int64_t F = call.axis(1, 0), maps = call.axis(0, 0);
  JoinShape s{F, F ? maps / F : 0, call.axis(1, 1), call.axis(0, 2), call.axis(0, 3), call.axis(1, 2), call.axis(1, 3),
              nullptr, nullptr};
  if (s.F * s.Q != maps || call.axis(0, 1) != s.C || call.size(4) != maps * s.C * s.H * s.W || !read_places(call, 2, s))
    return refuse(kWrongShape, "JoinNearest", "x, the fine map, rows, columns and the result do not fit together");
  return finish(kernels().join_nearest(s, call.get<float>(0), call.get<float>(1), call.get<float>(4)), "JoinNearest");
}

// gradient [F*Q,C,H,W], int32 rows [H] and columns [W] -> [F*Q,C,h,w], [F,C,H,W]
MINDVIDEO_OP(JoinNearestGradient) {
  MINDVIDEO_CALL("JoinNearestGradient", 5);
  if (!call.is(0, "float32") || !call.is(1, "int32") || !call.is(2, "int32") || !call.all_are(3, 4, "float32"))
    return refuse(kWrongType, "JoinNearestGradient", "tensors must be float32, rows and columns int32");
  if (call.ranks[0] != 4 || call.ranks[3] != 4 || call.ranks[4] != 4)
    return refuse(kWrongShape, "JoinNearestGradient", "expected [F*Q,C,H,W], [H], [W], [F*Q,C,h,w], [F,C,H,W]");
  const int64_t F = call.axis(4, 0), maps = call.axis(0, 0);
  JoinShape s{F, F ? maps / F : 0, call.axis(0, 1), call.axis(3, 2), call.axis(3, 3), call.axis(0, 2), call.axis(0, 3),
              nullptr, nullptr};
  const bool fit = s.F * s.Q == maps && call.axis(3, 0) == maps && call.axis(3, 1) == s.C && call.axis(4, 1) == s.C &&
                   call.axis(4, 2) == s.H && call.axis(4, 3) == s.W;
  if (!fit || !read_places(call, 1, s))
    return refuse(kWrongShape, "JoinNearestGradient", "gradient, rows, columns and results do not fit together");
  return finish(kernels().join_nearest_gradient(s, call.get<float>(0), call.get<float>(3), call.get<float>(4)),
                "JoinNearestGradient");
}

// Inputs logits [R,P] and targets [M,P], R a multiple of M.
int read_mask_rows(const Call &call, const char *op, MaskRows &s) {
  if (!call.all_are(0, call.count - 1, "float32")) return refuse(kWrongType, op, "every tensor must be float32");
  if (call.ranks[0] != 2 || call.ranks[1] != 2) return refuse(kWrongShape, op, "expected [R,P] and [M,P]");
  s = {call.axis(0, 0), call.axis(1, 0), call.axis(0, 1)};
  if (s.targets < 1 || s.pixels < 1 || s.rows % s.targets || call.axis(1, 1) != s.pixels)
    return refuse(kWrongShape, op, "logits and targets do not fit together");
  return kOk;
}

// logits [R,P], targets [M,P], alpha [1] -> [R]
MINDVIDEO_OP(FocalRows) {
  MINDVIDEO_CALL("FocalRows", 4);
  MaskRows s;
  if (const int status = read_mask_rows(call, "FocalRows", s)) return status;
  if (call.size(2) != 1 || call.size(3) != s.rows) return refuse(kWrongShape, "FocalRows", "wrong output size");
  return finish(kernels().focal_rows(s, call.get<float>(2)[0], call.get<float>(0), call.get<float>(1), call.get<float>(3)),
                "FocalRows");
}

// logits [R,P], targets [M,P], alpha [1], gradient [R] -> [R,P]
MINDVIDEO_OP(FocalRowsGradient) {
  MINDVIDEO_CALL("FocalRowsGradient", 5);
  MaskRows s;
  if (const int status = read_mask_rows(call, "FocalRowsGradient", s)) return status;
  if (call.size(2) != 1 || call.size(3) != s.rows || call.size(4) != s.rows * s.pixels)
    return refuse(kWrongShape, "FocalRowsGradient", "gradient and result do not fit the logits");
  return finish(kernels().focal_rows_gradient(s, call.get<float>(2)[0], call.get<float>(0), call.get<float>(1),
                                              call.get<float>(3), call.get<float>(4)),
                "FocalRowsGradient");
}

// logits [R,P], targets [M,P] -> [R,2]
MINDVIDEO_OP(DiceRows) {
  MINDVIDEO_CALL("DiceRows", 3);
  MaskRows s;
  if (const int status = read_mask_rows(call, "DiceRows", s)) return status;
  if (call.size(2) != 2 * s.rows) return refuse(kWrongShape, "DiceRows", "wrong output size");
  return finish(kernels().dice_rows(s, call.get<float>(0), call.get<float>(1), call.get<float>(2)), "DiceRows");
}

// logits [R,P], targets [M,P], gradient [R,2] -> [R,P]
MINDVIDEO_OP(DiceRowsGradient) {
  MINDVIDEO_CALL("DiceRowsGradient", 4);
  MaskRows s;
  if (const int status = read_mask_rows(call, "DiceRowsGradient", s)) return status;
  if (call.size(2) != 2 * s.rows || call.size(3) != s.rows * s.pixels)
    return refuse(kWrongShape, "DiceRowsGradient", "gradient and result do not fit the logits");
  return finish(kernels().dice_rows_gradient(s, call.get<float>(0), call.get<float>(1), call.get<float>(2),
                                             call.get<float>(3)),
                "DiceRowsGradient");
}

// x of any shape -> the same
MINDVIDEO_OP(Gelu) {
  MINDVIDEO_CALL("Gelu", 2);
  if (!call.all_are(0, 1, "float32")) return refuse(kWrongType, "Gelu", "every tensor must be float32");
  if (call.size(1) != call.size(0)) return refuse(kWrongShape, "Gelu", "the result must be as large as x");
  return finish(kernels().gelu(call.size(0), call.get<float>(0), call.get<float>(1)), "Gelu");
}

// x, gradient of any shape -> the same
MINDVIDEO_OP(GeluGradient) {
  MINDVIDEO_CALL("GeluGradient", 3);
  if (!call.all_are(0, 2, "float32")) return refuse(kWrongType, "GeluGradient", "every tensor must be float32");
  if (call.size(1) != call.size(0) || call.size(2) != call.size(0))
    return refuse(kWrongShape, "GeluGradient", "x, gradient and result must be of one size");
  return finish(kernels().gelu_gradient(call.size(0), call.get<float>(0), call.get<float>(1), call.get<float>(2)),
                "GeluGradient");
}

// x [B,C,H,W], geometry (kernel, stride, padding) -> [B,C,Ho,Wo]
MINDVIDEO_OP(MaxPool) {
  MINDVIDEO_CALL("MaxPool", 3);
  if (!call.is(0, "float32") || !call.is(1, "int32") || !call.is(2, "float32"))
    return refuse(kWrongType, "MaxPool", "x and the result must be float32, the geometry int32");
  if (call.ranks[0] != 4 || call.ranks[2] != 4 || call.size(1) != 3)
    return refuse(kWrongShape, "MaxPool", "expected [B,C,H,W], [3] and [B,C,Ho,Wo]");
  const int32_t *geometry = call.get<int32_t>(1);
  const ConvShape s{call.axis(0, 0), call.axis(0, 1), call.axis(0, 2), call.axis(0, 3), call.axis(0, 1), geometry[0],
                    geometry[0], call.axis(2, 2), call.axis(2, 3), geometry[1], geometry[2], 1};
  const auto fits = [&](int64_t size, int64_t out) {
    return size > 0 && (size + 2 * s.padding - s.kernel_h) / s.stride + 1 == out;
  };
  // With more padding than half a window some windows would hold nothing.
  if (s.stride < 1 || s.padding < 0 || 2 * s.padding > s.kernel_h || call.axis(2, 0) != s.B || call.axis(2, 1) != s.C ||
      !fits(s.H, s.out_h) || !fits(s.W, s.out_w))
    return refuse(kWrongShape, "MaxPool", "x, geometry and result do not fit together");
  return finish(kernels().max_pool(s, call.get<float>(0), call.get<float>(2)), "MaxPool");
}

MINDVIDEO_OP(DeformConv2dForward) {
  MINDVIDEO_CALL("DeformConv2dForward", 5);
  ConvShape s;
  if (const int status = read_conv(call, "DeformConv2dForward", s)) return status;
  if (call.size(4) != s.B * s.outputs * s.out_h * s.out_w)
    return refuse(kWrongShape, "DeformConv2dForward", "wrong output size");
  return finish(kernels().conv_forward(s, call.get<float>(0), call.get<float>(1), call.get<float>(2),
                                       call.get<float>(4)),
                "DeformConv2dForward");
}

MINDVIDEO_OP(DeformConv2dBackward) {
  MINDVIDEO_CALL("DeformConv2dBackward", 8);
  ConvShape s;
  if (const int status = read_conv(call, "DeformConv2dBackward", s)) return status;
  if (call.size(4) != s.B * s.outputs * s.out_h * s.out_w || call.size(5) != call.size(0) ||
      call.size(6) != call.size(1) || call.size(7) != call.size(2))
    return refuse(kWrongShape, "DeformConv2dBackward", "gradients must have the shapes of their tensors");
  return finish(kernels().conv_backward(s, call.get<float>(0), call.get<float>(1), call.get<float>(2),
                                        call.get<float>(4), call.get<float>(5), call.get<float>(6),
                                        call.get<float>(7)),
                "DeformConv2dBackward");
}

MINDVIDEO_OP(Assignment) {
  MINDVIDEO_CALL("Assignment", 3);
  if (!call.is(0, "float32") || !call.is(1, "bool") || !call.is(2, "int32"))
    return refuse(kWrongType, "Assignment", "cost must be float32, valid bool, the result int32");
  if (call.ranks[0] != 3 || call.ranks[1] != 2 || call.axis(1, 0) != call.axis(0, 0) ||
      call.axis(1, 1) != call.axis(0, 2) || call.size(2) != call.size(1))
    return refuse(kWrongShape, "Assignment", "expected cost [B,Q,N], valid [B,N] and result [B,N]");
  const int64_t Q = call.axis(0, 1), N = call.axis(0, 2);
  std::atomic<bool> done{true};
  auto body = [&](int64_t b, int) {
    if (!assign(call.get<float>(0) + b * Q * N, call.get<uint8_t>(1) + b * N, Q, N, call.get<int32_t>(2) + b * N))
      done = false;
  };
  parallel_for(call.axis(0, 0), body);
  return finish(done, "Assignment");
}

// x, weight, bias, epsilon -> y; with a residual: x, residual, weight, bias, epsilon -> y
MINDVIDEO_OP(LayerNormForward) {
  const int extra_inputs = count == 6 ? 1 : 0;
  MINDVIDEO_CALL("LayerNormForward", 5 + extra_inputs);
  const int64_t channels = call.axis(0, call.ranks[0] - 1), rows = channels ? call.size(0) / channels : 0;
  if (const int status = check_norm(call, "LayerNormForward", 1 + extra_inputs, 2, channels)) return status;
  if (call.size(4 + extra_inputs) != call.size(0) || (extra_inputs && call.size(1) != call.size(0)))
    return refuse(kWrongShape, "LayerNormForward", "x, residual and result must have one shape");
  return finish(kernels().layer_norm_forward(rows, channels, *call.get<float>(3 + extra_inputs), call.get<float>(0),
                                             extra_inputs ? call.get<float>(1) : nullptr,
                                             call.get<float>(1 + extra_inputs), call.get<float>(2 + extra_inputs),
                                             call.get<float>(4 + extra_inputs)),
                "LayerNormForward");
}

// x, [residual,] weight, epsilon, gradient -> gradients of x (and of the residual), weight, bias
MINDVIDEO_OP(LayerNormBackward) {
  const int extra_inputs = count == 8 ? 1 : 0;
  MINDVIDEO_CALL("LayerNormBackward", 7 + extra_inputs);
  const int64_t channels = call.axis(0, call.ranks[0] - 1), rows = channels ? call.size(0) / channels : 0;
  if (const int status = check_norm(call, "LayerNormBackward", 1 + extra_inputs, 1, channels)) return status;
  const int gradient = 3 + extra_inputs;
  if (call.size(gradient) != call.size(0) || call.size(gradient + 1) != call.size(0) ||
      call.size(gradient + 2) != channels || call.size(gradient + 3) != channels)
    return refuse(kWrongShape, "LayerNormBackward", "gradients must have the shapes of their tensors");
  return finish(kernels().layer_norm_backward(rows, channels, *call.get<float>(2 + extra_inputs), call.get<float>(0),
                                              extra_inputs ? call.get<float>(1) : nullptr,
                                              call.get<float>(1 + extra_inputs), call.get<float>(gradient),
                                              call.get<float>(gradient + 1), call.get<float>(gradient + 2),
                                              call.get<float>(gradient + 3)),
                "LayerNormBackward");
}

// The same two under names of their own: MindSpore keeps one gradient function for each name.
MINDVIDEO_OP(ResidualLayerNormForward) { return LayerNormForward(count, data, ranks, shapes, types, stream, extra); }

MINDVIDEO_OP(ResidualLayerNormBackward) { return LayerNormBackward(count, data, ranks, shapes, types, stream, extra); }

// x, weight, bias, options -> y
MINDVIDEO_OP(GroupNormForward) {
  MINDVIDEO_CALL("GroupNormForward", 5);
  GroupShape s;
  if (const int status = read_group(call, "GroupNormForward", s)) return status;
  if (call.size(4) != call.size(0)) return refuse(kWrongShape, "GroupNormForward", "the result must have x's shape");
  return finish(kernels().group_norm_forward(s, call.get<float>(0), call.get<float>(1), call.get<float>(2),
                                             call.get<float>(4)),
                "GroupNormForward");
}

// x, weight, bias, options, gradient -> gradients of x, weight, bias
MINDVIDEO_OP(GroupNormBackward) {
  MINDVIDEO_CALL("GroupNormBackward", 8);
  GroupShape s;
  if (const int status = read_group(call, "GroupNormBackward", s)) return status;
  if (call.size(4) != call.size(0) || call.size(5) != call.size(0) || call.size(6) != s.C || call.size(7) != s.C)
    return refuse(kWrongShape, "GroupNormBackward", "gradients must have the shapes of their tensors");
  return finish(kernels().group_norm_backward(s, call.get<float>(0), call.get<float>(1), call.get<float>(2),
                                              call.get<float>(4), call.get<float>(5), call.get<float>(6),
                                              call.get<float>(7)),
                "GroupNormBackward");
}

// The instruction set in use, and the number of threads: for logs and benchmarks.
MINDVIDEO_EXPORT const char *mindvideo_instruction_set() { return kernels().name; }
// Those for products in bfloat16, "none" without.
MINDVIDEO_EXPORT const char *mindvideo_half_instructions() { return half_kernels() ? half_kernels()->name : "none"; }
MINDVIDEO_EXPORT int mindvideo_threads() { return thread_count(); }
