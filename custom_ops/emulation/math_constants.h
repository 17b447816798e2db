// The constant that the kernels use.
#pragma once

#define CUDART_NAN_F (__builtin_nanf(""))
