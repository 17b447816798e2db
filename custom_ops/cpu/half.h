// Products of numbers that were rounded to bfloat16, added up in float32: for inference, on processors that have
// instructions for them.
#pragma once

#include "kernels.h"

namespace mindvideo {

// Tensors lie as they do for the functions of the same names in Kernels.
struct HalfKernels {
  const char *name;
  bool (*dense_attention)(const DenseAttentionShape &, const float *query, const float *key, const float *value,
                          const float *bias, float *output);
  bool (*dense_layer)(int64_t rows, int64_t depth, int64_t outputs, const float *x, const float *weight,
                      const float *bias, float *output);
  bool (*dense_convolution)(const ConvShape &, const float *x, const float *weight, const float *scale,
                            const float *shift, const float *residual, bool relu, float *output);
};

#ifdef MINDVIDEO_HALF
extern const HalfKernels half_amx;          // tiles of 16 x 16, AMX
extern const HalfKernels half_avx512_bf16;  // vectors, AVX512-BF16
#endif

// The faster of the two that this processor has, null where it has none. MINDVIDEO_CPU_ISA=avx512_bf16 leaves AMX out,
// "avx512" and less both.
const HalfKernels *half_kernels();

}  // namespace mindvideo
