// The gradient of a batch that is cut into slices, each the work of one process: the balanced binary tree
// over the slices' gradients, ((g0 + g1) + (g2 + g3)) + ..., the same bits for any number of processes. And
// what all of them must agree on in the same step: loss, images that counted, a signal to stop.
//
// A process that has a run of 2^k slices holds whole subtrees. Between processes: each gets its piece of all
// partial sums (all-to-all), adds them in the order of the tree, and all get all pieces (all-gather): the
// bytes of a ring, 2 (N - 1) / N of the gradient sent by each of N processes.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "nn/module.h"
#include "processes/group.h"
#include "train/optimizer.h"

namespace vitral::train {

struct TrainConfig;

/// What a slice, or all of them, came to. Losses are sums over images.
struct SliceSums {
  double loss = 0;
  std::array<double, Optimizer::max_terms> terms{};
  double images = 0;   // that counted
  double skipped = 0;  // that did not decode
  double signal = 0;   // that asks this process to stop, or 0; of all: the largest
  double seconds = 0;  // that the process worked on its slices; of all: how much longer the slowest did
};

/// Into how many slices a batch is cut. UsageError: the processes cannot share them.
std::int64_t slices_of(const TrainConfig& config, const Group& group);

class Exchange {
 public:
  /// slices: of all processes, slices_of(). The parameters must be float32 on the CPU.
  Exchange(Group& group, std::int64_t slices, const nn::Module& module);

  /// The gradients of the module are those of this process's next slice.
  void add(const SliceSums& sums);
  /// All slices of this process were added. Returns the sums over all slices of all processes. gradients()
  /// are then those of the batch: the tree's sum times factor(images that counted).
  template <class Factor>
  SliceSums finish(Factor&& factor) {
    const SliceSums sums = reduce();
    scale(factor(sums.images));
    return sums;
  }
  /// Where slice k of this process begins in a batch of so many images.
  std::int64_t first_sample(std::int64_t images, std::size_t k) const {
    return images * (slices_ / group_.size() * group_.rank() + static_cast<std::int64_t>(k)) / slices_;
  }
  /// In the order of the module's parameters; undefined where no slice had one.
  std::span<const Tensor> gradients() const { return gradients_; }

 private:
  SliceSums reduce();
  void scale(double factor);

  Group& group_;
  std::int64_t slices_;
  std::vector<nn::NamedParameter> parameters_;
  std::vector<std::int64_t> offsets_;  // in the flat gradient
  std::int64_t elements_ = 0;   // of it; behind them, for each parameter, how many slices had a gradient
  std::vector<Tensor> levels_;  // [l]: the sum over 2^l slices, or undefined
  std::vector<Tensor> free_;    // buffers
  Tensor received_;
  std::vector<SliceSums> sums_;  // of this process
  std::vector<Tensor> gradients_;
};

}  // namespace vitral::train
