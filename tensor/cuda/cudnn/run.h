// Graphs of cuDNN's, planned once for each kind and device and kept to the end of the process, as the streams
// are: cuDNN compiles a graph's kernels when it plans it.
#pragma once
#include <compare>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/cuda/cudnn/graph.h"
#include "tensor/tensor.h"

namespace vitral::cuda::cudnn {

/// cudnnGetVersion(): 91900 is 9.19.0. 0 where cuDNN is missing or does not start, which is said once.
std::int64_t version(Device device);

/// Tells graphs apart.
struct Key {
  std::string_view operation;       // that they are for; of a literal
  std::vector<std::int64_t> sizes;  // and what else they depend on

  auto operator<=>(const Key&) const = default;
};

struct Plan;
/// Of the graph that `build` makes, at the first call with its key. Null where cuDNN cannot do it here (a
/// size or a GPU without a kernel of it, a cuDNN that is too old or incomplete). Kernels that add up in any
/// order are not taken: results have the same bits in every run.
const Plan* find_plan(Device device, const Key& key, const std::function<void(Graph&)>& build);

struct Argument {
  std::int64_t id;  // of the graph's tensor
  void* data;       // a multiple of `alignment` in device memory
};
/// Queues it. Error that names `operation` and what it was for, `of`.
void execute(const char* operation, const Plan& plan, std::span<const Argument> arguments, const Tensor& of);

/// Whether an address is what the graphs promise; that of an undefined tensor is.
bool aligned(const Tensor& t);

}  // namespace vitral::cuda::cudnn
