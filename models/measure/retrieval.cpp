#include "models/measure/retrieval.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/vectors.h"
#include "tensor/ops/gemm.h"

namespace vitral::models {
namespace {

constexpr float tie = 1e-6F;                                    // what rounding alone may do to a cosine
constexpr std::int64_t scores_at_once = std::int64_t{1} << 24;  // 64 MB

void check_rows(const char* what, const Tensor& t) {
  VITRAL_CHECK(t.dtype() == DType::float32 && t.rank() == 2 && t.numel() > 0,
               "retrieval: {} {} {} must be float32 [N, D]", what, t.dtype(), t.shape());
}

void check(const Tensor& queries, const Tensor& candidates, const Answers& answers) {
  check_rows("queries", queries);
  check_rows("candidates", candidates);
  VITRAL_CHECK(queries.dim(1) == candidates.dim(1),
               "retrieval: queries {} must match last dim of candidates {}", queries.shape(),
               candidates.shape());
  VITRAL_CHECK(static_cast<std::int64_t>(answers.group.size()) == queries.dim(0),
               "retrieval: {} groups for {} queries", answers.group.size(), queries.dim(0));
  for (const auto& members : answers.members) {
    VITRAL_CHECK(!members.empty(), "retrieval: a group has no right answer");
    for (const std::int64_t m : members)
      VITRAL_CHECK(m >= 0 && m < candidates.dim(0), "retrieval: answer {} is out of range, there are {}", m,
                   candidates.dim(0));
  }
  for (const std::int64_t g : answers.group)
    VITRAL_CHECK(g >= 0 && g < static_cast<std::int64_t>(answers.members.size()),
                 "retrieval: group {} is out of range, there are {}", g, answers.members.size());
}

// Rows of a matrix product with all candidates that fit into the memory of one block.
std::int64_t rows_at_once(std::int64_t candidates) {
  return std::clamp<std::int64_t>(scores_at_once / candidates, 1, 256);
}

Rank rank_of(const float* scores, std::int64_t candidates, const std::vector<std::int64_t>& right) {
  constexpr float none = -std::numeric_limits<float>::infinity();
  float best = none;
  for (const std::int64_t r : right)
    if (std::isfinite(scores[r])) best = std::max(best, scores[r]);
  if (best == none) return {candidates, 0, 0};
  Rank rank;
  for (std::int64_t c = 0; c < candidates; ++c) {
    rank.above += scores[c] > best + tie ? 1 : 0;
    rank.wrong += std::abs(scores[c] - best) <= tie ? 1 : 0;
  }
  for (const std::int64_t r : right) rank.right += scores[r] >= best - tie ? 1 : 0;
  rank.wrong -= rank.right;
  return rank;
}

}  // namespace

double Rank::within(std::int64_t k) const {
  const std::int64_t free = k - above;  // places that the tied ones get
  if (free <= 0 || right == 0) return 0;
  double none = 1;  // probability that only wrong ones get them
  for (std::int64_t i = 0; i < free && none > 0; ++i)
    none *=
        static_cast<double>(std::max<std::int64_t>(wrong - i, 0)) / static_cast<double>(wrong + right - i);
  return 1 - none;
}

Tensor unit_rows(const Tensor& rows) {
  check_rows("rows", rows);
  Tensor out(rows.shape());
  const std::int64_t count = rows.dim(0), width = rows.dim(1);
#pragma omp parallel for
  for (std::int64_t i = 0; i < count; ++i) {
    const float* from = rows.data<float>() + i * width;
    float* to = out.data<float>() + i * width;
    const double own = length(from, width);
    for (std::int64_t j = 0; j < width; ++j) to[j] = own == 0 ? 0 : static_cast<float>(from[j] / own);
  }
  return out;
}

std::vector<Rank> ranks(const Tensor& queries, const Tensor& candidates, const Answers& answers) {
  check(queries, candidates, answers);
  const Tensor q = unit_rows(queries), c = unit_rows(candidates);
  const std::int64_t count = q.dim(0), all = c.dim(0), block = rows_at_once(all);
  std::vector<Rank> out(static_cast<std::size_t>(count));
  for (std::int64_t begin = 0; begin < count; begin += block) {
    const std::int64_t height = std::min(block, count - begin);
    Tensor scores({height, all});
    kernel::gemm(scores, q.rows(begin, begin + height), c, {.transpose_b = true});
#pragma omp parallel for
    for (std::int64_t i = 0; i < height; ++i) {
      const auto query = static_cast<std::size_t>(begin + i);
      const auto group = static_cast<std::size_t>(answers.group[query]);
      out[query] = rank_of(scores.data<float>() + i * all, all, answers.members[group]);
    }
  }
  return out;
}

Retrieval retrieval(const Tensor& queries, const Tensor& candidates, const Answers& answers) {
  const std::vector<Rank> found = ranks(queries, candidates, answers);
  Retrieval out;
  out.queries = queries.dim(0);
  out.candidates = candidates.dim(0);
  for (std::size_t d = 0; d < Retrieval::depths.size(); ++d) {
    const std::int64_t k = Retrieval::depths[d];
    for (std::size_t q = 0; q < found.size(); ++q) {
      const auto right =
          static_cast<std::int64_t>(answers.members[static_cast<std::size_t>(answers.group[q])].size());
      out.recall[d] += found[q].within(k);
      out.chance[d] += Rank{0, out.candidates - right, right}.within(k);
    }
    out.recall[d] /= static_cast<double>(out.queries);
    out.chance[d] /= static_cast<double>(out.queries);
  }
  return out;
}

Answers same_rows(const Tensor& rows) {
  const Tensor unit = unit_rows(rows);
  const std::int64_t count = unit.dim(0), block = rows_at_once(count);
  Answers out;
  out.group.resize(static_cast<std::size_t>(count));
  for (std::int64_t begin = 0; begin < count; begin += block) {
    const std::int64_t end = std::min(begin + block, count);
    Tensor scores({end - begin, end});
    kernel::gemm(scores, unit.rows(begin, end), unit.rows(0, end), {.transpose_b = true});
    for (std::int64_t i = begin; i < end; ++i) {
      const float* score = scores.data<float>() + (i - begin) * end;
      const auto first = std::find_if(score, score + i, [](float s) { return s >= 1 - tie; }) - score;
      const auto row = static_cast<std::size_t>(i);
      if (first == i) {
        out.group[row] = static_cast<std::int64_t>(out.members.size());
        out.members.emplace_back();
      } else {
        out.group[row] = out.group[static_cast<std::size_t>(first)];
      }
      out.members[static_cast<std::size_t>(out.group[row])].push_back(i);
    }
  }
  return out;
}

}  // namespace vitral::models
