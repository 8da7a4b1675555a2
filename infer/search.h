// Search by cosine, exact: which of many embeddings are the closest to each query.
//
//   Search search(queries, 10);                             // float32 [Q,D]
//   StoredEmbeddings("photos.h5").each_block([&](const Tensor& rows, std::int64_t first) {
//     search.add(rows, first);
//   });
//   search.hits(0)[0].index                                 // the best row for the first query
//
// Memory: a block of rows and the k best of each query, however many rows there are. Rows need not be of unit
// length; those without a direction (zero, not finite, or beyond what float32 can square) are left out and
// counted. Equal scores are ordered by row.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::infer {

struct Hit {
  std::int64_t index = 0;
  float score = 0;  // cosine
};

class Search {
 public:
  /// queries float32 [Q,D]; the k best rows of each are kept. UsageError: other shapes, a query without a
  /// direction.
  Search(const Tensor& queries, std::int64_t k);
  ~Search();
  Search(Search&&) noexcept;
  Search& operator=(Search&&) noexcept;

  /// rows float32 [n,D] on the CPU, numbered first, first + 1, ... UsageError: another width.
  void add(const Tensor& rows, std::int64_t first);

  std::int64_t queries() const;
  std::int64_t rows() const;     // that were compared
  std::int64_t skipped() const;  // without a direction
  /// Of one query, the best first; fewer than k where there are fewer rows.
  std::vector<Hit> hits(std::int64_t query) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace vitral::infer
