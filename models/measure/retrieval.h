// Retrieval: does an embedding find what belongs to it, by cosine, among all candidates?
//
//   recall@k   the fraction of queries that have a right answer among their first k candidates
//   chance@k   the same for candidates in random order: of a query with m right answers among G,
//              1 - C(G - m, k) / C(G, k)
//
// Candidates of equal cosine (to within 1e-6) stand in random order, so a query counts with the probability
// that a right one is among the first k. Embeddings that are all the same therefore score chance, not 1.
//
//   // Captions and images: query q has the right answers members[group[q]].
//   const Retrieval r = retrieval(texts, images, {{0, 1}, {{0, 2}, {1}}});
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::models {

/// Which candidates are right. Queries with the same right answers share a group, so that this stays small
/// where many pictures show one thing.
struct Answers {
  std::vector<std::int64_t> group;                 // [Q]
  std::vector<std::vector<std::int64_t>> members;  // [groups] candidates, at least one each
};

/// Where the first right answer of a query stands.
struct Rank {
  std::int64_t above = 0;  // wrong candidates before it
  std::int64_t wrong = 0;  // wrong and right ones with its cosine
  std::int64_t right = 0;

  /// The probability that a right answer is among the first k.
  double within(std::int64_t k) const;
};

/// Of each query. float32 [Q,D] and [G,D], of any length; exact, in memory of Q + G rows and one block of
/// cosines. A cosine with a zero vector is 0; one that is not finite is never right and never in the way.
/// UsageError: shapes that do not fit, a query without an answer, an answer that is no candidate.
std::vector<Rank> ranks(const Tensor& queries, const Tensor& candidates, const Answers& answers);

struct Retrieval {
  static constexpr std::array<std::int64_t, 3> depths{1, 5, 10};  // k

  std::int64_t queries = 0, candidates = 0;
  std::array<double, 3> recall{}, chance{};  // at the depths
};
Retrieval retrieval(const Tensor& queries, const Tensor& candidates, const Answers& answers);

/// Rows of a table that say the same: the queries and the candidates of each group are the rows whose cosine
/// with the first of them is at least 1 - 1e-6 (one picture twice, two pictures of one red circle).
Answers same_rows(const Tensor& rows);

/// The rows brought to unit length; zero rows stay zero. float32 [N,D].
Tensor unit_rows(const Tensor& rows);

}  // namespace vitral::models
