// A computation as an ONNX model: each elementary operation that it traced (autograd/trace.h) becomes one or
// a few standard operators of opset 17. The model follows whatever its C++ computes, so there is no second
// definition.
//
//   data::OnnxModel model = onnx_graph("square", [](std::int64_t batch) {
//     const Variable x(Tensor::zeros({batch, 8}));
//     return OnnxComputation{{{"x", x.value()}}, {{"y", square(x).value()}}};
//   }, {});
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "data/weights/onnx_file.h"

namespace vitral::models {

/// Tensors on the CPU under the names that they have in the model; the first dimension of each is the batch.
struct OnnxComputation {
  std::vector<std::pair<std::string, Tensor>> inputs, outputs;
};

/// compute(batch) computes on the CPU in float32 and says what went in and came out. It runs for two sizes of
/// a batch, which must give one graph: UsageError else, and for an operation that has no ONNX form, naming
/// it. `weights`: the names that constants keep.
data::OnnxModel onnx_graph(const std::string& name,
                           const std::function<OnnxComputation(std::int64_t)>& compute,
                           const std::vector<std::pair<std::string, Tensor>>& weights);

}  // namespace vitral::models
