// What every pretrained teacher is made of: a tower for images, and where the family has one, a tower for
// texts into the same space. A family (models/clip, models/siglip, models/dinov2) derives from these and has
// a row in models/pretrained/families.cpp.
#pragma once
#include <map>
#include <string>
#include <utility>

#include "nn/block.h"

namespace vitral::models {

/// What stands in the files beside a checkpoint, flattened: "vision_config.hidden_size" = "768".
using Metadata = std::map<std::string, std::string>;

struct ImageTowerConfig {
  int image_size = 224;  // S
  int patch_size = 16;
  nn::BlockConfig block;  // width W, heads, MLP, ...
  int layers = 12;
  int embedding = 512;  // E
  int registers = 0;    // tokens that are neither patches nor the class

  int grid() const { return image_size / patch_size; }
  int tokens() const { return grid() * grid(); }  // N
};

/// How patch tokens come into the space of the embeddings, for which they were not trained. The last two put
/// something else in the place of the last block, whose residual connection and MLP serve the class token.
enum class DenseTokens : std::uint8_t {
  vanilla,  // as the tower has them
  value,    // out_proj(v) of the last attention, each token for itself (MaskCLIP, arXiv 2112.01071)
  /// out_proj(A v) with A = softmax_j(k_i . k_j / sqrt(d) + w_ij) over patch tokens alone, where w_ij =
  /// exp(-|place_i - place_j|^2 / (2 5^2)), places being those on the grid (NACLIP, arXiv 2404.08181)
  naclip
};

/// Dense tokens [B,g g,E] on another grid, [B,grid grid,E]: bilinear between the middles of cells, without
/// antialiasing, the border's values beyond them.
class OnGrid {
 public:
  Variable operator()(const Variable& tokens, int grid) const;

 private:
  mutable std::map<std::pair<int, int>, Variable> weights_;  // from one grid to another; see constant.h
};

/// A parameter in the dtype of activations: the copy of it where one is kept (nn::Module::keep_copies) and
/// nobody asks for its gradient.
Variable in_dtype(const nn::Parameter& parameter, DType dtype);
/// The same of rows [begin, end) of a weight, as linear() takes it.
Weight rows_of(const nn::Parameter& weight, std::int64_t begin, std::int64_t end);

class ImageTower : public nn::Module {
 public:
  struct Output {
    Variable embedding;  // [B,E]
    Variable attention;  // [B,N]: what the embedding is made of; where asked for
  };
  /// images [B,3,S,S], normalised as the family does it. Embeddings are as the tower gives them, not of unit
  /// length. `attention`: the weights on each patch of the token that becomes the embedding, in the last
  /// attention that it takes part in, averaged over heads.
  virtual Output forward(const Variable& images, bool attention = false) const = 0;
  /// Whether it has dense().
  virtual bool has_dense() const { return false; }
  /// The patches in the space of the embeddings [B,N,E], row-major over the grid, not of unit length.
  /// UsageError: the family has none.
  virtual Variable dense(const Variable& images, DenseTokens way) const;
  const ImageTowerConfig& config() const { return config_; }

 protected:
  /// UsageError naming `tower`: sizes that are not positive or do not fit each other.
  ImageTower(const ImageTowerConfig& config, std::string_view tower);
  /// UsageError naming `tower`: images of another shape.
  void check_images(const Variable& images, std::string_view tower) const;

 private:
  ImageTowerConfig config_;
};

struct TextTowerConfig {
  int context = 77;  // L, with the tokens that begin and end a text
  int vocabulary = 49408;
  nn::BlockConfig block;  // width W, heads, MLP, ...
  int layers = 12;
  int embedding = 512;  // E
};

class TextTower : public nn::Module {
 public:
  /// tokens int64 [T,L] on the CPU, as the family's tokeniser gives them -> [T,E], not of unit length.
  virtual Variable forward(const Tensor& tokens) const = 0;
  const TextTowerConfig& config() const { return config_; }

 protected:
  /// UsageError naming `tower`: sizes that are not positive or do not fit each other.
  TextTower(const TextTowerConfig& config, std::string_view tower);

 private:
  TextTowerConfig config_;
};

}  // namespace vitral::models
