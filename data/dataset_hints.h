// What to say of an HDF5 file that is laid out otherwise than docs/dataset.md has it. Each
// text goes behind "FILE: has no /images" or the like, and begins with its own comma or semicolon.
#pragma once
#include <string>

#include "data/hdf5/file.h"

namespace vitral::data {

/// "train/x" and "/train/x" are the same.
std::string absolute(const std::string& name);

/// ", transpose it by (0, 2, 3, 1)": what makes [N,H,W,3] of this shape; "" where nothing is known to.
std::string axes_hint(const Shape& shape);

/// Which datasets could be images or files of them, else what seems to hold them (a dataset for each image,
/// or for each file, other axes); "" where nothing does.
std::string images_hint(const H5File& file);
/// The same for the embeddings of `count` images, float [N,D] or [N,1,D]; count -1: of any number.
std::string embeddings_hint(const H5File& file, std::int64_t count);

}  // namespace vitral::data
