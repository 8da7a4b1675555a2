// What an HDF5 file says, as text that can be compared: equal contents may lie in files that differ.
#pragma once
#include <string>

#include <fmt/format.h>

#include "base/hash.h"
#include "data/hdf5/file.h"

namespace vitral::test {

/// Names, types and shapes, texts themselves and hashes of numbers, and the attributes that vitral knows.
inline std::string hdf5_contents(const std::string& path) {
  const data::H5File file = data::H5File::open(path);
  std::string out;
  for (const auto& entry : file.contents()) {
    out += fmt::format("{} {} {}", entry.name, entry.dtype, entry.shape);
    if (entry.dtype == "other")
      for (const auto& text : file.read_strings(entry.name)) out += " " + text;
    else if (const Tensor values = file.read(entry.name); values.numel() > 0)
      out += fmt::format(" {:016x}", hash_of({static_cast<const char*>(values.raw()),
                                              static_cast<std::size_t>(values.bytes())}));
    out += "\n";
  }
  for (const char* name : {"teacher", "teacher_tower", "plain_transform", "model", "transform", "exif"})
    if (const auto value = file.attribute(name)) out += fmt::format("{} = {}\n", name, *value);
  return out;
}

}  // namespace vitral::test
