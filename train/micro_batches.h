// A batch in pieces that fit into memory.
//
// A loss that compares all images (Objective::features()) knows its gradient only when it has seen the whole
// batch. So it is computed three times over: the features of all pieces without gradients, the loss of all
// features with its gradient for each row, and the pieces once more, each of which carries its rows of that
// gradient back (GradCache: Gao et al. 2021, arXiv 2101.06983). The memory is that of one piece and the
// features, the time a forward pass more.
#pragma once
#include <cstdint>
#include <functional>

#include "models/objective.h"

namespace vitral::train {

/// Images that lie together.
struct BatchRows {
  std::int64_t begin = 0, end = 0;  // rows of what is here
  std::int64_t first_sample = 0;    // the number of the first in the whole batch

  std::int64_t size() const { return end - begin; }
};

class MicroBatches {
 public:
  /// dtype: of activations. step: int64 [1], of ForwardContext.
  MicroBatches(const models::Objective& objective, DType dtype, std::uint64_t seed, Tensor step)
      : objective_(objective), dtype_(dtype), seed_(seed), step_(std::move(step)) {}

  using Work = std::function<void(const data::Inputs& piece, const nn::ForwardContext& context,
                                  std::int64_t begin, std::int64_t end)>;
  /// In pieces of at most `size` images; [begin, end): where each lies among the rows.
  void for_each(const data::Inputs& inputs, const BatchRows& rows, std::int64_t size, const Work& work) const;
  /// The features of these images, written to rows [0, rows.size()) of `to` [n,F].
  void features(Tensor& to, const data::Inputs& inputs, const BatchRows& rows, std::int64_t size) const;
  /// Parameters get what `gradient` [n,F], d loss / d features, means for them.
  void carry_back(const Tensor& gradient, const data::Inputs& inputs, const BatchRows& rows,
                  std::int64_t size) const;

 private:
  const models::Objective& objective_;
  DType dtype_;
  std::uint64_t seed_;
  Tensor step_;
};

}  // namespace vitral::train
