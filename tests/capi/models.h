// The smallest files that the C interface opens.
#pragma once
#include "data/images/image.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"

namespace vitral::test {

inline constexpr const char* tiny_student = "tests/golden/run_init.safetensors";  // S 16, N 16, D 16

/// In a folder that is there: clip/, with embeddings as wide as the student's, and picture.png.
inline void write_capi_files(const std::string& folder) {
  write_tiny_clip(folder + "/clip");
  data::write_image(folder + "/picture.png", noise_image(40, 30, 5));
}

}  // namespace vitral::test
