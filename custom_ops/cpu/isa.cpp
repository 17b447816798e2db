// All vectorised kernels, compiled once per instruction set with MINDVIDEO_KERNELS = kernels_plain, kernels_avx2, ...
#include "attention.h"
#include "deform_conv.h"
#include "dense_attention.h"
#include "dense_convolution.h"
#include "dense_layer.h"
#include "depthwise.h"
#include "dropout.h"
#include "dynamic_masks.h"
#include "gelu.h"
#include "join_nearest.h"
#include "mask_losses.h"
#include "max_pool.h"
#include "normalization.h"
#include "photometric.h"
#include "short_attention.h"

#define MINDVIDEO_TEXT_OF(name) #name
#define MINDVIDEO_TEXT(name) MINDVIDEO_TEXT_OF(name)

namespace mindvideo {

const Kernels MINDVIDEO_KERNELS = {
    MINDVIDEO_TEXT(MINDVIDEO_KERNELS) + sizeof("kernels_") - 1,
    attention_forward,
    attention_backward,
    dense_attention,
    short_attention,
    dense_layer,
    dense_layer_input_gradient,
    dense_layer_weight_gradient,
    dense_convolution,
    dense_convolution_input_gradient,
    dense_convolution_weight_gradient,
    depthwise_convolution,
    depthwise_weight_gradient,
    gelu,
    gelu_gradient,
    dropout,
    max_pool,
    dynamic_masks,
    join_nearest,
    join_nearest_gradient,
    focal_rows,
    focal_rows_gradient,
    dice_rows,
    dice_rows_gradient,
    conv_forward,
    conv_backward,
    layer_norm_forward,
    layer_norm_backward,
    group_norm_forward,
    group_norm_backward,
    distort_row,
};

}  // namespace mindvideo
