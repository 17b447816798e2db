// Bilinear sampling on the device.
#pragma once

#include <cuda_runtime.h>

namespace mindvideo {

// The four pixels around a position; a row of -1 is outside. Bounds are strict and NaN is outside; a coordinate is
// tested before it is converted to an integer.
struct Position {
  int row[4];
  float weight[4];
  float ly, lx;
  bool touches;

  __device__ Position(int height, int width, float py, float px) {
    touches = py > -1.f && px > -1.f && py < static_cast<float>(height) && px < static_cast<float>(width);
    if (!touches) return;
    const float y0f = floorf(py), x0f = floorf(px);
    const int y0 = static_cast<int>(y0f), x0 = static_cast<int>(x0f);
    ly = py - y0f, lx = px - x0f;
    const float hy = 1.f - ly, hx = 1.f - lx;
    weight[0] = hy * hx, weight[1] = hy * lx, weight[2] = ly * hx, weight[3] = ly * lx;
    const bool top = y0 >= 0 && y0 < height, bottom = y0 + 1 < height;
    const bool left = x0 >= 0 && x0 < width, right = x0 + 1 < width;
    const int first = y0 * width + x0;
    row[0] = top && left ? first : -1;
    row[1] = top && right ? first + 1 : -1;
    row[2] = bottom && left ? first + width : -1;
    row[3] = bottom && right ? first + width + 1 : -1;
    touches = (row[0] & row[1] & row[2] & row[3]) != -1;
  }
};

}  // namespace mindvideo
