// CLIP's image tower, ready for images: the teacher.
//
//   const ClipImageEncoder teacher = ClipImageEncoder::load("clip-vit-base-patch32");
//   Tensor y = teacher.embed(images);                                 // uint8 [B,S,S,3] -> float32 [B,E]
//
// Weights: a Hugging Face folder, a .safetensors or .pt file, OpenAI's archives (models/clip/weights.h).
#pragma once
#include <memory>
#include <string>

#include "models/clip/image_tower.h"
#include "models/pixels.h"

namespace vitral::models {

class ClipImageEncoder {
 public:
  /// heads: 0: from the configuration, else width / 64; activation: "": from it, else quick_gelu. UsageError
  /// or Error, one line, where that does not give an image tower.
  static ClipImageEncoder load(const std::string& path, Device device = cpu, int heads = 0,
                               const std::string& activation = "");

  const ClipImageConfig& config() const { return tower_->config(); }
  Device device() const { return device_; }
  /// What its pixels are normalised with: what the files beside the weights say, else CLIP's.
  const ChannelStatistics& statistics() const { return statistics_; }
  /// What neither the files nor the caller said: "12 heads (width / 64) and quick_gelu"; "": nothing.
  const std::string& guessed() const { return guessed_; }

  /// images uint8 [B,S,S,3] on the CPU, S = config().image_size; the embeddings float32 [B,E], not of unit
  /// length, are there, too (in pinned memory where the tower is on a GPU). Computes in pieces of at most
  /// `batch` images.
  Tensor embed(const Tensor& images, std::int64_t batch = 64) const;
  /// What the class token attends to in the last block, averaged over heads: float32 [B,N], row-major over
  /// the grid. Without its weight on itself; rows sum to less than 1.
  Tensor class_attention(const Tensor& images, std::int64_t batch = 64) const;

 private:
  ClipImageEncoder(std::unique_ptr<ClipImageTower> tower, const ChannelStatistics& statistics,
                   std::string guessed, Device device)
      : tower_(std::move(tower)), statistics_(statistics), guessed_(std::move(guessed)), device_(device) {}

  std::unique_ptr<ClipImageTower> tower_;
  ChannelStatistics statistics_;
  std::string guessed_;
  Device device_;
};

}  // namespace vitral::models
