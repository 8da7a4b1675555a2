// A CLIP small enough to make up: random weights under OpenAI's names, in a safetensors file.
#pragma once
#include <string>

#include "data/safetensors.h"
#include "nn/clip.h"
#include "tests/cli/small_run.h"

namespace vitral::test {

inline nn::ClipImageConfig small_clip_image() {
  nn::ClipImageConfig c;
  c.image_size = small_size;
  c.patch_size = 16;
  c.width = 64;
  c.layers = 2;
  c.heads = 1;
  c.embedding = small_width;
  return c;
}

/// The image tower's tensors are those of nn::ClipImage(config, seed).
inline void write_clip(const std::string& path, const nn::ClipImageConfig& config = small_clip_image(),
                       std::uint64_t seed = 3) {
  data::NamedTensors tensors;
  for (const auto& [name, tensor] : nn::ClipImage(config, seed).state())
    tensors.emplace_back("visual." + name, tensor);
  data::write_safetensors(path, tensors);
}

}  // namespace vitral::test
