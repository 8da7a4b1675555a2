// The pictures that a teacher is shown of a dataset's images, as TeachOptions say.
#pragma once
#include <string>
#include <vector>

#include "infer/teach.h"

namespace vitral::infer {

/// Views that are stored of each image; 0: it has none, there is the image as it is.
std::int64_t stored_views(const TeachOptions& options);
std::uint64_t view_seed(const TeachOptions& options, std::int64_t image, std::int64_t view);

/// The pictures of n images, one after the other, and which of the images did not decode.
struct Pictures {
  Tensor pixels;                      // uint8 [n V,T,T,3], T the teacher's size
  Tensor cells;                       // uint8 [n V R,T,T,3], their regions; undefined without
  std::vector<std::string> problems;  // [n]
};

class PictureSource {
 public:
  /// regions: cells a side of their grid, or 0.
  PictureSource(const data::Dataset& dataset, const TeachOptions& options,
                const models::ImageEncoder& teacher, int regions);

  /// Pixels a side of the views.
  int size() const { return size_; }
  /// Of images [first, first + count), on all cores.
  Pictures read(std::int64_t first, std::int64_t count) const;

 private:
  std::int64_t min_side_of(std::int64_t image, std::int64_t view) const;
  Tensor decode(std::int64_t image, std::int64_t min_side, std::string& problem) const;
  Tensor transform(const Tensor& image, std::int64_t i, std::int64_t view) const;

  const data::Dataset& dataset_;
  const TeachOptions& options_;
  const models::ImageEncoder& teacher_;
  int size_, regions_;
};

}  // namespace vitral::infer
