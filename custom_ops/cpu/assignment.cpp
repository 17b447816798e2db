#include "assignment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <new>
#include <vector>

namespace mindvideo {
namespace {

// Rows are matched to columns, rows <= columns. Column 0 is the start of every search; columns count from 1.
class Matching {
 public:
  Matching(int64_t rows, int64_t columns, std::vector<double> cost)
      : rows_(rows), columns_(columns), cost_(std::move(cost)), row_dual_(rows), column_dual_(columns + 1),
        distance_(columns + 1), row_of_(columns + 1, -1), previous_(columns + 1), in_tree_(columns + 1) {}

  // The row matched to each column, -1 for a free one; entry 0 has no meaning.
  const std::vector<int64_t> &solve() {
    for (int64_t row = 0; row < rows_; ++row) {
      int64_t column = find_free_column(row);
      while (column != 0) {
        row_of_[column] = row_of_[previous_[column]];
        column = previous_[column];
      }
    }
    return row_of_;
  }

 private:
  int64_t find_free_column(int64_t root) {
    std::fill(distance_.begin(), distance_.end(), std::numeric_limits<double>::infinity());
    std::fill(in_tree_.begin(), in_tree_.end(), 0);
    row_of_[0] = root;
    int64_t column = 0;
    do {
      in_tree_[column] = 1;
      const int64_t row = row_of_[column];
      const double *cost = cost_.data() + row * columns_ - 1;
      int64_t nearest = 0;
      double least = std::numeric_limits<double>::infinity();
      for (int64_t j = 1; j <= columns_; ++j) {
        if (in_tree_[j]) continue;
        const double reduced = cost[j] - row_dual_[row] - column_dual_[j];
        if (reduced < distance_[j]) distance_[j] = reduced, previous_[j] = column;
        if (distance_[j] < least) least = distance_[j], nearest = j;
      }
      for (int64_t j = 0; j <= columns_; ++j) {
        if (in_tree_[j])
          row_dual_[row_of_[j]] += least, column_dual_[j] -= least;
        else
          distance_[j] -= least;
      }
      column = nearest;
    } while (row_of_[column] >= 0);
    return column;
  }

  const int64_t rows_, columns_;
  std::vector<double> cost_, row_dual_, column_dual_, distance_;
  std::vector<int64_t> row_of_, previous_;
  std::vector<char> in_tree_;
};

}  // namespace

bool assign(const float *cost, const uint8_t *valid, int64_t queries, int64_t instances, int32_t *result) try {
  std::vector<int64_t> columns;
  for (int64_t n = 0; n < instances; ++n) {
    result[n] = -1;
    if (valid[n]) columns.push_back(n);
  }
  const int64_t count = static_cast<int64_t>(columns.size());
  if (count == 0 || queries == 0) return true;
  double largest = 0;
  for (int64_t q = 0; q < queries; ++q)
    for (int64_t n : columns)
      if (std::isfinite(cost[q * instances + n])) largest = std::max(largest, std::fabs(double(cost[q * instances + n])));
  const bool transposed = count > queries;  // the smaller side becomes the rows
  const int64_t rows = transposed ? queries : count, others = transposed ? count : queries;
  const double excluded = (largest + 1.0) * 4.0 * static_cast<double>(rows + 1);
  std::vector<double> table(static_cast<size_t>(rows * others));
  for (int64_t i = 0; i < count; ++i)
    for (int64_t q = 0; q < queries; ++q) {
      const float given = cost[q * instances + columns[i]];
      table[transposed ? q * others + i : i * others + q] = std::isfinite(given) ? given : excluded;
    }
  Matching matching(rows, others, std::move(table));
  const std::vector<int64_t> &row_of = matching.solve();
  for (int64_t j = 1; j <= others; ++j) {
    if (row_of[j] < 0) continue;
    if (transposed)
      result[columns[j - 1]] = static_cast<int32_t>(row_of[j]);
    else
      result[columns[row_of[j]]] = static_cast<int32_t>(j - 1);
  }
  return true;
} catch (const std::bad_alloc &) {
  return false;
}

}  // namespace mindvideo
