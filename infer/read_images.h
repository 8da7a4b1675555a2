// Image files as batches of the sizes that models read.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/image_files.h"
#include "data/images/image.h"
#include "tensor/tensor.h"

namespace vitral::infer {

struct ImageBatch {
  std::vector<Tensor>
      pixels;  // one a size: pinned uint8 [n,S,S,3], the images that decode; undefined where none does
  std::vector<std::int64_t> usable;   // which of the files those are
  std::vector<std::string> problems;  // one a file: why it does not decode, one line, or ""
};

/// Decoded on all cores and stretched to each size (data/images/transform.h), as in validation.
/// scaled_decode: JPEG files at a fraction of their size where that is at least twice the largest of `sizes`
/// (data/images/image.h). ReadError (base/files/input_file.h): one could not be read at all.
ImageBatch read_images(std::span<const data::ImageFile> files, const std::vector<int>& sizes,
                       data::Exif exif = data::Exif::apply, bool scaled_decode = false);

}  // namespace vitral::infer
