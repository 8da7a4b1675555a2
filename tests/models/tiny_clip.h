// A CLIP small enough to be made on the spot: random weights, the small vocabulary of tests/golden, and
// embeddings as wide as those of the small students.
#pragma once
#include <filesystem>
#include <string>

#include "data/text/vocabulary.h"
#include "data/weights/safetensors.h"
#include "models/clip/config.h"
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

/// Its configuration as a training has it, but with two heads, where width / 64 is one.
inline models::ClipConfig trained_clip_config() {
  models::ClipConfig c;
  c.image_size = 24;
  c.patch_size = 8;
  c.width = 16;
  c.vision = {.width = 64, .layers = 1, .heads = 2};
  static_cast<models::ClipTowerShape&>(c.text) = {.width = 64, .layers = 2, .heads = 2};
  c.text.context = 12;
  c.text.vocabulary_size = 614;
  return c;
}

/// A run of model.kind clip as far as who reads its weights sees it; gives the path of its checkpoint.
inline std::string write_trained_clip(const std::string& run) {
  const std::string name = "step-000000005", checkpoint = run + "/checkpoints/" + name;
  std::filesystem::create_directories(checkpoint);
  data::NamedTensors tensors = tiny_clip_state();
  for (auto& [key, tensor] : tensors)
    if (key == "logit_scale") tensor = tensor.reshape({1});  // as the module has it
  data::write_safetensors(checkpoint + "/model.safetensors", tensors, to_metadata(trained_clip_config()));
  put_file(run + "/checkpoints/latest", name + "\n");
  data::write_vocabulary(run, data::read_vocabulary(small_merges));
  return checkpoint;
}

}  // namespace vitral::test
