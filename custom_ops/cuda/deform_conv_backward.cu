// Gradients of the deformable convolution. One kernel makes the columns' gradients of a tap in registers and hands them on
// to x (sums of many threads) and to the offsets (one owner each); another sums weight's gradient in parts of the positions.
#include <type_traits>

#include "deform_conv.cuh"
#include "gradient_sum.cuh"
#include "reduce.cuh"

namespace mindvideo {
namespace {

constexpr char kName[] = "DeformConv2dBackward";
constexpr int kPerThread = kTileChannels * kTilePositions / kThreads;
constexpr int kRows = kThreads / kTilePositions;  // threads that share a position
constexpr int64_t kMaxParts = 32;

struct Tensors {
  const float *x, *offset, *weight, *gradient;
};

struct Shared {
  float gradient[kTileOutputs * kTilePositions];
  float weights[kTileChannels * kTileOutputs];
  float to_offset[2 * kThreads];
};

// One input channel's share: x gets the column's gradient at the four corners, the offset its slope along y and x.
template <typename Sum>
__device__ void spread(const Position &p, const float *channel, float column, const Sum &sum, int64_t base, float &to_y,
                       float &to_x) {
  float v[4];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    v[k] = p.row[k] >= 0 ? channel[p.row[k]] : 0.f;
    if (p.row[k] >= 0) sum.add(base + p.row[k], p.weight[k] * column);
  }
  to_y = fmaf(column, (1.f - p.lx) * (v[2] - v[0]) + p.lx * (v[3] - v[1]), to_y);
  to_x = fmaf(column, (1.f - p.ly) * (v[1] - v[0]) + p.ly * (v[3] - v[2]), to_x);
}

// A block works on one tap and kTilePositions positions of one image.
template <typename Sum>
__global__ void __launch_bounds__(kThreads) columns_kernel(Conv s, Tensors t, Sum sum, float *grad_offset) {
  Shared &shared = *shared_memory<Shared>();
  const int64_t tap = blockIdx.x % s.taps(), tile = blockIdx.x / s.taps() % s.tiles();
  const int64_t image = blockIdx.x / (s.taps() * s.tiles());
  const int p = threadIdx.x % kTilePositions, row = threadIdx.x / kTilePositions;
  const int64_t at = tile * kTilePositions + p;
  const bool inside = at < s.positions();
  const Position position = tap_position(s, t.offset, image, tap, inside ? at : 0);
  const bool touches = inside && position.touches;
  float to_y = 0.f, to_x = 0.f;
  for (int64_t c = 0; c < s.C; c += kTileChannels) {
    float column[kPerThread] = {};
    for (int64_t o = 0; o < s.O; o += kTileOutputs) {
      __syncthreads();  // the tiles were read
      for (int i = threadIdx.x; i < kTileOutputs * kTilePositions; i += kThreads) {
        const int64_t out = o + i / kTilePositions, to = tile * kTilePositions + i % kTilePositions;
        shared.gradient[i] = out < s.O && to < s.positions() ? t.gradient[(image * s.O + out) * s.positions() + to] : 0.f;
      }
      for (int i = threadIdx.x; i < kTileChannels * kTileOutputs; i += kThreads) {
        const int64_t channel = c + i / kTileOutputs, out = o + i % kTileOutputs;
        shared.weights[i] = channel < s.C && out < s.O ? t.weight[(out * s.C + channel) * s.taps() + tap] : 0.f;
      }
      __syncthreads();
      for (int i = 0; i < kTileOutputs; ++i) {
        const float g = shared.gradient[i * kTilePositions + p];
#pragma unroll
        for (int k = 0; k < kPerThread; ++k)
          column[k] = fmaf(shared.weights[(row + k * kRows) * kTileOutputs + i], g, column[k]);
      }
    }
    for (int k = 0; k < kPerThread; ++k) {
      const int64_t channel = c + row + k * kRows, base = (image * s.C + channel) * s.H * s.W;
      if (touches && channel < s.C) spread(position, t.x + base, column[k], sum, base, to_y, to_x);
    }
  }
  shared.to_offset[threadIdx.x] = to_y, shared.to_offset[kThreads + threadIdx.x] = to_x;
  __syncthreads();
  if (row > 1 || !inside) return;
  float total = 0.f;  // row 0 finishes y, row 1 x
  for (int i = 0; i < kRows; ++i) total += shared.to_offset[row * kThreads + i * kTilePositions + p];
  grad_offset[(image * 2 * s.taps() + 2 * tap + row) * s.positions() + at] = total;
}

struct WeightShared {
  TilePositions at[kTilePositions];
  float columns[kTileChannels * kTilePositions];
  float gradient[kTileOutputs * kTilePositions];
};

// shares [parts, O, C, taps]: weight's gradient over the tiles of one part; two numbers a thread.
__global__ void __launch_bounds__(kThreads) weight_kernel(Conv s, Tensors t, int64_t parts, float *shares) {
  WeightShared &shared = *shared_memory<WeightShared>();
  const int64_t channel_tiles = (s.C + kTileChannels - 1) / kTileChannels;
  const int64_t output_tiles = (s.O + kTileOutputs - 1) / kTileOutputs;
  int64_t rest = blockIdx.x;
  const int64_t part = rest % parts, first_channel = (rest /= parts) % channel_tiles * kTileChannels;
  const int64_t first_output = (rest /= channel_tiles) % output_tiles * kTileOutputs, tap = rest / output_tiles;
  const int o = threadIdx.x % kTileOutputs, c = threadIdx.x / kTileOutputs;
  constexpr int kStep = kThreads / kTileOutputs, kSums = kTileChannels / kStep;
  float sum[kSums] = {};
  for (int64_t unit = part; unit < s.B * s.tiles(); unit += parts) {
    const int64_t image = unit / s.tiles(), first = unit % s.tiles() * kTilePositions;
    if (threadIdx.x < kTilePositions)
      shared.at[threadIdx.x] = tile_position(s, t.offset, image, tap, first + threadIdx.x);
    __syncthreads();
    sample_tile(s, t.x, image, first_channel, shared.at, shared.columns);
    for (int i = threadIdx.x; i < kTileOutputs * kTilePositions; i += kThreads) {
      const int64_t out = first_output + i / kTilePositions, at = first + i % kTilePositions;
      shared.gradient[i] = out < s.O && at < s.positions() ? t.gradient[(image * s.O + out) * s.positions() + at] : 0.f;
    }
    __syncthreads();
    for (int i = 0; i < kTilePositions; ++i) {
      // Threads of a warp start at different positions, so that they do not meet in one bank of the memory.
      const int p = (i + o) % kTilePositions;
      const float g = shared.gradient[o * kTilePositions + p];
#pragma unroll
      for (int k = 0; k < kSums; ++k) sum[k] = fmaf(g, shared.columns[(c + k * kStep) * kTilePositions + p], sum[k]);
    }
    __syncthreads();
  }
  for (int k = 0; k < kSums; ++k) {
    const int64_t out = first_output + o, channel = first_channel + c + k * kStep;
    if (out < s.O && channel < s.C) shares[((part * s.O + out) * s.C + channel) * s.taps() + tap] = sum[k];
  }
}

int weight_gradient(const Conv &s, const Tensors &t, float *to, cudaStream_t stream) {
  const int64_t units = s.B * s.tiles(), parts = units < kMaxParts ? units : kMaxParts, size = s.O * s.C * s.taps();
  Workspace space(parts * size * sizeof(float), stream);
  if (!space.ok()) return refuse(kOutOfMemory, kName, "no device memory for the sums over positions");
  const int64_t blocks = parts * blocks_of(s.C, kTileChannels) * blocks_of(s.O, kTileOutputs) * s.taps();
  const int status = launch(kName, weight_kernel, {blocks, kThreads, sizeof(WeightShared), stream}, s, t, parts,
                            space.get<float>());
  if (status != kOk) return status;
  return launch(kName, sum_parts_kernel<float>, {blocks_of(size, kThreads), kThreads, 0, stream}, space.get<float>(),
                parts, size, to);
}

}  // namespace
}  // namespace mindvideo

using namespace mindvideo;

MINDVIDEO_EXPORT int DeformConv2dBackward(int count, void **data, int *ranks, int64_t **shapes, const char **types,
                                          void *stream, void *) {
  const Call call{count, data, ranks, shapes, types};
  if (count != 8) return refuse(kWrongCount, kName, "wrong number of tensors");
  Conv s;
  if (const int status = read_conv(call, kName, s)) return status;
  if (call.size(4) != s.B * s.O * s.positions() || call.size(5) != call.size(0) || call.size(6) != call.size(1) ||
      call.size(7) != call.size(2))
    return refuse(kWrongShape, kName, "gradients must have the shapes of their tensors");
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  if (call.size(0) == 0 || call.size(2) == 0 || call.size(4) == 0) {
    for (int index = 5; index < 8; ++index)
      if (call.size(index) > 0) cudaMemsetAsync(call.data[index], 0, call.size(index) * sizeof(float), on);
    return launched(kName);
  }
  const Tensors t{call.get<float>(0), call.get<float>(1), call.get<float>(2), call.get<float>(4)};
  const int64_t blocks = s.B * s.tiles() * s.taps();
  // A column is a sum over the outputs, and a pixel may be met by every tap of every position.
  const int status = sum_gradient(
      kName, call.get<float>(5), call.size(0), Factor<float>{t.weight, call.size(2)}, Factor<float>{t.gradient, call.size(4)},
      s.O * s.taps() * s.positions(), on, [&](const auto &sum) {
        using Sum = std::decay_t<decltype(sum)>;
        return launch(kName, columns_kernel<Sum>, {blocks, kThreads, sizeof(Shared), on}, s, t, sum, call.get<float>(6));
      });
  return status == kOk ? weight_gradient(s, t, call.get<float>(7), on) : status;
}
