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
#include <functional>
#include <memory>
#include <string>
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

/// The /embeddings of an HDF5 file: float [N,D] as `vitral embed` writes them, or those of a dataset, of
/// which [N,V,D] the plain view (seed 0) counts, else the first.
class StoredEmbeddings {
 public:
  /// UsageError: no such file, no embeddings in it, other shapes; Error: damaged.
  explicit StoredEmbeddings(const std::string& path);
  ~StoredEmbeddings();
  StoredEmbeddings(StoredEmbeddings&&) noexcept;
  StoredEmbeddings& operator=(StoredEmbeddings&&) noexcept;

  const std::string& path() const;
  std::int64_t size() const;   // N
  std::int64_t width() const;  // D
  /// All rows in order, in blocks of some megabytes, the next of which is read while `use` works.
  void each_block(const std::function<void(const Tensor& rows, std::int64_t first)>& use) const;
  /// Entries of /names, or "image 17" where there are none.
  std::vector<std::string> names(const std::vector<std::int64_t>& rows) const;
  /// Whether the file is a dataset, which holds the images.
  bool has_images() const;
  /// uint8 [H,W,3], of a dataset.
  Tensor image(std::int64_t row) const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

}  // namespace vitral::infer
