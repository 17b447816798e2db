// Antialiased bilinear resizing of 8-bit RGB pictures, pixel for pixel as Pillow does it, but of a part alone.
//
// Plain C interface for ctypes: it knows nothing of tensors or MindSpore. Two passes (columns, then rows) with integer
// weights of 22 bits and a rounding to 8 bits between them, which is what makes Pillow's results its own.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "instruction_set.h"
#include "resize_passes.h"
#include "resize_weights.h"

namespace mindvideo {
namespace {

const Passes& fastest_passes() {
#if defined(MINDVIDEO_X86) && defined(__GNUC__)
    const InstructionSet best = best_instruction_set();
    if (best == InstructionSet::avx512 && __builtin_cpu_supports("avx512vnni")) return kVnniPasses;
    if (best != InstructionSet::plain) return kAvx2Passes;
#endif
    return kPlainPasses;
}

// The weights of the last calls: a clip's frames go through two resizes or three, in turn.
class KeptWeights {
  public:
    const Weights& get(int length, int new_length, int begin, int end, const Passes& passes) {
        const std::array<int, 4> wanted{length, new_length, begin, end};
        for (auto& [key, weights] : kept_) {
            if (key == wanted) return weights;
        }
        auto& [key, weights] = kept_[next_];
        next_ = (next_ + 1) % kept_.size();
        key = wanted;
        weights = weights_of(length, new_length, begin, end);
        passes.split(weights);
        return weights;
    }

  private:
    std::array<std::pair<std::array<int, 4>, Weights>, 4> kept_{};
    std::size_t next_ = 0;
};

}  // namespace
}  // namespace mindvideo

// Rows top..bottom and columns left..right of the [height, width] picture resized to [new_height, new_width].
// `part` holds its rows from `part_top` and columns from `part_left`, of `part_height` rows whose starts lie `stride`
// bytes apart; `result` is packed. Returns 0, or 1 when the part lacks pixels that are needed.
extern "C" __attribute__((visibility("default"))) int mindvideo_resize_rgb(
    const uint8_t* part, int64_t stride, int part_top, int part_left, int part_height, int part_width, int height,
    int width, int new_height, int new_width, int top, int bottom, int left, int right, uint8_t* result) {
    using namespace mindvideo;
    static const Passes& passes = fastest_passes();
    static thread_local KeptWeights kept_columns, kept_rows;
    const Weights& columns = kept_columns.get(width, new_width, left, right, passes);
    const Weights& rows = kept_rows.get(height, new_height, top, bottom, passes);
    const int results = bottom - top;
    const int first_row = rows.first[0];
    const int end_row = rows.first[results - 1] + rows.count[results - 1];
    if (first_row < part_top || end_row > part_top + part_height || columns.first.front() < part_left ||
        columns.first.back() + columns.count.back() > part_left + part_width) {
        return 1;
    }
    const int bytes = (right - left) * 3;
    static thread_local std::vector<uint8_t> between;  // kept: fresh pages cost as much as the work
    between.resize(static_cast<std::size_t>(end_row - first_row) * bytes);
    for (int y = first_row; y < end_row; y += kRows) {
        const SourceRows source{
            part + (y - part_top) * stride, stride, std::min(kRows, end_row - y), part_left, part_width};
        uint8_t* target = between.data() + static_cast<std::size_t>(y - first_row) * bytes;
        if (width == new_width) {
            for (int row = 0; row < source.count; ++row) std::memcpy(target + row * bytes, source.at(row, left), bytes);
        } else {
            passes.along_rows(source, columns, target);
        }
    }
    for (int y = 0; y < results; ++y) {
        const uint8_t* source = between.data() + static_cast<std::size_t>(rows.first[y] - first_row) * bytes;
        uint8_t* target = result + static_cast<std::size_t>(y) * bytes;
        if (height == new_height) {
            std::memcpy(target, source, bytes);
        } else {
            passes.from_rows(source, bytes, rows, y, target);
        }
    }
    return 0;
}
