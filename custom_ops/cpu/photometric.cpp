// Colour distortion of 8-bit pictures: brightness, contrast, saturation, hue and channel order in one pass.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore. The work on a row is in photometric.h.
#include "kernels.h"

// A [height, width, 3] picture whose rows start `stride` bytes apart and pixels `step` (3, or -3 for a mirrored one)
// into `result`, which is packed. Neutral values (0 for brightness and hue, 1 for the factors) leave a step out.
// `wrap`: values beyond 0..255 wrap around instead of being clipped. `first`, `second`, `third`: which distorted channel
// each channel of the result is.
extern "C" __attribute__((visibility("default"))) void mindvideo_distort_colours(
    const uint8_t *picture, int64_t stride, int step, int height, int width, float brightness, float contrast_before,
    float saturation, float hue, float contrast_after, int wrap, int first, int second, int third, uint8_t *result) {
  mindvideo::Colours colours{brightness, contrast_before, saturation, hue, contrast_after, wrap != 0, {}};
  colours.place[first] = 0;
  colours.place[second] = 1;
  colours.place[third] = 2;
  for (int64_t y = 0; y < height; ++y) {
    mindvideo::kernels().distort_row(colours, picture + y * stride, step < 0, width, result + y * width * 3);
  }
}
