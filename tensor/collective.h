// Exchanges between the GPUs of several processes: copies alone, queued on `compute` like kernels, and
// recorded in graphs. What is added, and in which order, is the caller's business.
//
//   std::string id = rank == 0 ? Collective::make_id(device) : "";     // and by other means to all
//   Collective collective(device, rank, size, id);
//   collective.all_to_all(received, gradient);
//
// All processes queue the same exchanges in the same order. By NCCL
// (https://docs.nvidia.com/deeplearning/nccl); Error where it is missing or fails.
#pragma once
#include <memory>
#include <string>

#include "tensor/tensor.h"

namespace vitral {

class Collective {
 public:
  static std::string make_id(Device device);
  /// Returns when all `size` processes are there. No two of them may be on one GPU.
  Collective(Device device, int rank, int size, const std::string& id);

  /// `to` and `from`, of one size, are as many equal pieces as there are processes: piece i goes to process
  /// i, piece i comes from it.
  void all_to_all(Tensor& to, const Tensor& from);
  /// `to` gets `from` of each process, in the order of their ranks.
  void all_gather(Tensor& to, const Tensor& from);

 private:
  Device device_;
  int size_;
  std::shared_ptr<void> collective_;
};

}  // namespace vitral
