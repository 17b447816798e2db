// Colour distortion of a row of pixels for one instruction set. Included by isa.cpp.
//
// The steps and the order of the float operations are those of the NumPy twin, whose hue conversion is OpenCV's (with
// fused multiply-add where the processor has it), so that the cut to whole levels at the end falls the same way.
#pragma once

#include <cfloat>

#include "kernels.h"
#include "pixels.h"

namespace {

using mindvideo::Colours;

// Pixels to their position on the circle of hues (0 to 6), saturation and value. The first channel is taken for blue, the
// last for red. `forward`: the hue is turned up, so it leaves 0..360 there.
template <bool forward>
inline __attribute__((always_inline)) Channels to_hue(const Channels &pixels, const Colours &colours) {
  const Vec brightness = Vec::all(colours.brightness), contrast = Vec::all(colours.contrast_before);
  const Vec blue = (pixels.first + brightness) * contrast;
  const Vec green = (pixels.second + brightness) * contrast;
  const Vec red = (pixels.third + brightness) * contrast;

  const Vec value = greatest(greatest(green, blue), red);
  const Vec spread = value - least(least(green, blue), red);
  const Vec saturation = spread / (value.magnitude() + Vec::all(FLT_EPSILON)) * Vec::all(colours.saturation);
  const Vec per_spread = Vec::all(60) / (spread + Vec::all(FLT_EPSILON));

  const auto red_leads = equal(red, value), green_leads = equal(green, value);
  const Vec difference = pick(red_leads, green - blue, pick(green_leads, blue - red, red - green));
  const Vec turned_back = pick(below(green, blue), Vec::all(360), Vec::zero());
  const Vec origin = pick(red_leads, turned_back, pick(green_leads, Vec::all(120), Vec::all(240)));
  Vec hue = difference.fma(per_spread, origin) + Vec::all(colours.hue);
  hue = forward ? pick(below(Vec::all(360), hue), hue - Vec::all(360), hue)
                : pick(below(hue, Vec::zero()), hue + Vec::all(360), hue);
  return {hue * Vec::all(6.0f / 360.0f), saturation, value};
}

// And back. The share of its saturation that a channel loses is a trapezoid over the circle of hues. Its sides are
// differences that are exact or rounded once, as in OpenCV, which first finds the sixth and the part of it.
inline __attribute__((always_inline)) Channels from_hue(const Channels &pixels, const Colours &colours) {
  const Vec contrast = Vec::all(colours.contrast_after), one = Vec::all(1);
  const Vec position = pick(below(pixels.first, Vec::all(6)), pixels.first, pixels.first - Vec::all(6));
  const auto past = [&](float place) { return position - Vec::all(place); };
  const auto until = [&](float place) { return Vec::all(place) - position; };
  const auto channel = [&](Vec share) {
    share = least(greatest(share, Vec::zero()), one);
    return pixels.third * pixels.second.negative_fma(share, one) * contrast;
  };
  return {channel(greatest(until(3), past(5))), channel(greatest(until(1), past(3))), channel(least(past(1), until(5)))};
}

template <bool forward, bool mirrored>
void distort_row_so(const Colours &colours, const uint8_t *source, int64_t count, uint8_t *result) {
  change_pixels<mirrored>(
      source, count, PixelStore(colours.place, colours.wrap), result,
      [&](const Channels &pixels) { return to_hue<forward>(pixels, colours); },
      [&](const Channels &pixels) { return from_hue(pixels, colours); });
}

void distort_row(const Colours &colours, const uint8_t *source, bool mirrored, int64_t count, uint8_t *result) {
  if (colours.hue > 0) {
    (mirrored ? distort_row_so<true, true> : distort_row_so<true, false>)(colours, source, count, result);
  } else {
    (mirrored ? distort_row_so<false, true> : distort_row_so<false, false>)(colours, source, count, result);
  }
}

}  // namespace
