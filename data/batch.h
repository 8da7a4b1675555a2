// Batches of a dataset: what a model is trained on.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

/// What a teacher says of a picture: of all of it, of the regions that are a dataset's boxes, of each patch.
enum class Target : std::uint8_t { image, regions, patches };

/// The tensors of a batch, a row each image. What is new here also stands in `input_members`, which all code
/// goes by that moves inputs without knowing what they mean.
struct Inputs {
  Tensor images;        // uint8 [B,S,S,3], with augmentations [B,H,W,3]
  Tensor targets = {};  // float32 [B,D], or undefined
  /// uint8 [B,R]: what is still to be done to each image, so that it becomes [S,S,3] (tensor/ops/augment.h,
  /// LoaderOptions::defer_augmentation), or undefined.
  Tensor augmentations = {};
  Tensor region_targets = {};  // float32 [B,R,D], or undefined
  Tensor patch_targets = {};   // float32 [B,N,D], row-major over the student's grid, or undefined
  Tensor tokens = {};  // int64 [B,L]: a caption (CaptionTokens of data/text/text_tokenizer.h), or undefined

  /// Images [begin, end), in the same memory.
  Inputs rows(std::int64_t begin, std::int64_t end) const;
  Inputs to(Device device) const;
};
inline constexpr std::array input_members{&Inputs::images,        &Inputs::targets,
                                          &Inputs::augmentations, &Inputs::region_targets,
                                          &Inputs::patch_targets, &Inputs::tokens};

/// Where they lie, and what they are called in a dataset file.
struct TargetKind {
  Target kind;
  Tensor Inputs::*member;
  const char* group;  // has the attributes that say who made them
  const char* dataset;
  const char* what;  // for messages
};
inline constexpr std::array target_kinds{
    TargetKind{Target::image, &Inputs::targets, "/", "/embeddings", "embedding"},
    TargetKind{Target::regions, &Inputs::region_targets, "/regions", "/regions/embeddings",
               "embedding of region"},
    TargetKind{Target::patches, &Inputs::patch_targets, "/patches", "/patches/embeddings",
               "embedding of patch"}};

constexpr const TargetKind& kind_of(Target kind) { return target_kinds[static_cast<std::size_t>(kind)]; }

/// f of each tensor that there is.
template <class F>
Inputs map_inputs(const Inputs& inputs, F&& f) {
  Inputs out;
  for (const auto member : input_members)
    if ((inputs.*member).defined()) out.*member = f(inputs.*member);
  return out;
}

/// One for each of input_members, undefined where there is none; and back.
inline std::vector<Tensor> tensors_of(const Inputs& inputs) {
  std::vector<Tensor> out;
  out.reserve(input_members.size());
  for (const auto member : input_members) out.push_back(inputs.*member);
  return out;
}
inline Inputs inputs_of(const std::vector<Tensor>& tensors) {
  Inputs out;
  for (std::size_t i = 0; i < input_members.size(); ++i) out.*input_members[i] = tensors[i];
  return out;
}

inline Inputs Inputs::rows(std::int64_t begin, std::int64_t end) const {
  return map_inputs(*this, [&](const Tensor& t) { return t.rows(begin, end); });
}
inline Inputs Inputs::to(Device device) const {
  return map_inputs(*this, [&](const Tensor& t) { return t.to(device); });
}

struct SkippedSample {
  std::int64_t index = 0;
  std::string name;    // as it may stand in a message: one line
  std::string reason;  // one line
};

struct Batch : Inputs {
  std::vector<std::int64_t> indices;  // [B] into the dataset
  /// Samples of this batch whose image did not decode, or that have no caption: left out (so B is smaller, in
  /// the worst case 0), never replaced.
  std::vector<SkippedSample> skipped;
  /// Images of the whole batch: with those that were left out, and with those that other processes load.
  std::int64_t planned = 0;
  /// Of the slices of the batch that are here (LoaderOptions::slices): the rows up to the end of each.
  std::vector<std::int64_t> slice_ends;

  std::int64_t size() const { return static_cast<std::int64_t>(indices.size()); }
};

}  // namespace vitral::data
