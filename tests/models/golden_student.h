// The student of a golden file.
#pragma once
#include "models/student/student.h"
#include "tests/golden.h"

namespace vitral::test {

inline models::StudentConfig golden_config(const data::H5File& file) {
  models::StudentConfig c;
  const auto number = [&](const char* name) { return static_cast<int>(number_attribute(file, name)); };
  c.image_size = number("input_resolution");
  c.patch_size = number("patch_size");
  c.width = number("width");
  c.layers = number("layers");
  c.heads = number("heads");
  c.attention = number("masked") ? "neighbourhood" : "full";
  return c;
}

}  // namespace vitral::test
