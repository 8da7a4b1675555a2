// The gradient of a batch that is cut into slices, each the work of one process: the balanced binary tree
// over the slices' gradients, ((g0 + g1) + (g2 + g3)) + ..., the same bits for any number of processes. And
// what all of them must agree on in the same step: loss, images that counted, a signal to stop.
//
// A process that has a run of 2^k slices holds whole subtrees. Between processes: each gets its piece of all
// partial sums (all-to-all), adds them in the order of the tree, and all get all pieces (all-gather): the
// bytes of a ring, 2 (N - 1) / N of the gradient sent by each of N processes. On the CPU through the group
// (MPI), between GPUs by Collective (NCCL), queued like the kernels around it.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "nn/module.h"
#include "processes/group.h"
#include "tensor/collective.h"
#include "tensor/ops/update.h"

namespace vitral::train {

struct TrainConfig;

/// What a slice brings, float64 where the gradients are: the control of its part of the step
/// (tensor/ops/update.h), and behind it what is added up for the host alone.
enum SliceNumber : int {
  slice_skipped = update_slots,  // images that did not decode
  slice_signal,                  // that asks this process to stop, or 0
  slice_seconds,                 // that the process worked on it
  slice_numbers
};

/// Into how many slices a batch is cut. UsageError: the processes cannot share them.
std::int64_t slices_of(const TrainConfig& config, const Group& group);

class Exchange {
 public:
  /// slices: of all processes, slices_of(). The parameters must be float32, and stay on their device.
  Exchange(Group& group, std::int64_t slices, const nn::Module& module);

  std::int64_t slices() const { return slices_; }
  std::int64_t own_slices() const { return slices_ / group_.size(); }
  std::int64_t first_slice() const { return own_slices() * group_.rank(); }
  /// Where slice k of this process begins in a batch of so many images.
  std::int64_t first_sample(std::int64_t images, std::int64_t k) const {
    return images * (first_slice() + k) / slices_;
  }
  /// float64 [slice_numbers]: what slice k of this process brings.
  Tensor numbers(std::int64_t k) const { return own_.rows(k, k + 1).reshape({slice_numbers}); }
  /// Slices that were added and not finished, of a step that failed, are forgotten.
  void begin();
  /// The gradients of the module are those of this process's next slice. Where it had images, the same
  /// parameters have gradients as in every slice of every step.
  void add();
  /// All slices of this process were added. gradients() are then the tree's sums over the slices of all
  /// processes; control[update_loss] and what follows it are the sums of their numbers.
  void finish(Tensor& control);
  /// What each slice of this process has, [own_slices(),...], of all slices: [slices,...].
  Tensor gather(const Tensor& own);
  /// Whether it is known which parameters have gradients: before, the processes must talk about it.
  bool is_settled() const { return !has_gradient_.empty(); }

  /// In the order of the module's parameters; undefined where no slice ever had one.
  std::span<const Tensor> gradients() const { return gradients_; }
  /// float64 [slices, slice_numbers]: the numbers of all slices.
  const Tensor& all_numbers() const { return all_; }

 private:
  void settle();
  void all_to_all(Tensor& to, const Tensor& from);
  void all_gather(Tensor& to, const Tensor& from);

  Group& group_;
  std::int64_t slices_;
  std::optional<Collective> collective_;  // of several GPUs
  std::vector<nn::NamedParameter> parameters_;
  std::vector<std::int64_t> offsets_;        // in the flat gradient
  std::int64_t elements_ = 0;                // of it
  std::vector<unsigned char> defined_;       // a parameter: whether a slice of this process had a gradient
  std::vector<unsigned char> has_gradient_;  // the same of all processes; empty: not known yet
  std::vector<Tensor> levels_;               // [l]: the sum over 2^l slices, or undefined
  std::vector<Tensor> free_;                 // buffers
  Tensor received_;
  Tensor own_, all_, sums_;  // numbers: of this process's slices, of all, and their sums in row 0
  std::vector<Tensor> gradients_;
};

}  // namespace vitral::train
