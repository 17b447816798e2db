// All kernels with products in bfloat16, compiled for processors that have AVX512-BF16, and AMX or not.
#include "half.h"

#include "half_attention.h"
#include "half_convolution.h"
#include "half_layer.h"

namespace mindvideo {

const HalfKernels half_amx = {"amx_bf16", half_attention<Amx>, half_layer<Amx>, half_convolution<Amx>};
const HalfKernels half_avx512_bf16 = {"avx512_bf16", half_attention<Vectors>, half_layer<Vectors>,
                                      half_convolution<Vectors>};

}  // namespace mindvideo
