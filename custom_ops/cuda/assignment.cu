// The optimal assignment on the device: one warp a problem, shortest augmenting paths in double precision.
#include <cfloat>

#include "launch.cuh"

namespace mindvideo {
namespace {

// Work arrays of one problem with `columns` columns (column 0 starts every search) and `rows` rows.
struct Work {
  double *distance, *column_dual, *row_dual;
  int *row_of, *previous, *in_tree;

  static __host__ __device__ size_t bytes(int64_t columns, int64_t rows) {
    return static_cast<size_t>((2 * columns + rows) * 8 + (3 * columns * 4 + 7) / 8 * 8);
  }
  __device__ Work(char *memory, int64_t columns, int64_t rows) {
    distance = reinterpret_cast<double *>(memory);
    column_dual = distance + columns;
    row_dual = column_dual + columns;
    row_of = reinterpret_cast<int *>(row_dual + rows);
    previous = row_of + columns;
    in_tree = previous + columns;
  }
};

struct Problem {
  const float *cost;  // [queries, instances]
  int queries, instances;
  double excluded;

  // Column j stands for query j - 1; columns beyond the queries are for instances that stay without one.
  __device__ double at(int row, int column) const {
    if (column > queries) return excluded * 4.0 * (queries + 1);
    const float given = cost[static_cast<int64_t>(column - 1) * instances + row];
    return isfinite(given) ? static_cast<double>(given) : excluded;
  }
};

__device__ double largest_cost(const Problem &p, const bool *valid, int lane) {
  double most = 0;
  for (int64_t i = lane; i < static_cast<int64_t>(p.queries) * p.instances; i += kWarp)
    if (valid[i % p.instances] && isfinite(p.cost[i])) most = fmax(most, fabs(static_cast<double>(p.cost[i])));
  for (int step = 16; step > 0; step /= 2) most = fmax(most, __shfl_xor_sync(0xffffffffu, most, step));
  return most;
}

// One search from `root`; returns the free column it ends in.
__device__ int find_free_column(const Problem &p, const Work &w, int columns, int root, int lane) {
  for (int j = lane; j < columns; j += kWarp) w.distance[j] = DBL_MAX, w.in_tree[j] = 0;
  if (lane == 0) w.row_of[0] = root;
  __syncwarp();
  int column = 0;
  while (true) {
    if (lane == 0) w.in_tree[column] = 1;
    __syncwarp();
    const int row = w.row_of[column];
    double least = DBL_MAX;
    int nearest = columns;
    for (int j = 1 + lane; j < columns; j += kWarp) {
      if (w.in_tree[j]) continue;
      const double reduced = p.at(row, j) - w.row_dual[row] - w.column_dual[j];
      if (reduced < w.distance[j]) w.distance[j] = reduced, w.previous[j] = column;
      if (w.distance[j] < least) least = w.distance[j], nearest = j;
    }
    for (int step = 16; step > 0; step /= 2) {
      const double other = __shfl_xor_sync(0xffffffffu, least, step);
      const int other_column = __shfl_xor_sync(0xffffffffu, nearest, step);
      if (other < least || (other == least && other_column < nearest)) least = other, nearest = other_column;
    }
    __syncwarp();  // shuffles do not order memory: every lane has read its row's dual before one changes it
    for (int j = lane; j < columns; j += kWarp) {
      if (w.in_tree[j])
        w.row_dual[w.row_of[j]] += least, w.column_dual[j] -= least;
      else
        w.distance[j] -= least;
    }
    __syncwarp();
    column = nearest;
    if (w.row_of[column] < 0) return column;
  }
}

__global__ void assignment_kernel(const float *cost, const bool *valid, int queries, int instances, int *result,
                                  char *memory, size_t share) {
  const int lane = threadIdx.x;
  const int64_t b = blockIdx.x;
  const int columns = 1 + (queries > instances ? queries : instances);
  const Work w(memory + b * share, columns, instances);
  Problem p{cost + b * queries * instances, queries, instances, 0};
  const bool *counts = valid + b * instances;
  p.excluded = (largest_cost(p, counts, lane) + 1.0) * 4.0 * ((queries < instances ? queries : instances) + 1);
  for (int j = lane; j < columns; j += kWarp) w.row_of[j] = -1, w.column_dual[j] = 0, w.previous[j] = 0;
  for (int i = lane; i < instances; i += kWarp) w.row_dual[i] = 0, result[b * instances + i] = -1;
  __syncwarp();
  for (int row = 0; row < instances; ++row) {
    if (!counts[row]) continue;
    int column = find_free_column(p, w, columns, row, lane);
    __syncwarp();  // every lane has seen that the column is free before lane 0 fills it
    if (lane == 0)
      while (column != 0) {
        w.row_of[column] = w.row_of[w.previous[column]];
        column = w.previous[column];
      }
    __syncwarp();
  }
  for (int j = 1 + lane; j <= queries; j += kWarp)
    if (w.row_of[j] >= 0) result[b * instances + w.row_of[j]] = j - 1;
}

}  // namespace
}  // namespace mindvideo

using namespace mindvideo;

MINDVIDEO_EXPORT int Assignment(int count, void **data, int *ranks, int64_t **shapes, const char **types, void *stream,
                                void *) {
  const Call call{count, data, ranks, shapes, types};
  if (count != 3) return refuse(kWrongCount, "Assignment", "wrong number of tensors");
  if (!call.is(0, "float32") || !call.is(1, "bool") || !call.is(2, "int32"))
    return refuse(kWrongType, "Assignment", "cost must be float32, valid bool, the result int32");
  if (ranks[0] != 3 || ranks[1] != 2 || call.axis(1, 0) != call.axis(0, 0) || call.axis(1, 1) != call.axis(0, 2) ||
      call.size(2) != call.size(1))
    return refuse(kWrongShape, "Assignment", "expected cost [B,Q,N], valid [B,N] and result [B,N]");
  if (!call.fits_int32()) return refuse(kTooLarge, "Assignment", "a tensor has more than 2^31 - 1 elements");
  if (call.size(2) == 0) return kOk;
  const int64_t B = call.axis(0, 0), Q = call.axis(0, 1), N = call.axis(0, 2);
  const size_t share = Work::bytes(1 + (Q > N ? Q : N), N);
  const cudaStream_t on = static_cast<cudaStream_t>(stream);
  Workspace space(B * share, on);
  if (!space.ok()) return refuse(kOutOfMemory, "Assignment", "no device memory for the work arrays");
  return launch("Assignment", assignment_kernel, {B, kWarp, 0, on}, call.get<float>(0), call.get<bool>(1),
                static_cast<int>(Q), static_cast<int>(N), call.get<int>(2), space.get<char>(), share);
}
