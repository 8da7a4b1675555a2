// A CLIP small enough to be made on the spot: random weights, the small vocabulary of tests/golden, and
// embeddings as wide as those of the small students.
#pragma once
#include <filesystem>
#include <string>

#include "data/weights/safetensors.h"
#include "models/clip/image_tower.h"
#include "models/clip/text_tower.h"
#include "tests/support.h"

namespace vitral::test {

inline constexpr const char* small_merges = "tests/golden/tokenizer_merges.txt";

inline models::TextTowerConfig tiny_clip_text(int embedding = 16) {
  models::TextTowerConfig c = models::clip_text_config();
  c.context = 12;
  c.vocabulary = 614;
  c.block.width = 64;
  c.layers = 2;
  c.block.heads = 1;
  c.embedding = embedding;
  return c;
}

inline models::ImageTowerConfig tiny_clip_image(int embedding = 16) {
  models::ImageTowerConfig c = models::clip_image_config();
  c.image_size = 24;
  c.patch_size = 8;
  c.block.width = 64;
  c.layers = 1;
  c.block.heads = 1;
  c.embedding = embedding;
  return c;
}

/// Both towers under OpenAI's names, and the temperature.
inline data::NamedTensors tiny_clip_state(int embedding = 16, std::uint64_t seed = 3) {
  data::NamedTensors out;
  for (const auto& [name, tensor] : models::ClipImageTower(tiny_clip_image(embedding), seed).state())
    out.emplace_back("visual." + name, tensor);
  for (const auto& entry : models::ClipTextTower(tiny_clip_text(embedding), seed).state())
    out.push_back(entry);
  out.emplace_back("logit_scale", Tensor::full({}, 3.5));
  return out;
}

/// CLIP's image tower alone: clip.safetensors and config.json in a folder that is there.
inline void write_image_tower(const std::string& folder, const models::ImageTowerConfig& config) {
  data::NamedTensors tensors;
  for (const auto& [name, tensor] : models::ClipImageTower(config, 3).state())
    tensors.emplace_back("visual." + name, tensor);
  data::write_safetensors(folder + "/clip.safetensors", tensors);
  put_file(folder + "/config.json",
           R"({"vision_config": {"num_attention_heads": 1, "hidden_act": "quick_gelu"}})");
}

/// A tower for images of `size` pixels a side.
inline models::ImageTowerConfig tiny_teacher(int size, int patch, int embedding) {
  models::ImageTowerConfig c = tiny_clip_image(embedding);
  c.image_size = size;
  c.patch_size = patch;
  return c;
}

/// A folder with model.safetensors, config.json and merges.txt.
inline void write_tiny_clip(const std::string& folder, int embedding = 16, std::uint64_t seed = 3) {
  std::filesystem::create_directories(folder);
  data::NamedTensors tensors = tiny_clip_state(embedding, seed);
  // Larger weights than fresh ones, so that different texts have different embeddings.
  for (auto& [name, tensor] : tensors)
    if (name == "token_embedding.weight" || name.ends_with("positional_embedding"))
      for (std::int64_t i = 0; i < tensor.numel(); ++i) tensor.data<float>()[i] *= 20;
  data::write_safetensors(folder + "/model.safetensors", tensors);
  put_file(folder + "/config.json",
           R"({"vision_config": {"num_attention_heads": 1, "hidden_act": "quick_gelu"},
               "text_config": {"num_attention_heads": 1, "hidden_act": "quick_gelu"}})");
  std::filesystem::copy_file(small_merges, folder + "/merges.txt",
                             std::filesystem::copy_options::overwrite_existing);
}

}  // namespace vitral::test
