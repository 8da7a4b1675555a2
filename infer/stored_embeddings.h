// Embeddings that lie in a file: the /embeddings of an HDF5 file, float [N,D] as `vitral embed` writes them,
// or those of a dataset, of which [N,V,D] the plain view (seed 0) counts, else the first.
//
//   StoredEmbeddings("photos.h5").each_block([&](const Tensor& rows, std::int64_t first) { ... });
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "tensor/tensor.h"

namespace vitral::infer {

class StoredEmbeddings {
 public:
  /// UsageError: no such file, no embeddings in it, other shapes; Error: damaged.
  explicit StoredEmbeddings(const std::string& path, const data::DatasetNames& names = {});
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
  /// Those of names() that several rows have, as older versions and other programs write them.
  std::set<std::string> repeated_names() const;
  /// Whether the names are paths as they were given, not relative to one folder.
  bool names_are_paths() const;
  /// Whether the file is a dataset, which holds the images.
  bool has_images() const;
  /// uint8 [H,W,3], of a dataset.
  Tensor image(std::int64_t row) const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

}  // namespace vitral::infer
