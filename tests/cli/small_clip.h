// A CLIP small enough to make up: random weights under OpenAI's names, in a safetensors file.
#pragma once
#include <string>

#include "data/weights/safetensors.h"
#include "models/clip/image_tower.h"
#include "tests/cli/small_run.h"

namespace vitral::test {

inline models::ClipImageConfig small_clip_image() {
  models::ClipImageConfig c;
  c.image_size = small_size;
  c.patch_size = 16;
  c.width = 64;
  c.layers = 2;
  c.heads = 1;
  c.embedding = small_width;
  return c;
}

/// The image tower's tensors are those of models::ClipImageTower(config, seed).
inline void write_clip(const std::string& path, const models::ClipImageConfig& config = small_clip_image(),
                       std::uint64_t seed = 3) {
  data::NamedTensors tensors;
  for (const auto& [name, tensor] : models::ClipImageTower(config, seed).state())
    tensors.emplace_back("visual." + name, tensor);
  data::write_safetensors(path, tensors);
}

}  // namespace vitral::test
