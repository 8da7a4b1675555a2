#include "infer/search.h"

#include <algorithm>
#include <cmath>

#include "base/vectors.h"
#include "tensor/ops/gemm.h"

namespace vitral::infer {
namespace {

constexpr std::int64_t max_scores = 1 << 24;  // at once

// The length of a row, or 0 where it has no direction.
float length_of(const float* row, std::int64_t width) {
  const double squares = squared_length(row, width);
  return direction_problem(squares) ? 0 : static_cast<float>(std::sqrt(squares));
}

// The order of hits, and of a heap whose front is the worst.
bool better(const Hit& a, const Hit& b) { return a.score != b.score ? a.score > b.score : a.index < b.index; }

}  // namespace

struct Search::State {
  Tensor queries;  // [Q,D], of unit length
  std::size_t k;
  std::vector<std::vector<Hit>> best;  // heaps
  std::int64_t rows = 0, skipped = 0;

  void offer(std::size_t query, const Hit& hit) {
    std::vector<Hit>& heap = best[query];
    if (heap.size() == k) {
      if (!better(hit, heap.front())) return;
      std::pop_heap(heap.begin(), heap.end(), better);
      heap.pop_back();
    }
    heap.push_back(hit);
    std::push_heap(heap.begin(), heap.end(), better);
  }

  void add(const Tensor& part, std::int64_t first) {
    const std::int64_t count = part.dim(0), q = queries.dim(0), width = queries.dim(1);
    std::vector<float> lengths(static_cast<std::size_t>(count));
#pragma omp parallel for schedule(static)
    for (std::int64_t i = 0; i < count; ++i)
      lengths[static_cast<std::size_t>(i)] = length_of(part.data<float>() + i * width, width);
    Tensor scores({q, count});
    kernel::gemm(scores, queries, part, {.transpose_b = true});
    for (std::int64_t j = 0; j < q; ++j) {
      const float* score = scores.data<float>() + j * count;
      for (std::int64_t i = 0; i < count; ++i)
        if (const float length = lengths[static_cast<std::size_t>(i)]; length > 0)
          offer(static_cast<std::size_t>(j), {first + i, score[i] / length});
    }
    const auto without = std::count(lengths.begin(), lengths.end(), 0.0F);
    skipped += without;
    rows += count - without;
  }
};

Search::Search(const Tensor& queries, std::int64_t k) : state_(std::make_unique<State>()) {
  VITRAL_CHECK(queries.rank() == 2 && queries.dtype() == DType::float32 && queries.numel() > 0,
               "search: queries {} {} must be float32 [Q, D]", queries.dtype(), queries.shape());
  VITRAL_CHECK(k >= 1, "search: k is {}, it must be at least 1", k);
  const std::int64_t count = queries.dim(0), width = queries.dim(1);
  state_->k = static_cast<std::size_t>(k);
  state_->best.resize(static_cast<std::size_t>(count));
  state_->queries = Tensor({count, width});
  for (std::int64_t j = 0; j < count; ++j) {
    const float* from = queries.data<float>() + j * width;
    const float length = length_of(from, width);
    VITRAL_CHECK(length > 0, "search: query {} is zero or not finite", j);
    for (std::int64_t i = 0; i < width; ++i) state_->queries.data<float>()[j * width + i] = from[i] / length;
  }
}

Search::~Search() = default;
Search::Search(Search&&) noexcept = default;
Search& Search::operator=(Search&&) noexcept = default;

void Search::add(const Tensor& rows, std::int64_t first) {
  const Tensor& queries = state_->queries;
  VITRAL_CHECK(rows.rank() == 2 && rows.dtype() == DType::float32 && rows.dim(1) == queries.dim(1),
               "search: rows {} {} must be float32 and as wide as the queries {}", rows.dtype(), rows.shape(),
               queries.shape());
  const std::int64_t block = std::max<std::int64_t>(1, max_scores / queries.dim(0));
  for (std::int64_t begin = 0; begin < rows.dim(0); begin += block) {
    const std::int64_t end = std::min(rows.dim(0), begin + block);
    state_->add(rows.rows(begin, end), first + begin);
  }
}

std::int64_t Search::queries() const { return state_->queries.dim(0); }
std::int64_t Search::rows() const { return state_->rows; }
std::int64_t Search::skipped() const { return state_->skipped; }

std::vector<Hit> Search::hits(std::int64_t query) const {
  std::vector<Hit> out = state_->best.at(static_cast<std::size_t>(query));
  std::sort(out.begin(), out.end(), better);
  return out;
}

}  // namespace vitral::infer
