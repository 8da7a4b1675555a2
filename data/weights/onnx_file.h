// ONNX models (github.com/onnx/onnx, onnx/onnx.proto): a graph of operations on named tensors, which ONNX
// Runtime and others compute. models/student/onnx_export.h builds the student's; here are the file's own
// terms.
//
//   OnnxModel model("student");
//   model.input("x", {"batch", 3});
//   model.node("MatMul", {"x", model.constant("w", weights)}, {}, "y");
//   model.output("y", {"batch", 8});
//   model.write("a.onnx", {{"author", "me"}});
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/files/atomic.h"
#include "tensor/tensor.h"

namespace vitral::data {

/// A size, or the name of one that is known only when the model runs.
using OnnxDim = std::variant<std::int64_t, std::string>;

struct OnnxAttribute {
  std::string name;
  std::variant<std::int64_t, float, std::vector<std::int64_t>> value;
};

class OnnxModel {
 public:
  /// Operators of this version of the standard set (2022; ONNX Runtime 1.12 and later).
  static constexpr std::int64_t opset = 17;

  explicit OnnxModel(std::string name) : name_(std::move(name)) {}

  /// float32 tensors that come in.
  void input(const std::string& name, const std::vector<OnnxDim>& dims);
  /// Adds a tensor of the file, float32, int8 or int64, and gives its name back.
  std::string constant(const std::string& name, const Tensor& tensor);
  std::string constant(const std::string& name, const std::vector<std::int64_t>& values);  // [n]
  std::string constant(const std::string& name, std::int64_t value);                       // []
  std::string constant(const std::string& name, float value);                              // []
  /// Adds an operation with one result, whose name it gives back: `name`, or one made from the operation.
  std::string node(const std::string& operation, const std::vector<std::string>& inputs,
                   const std::vector<OnnxAttribute>& attributes = {}, const std::string& name = "");
  /// The tensor `name` goes out.
  void output(const std::string& name, const std::vector<OnnxDim>& dims);

  /// Writes the file whole or not at all. UsageError for more than the 2 GB that a protobuf may have.
  FileDigest write(const std::string& path, const std::map<std::string, std::string>& metadata = {}) const;

  bool operator==(const OnnxModel&) const = default;

 private:
  std::string name_;
  std::vector<std::string> nodes_, constants_, inputs_, outputs_;  // each a field of the graph
  std::size_t made_up_ = 0;
};

struct OnnxTensor {
  std::string name, dtype;
  std::vector<OnnxDim> dims;
};
struct OnnxNode {
  std::string operation;
  std::vector<std::string> inputs, outputs;
};

/// What a model says of itself.
struct OnnxSummary {
  std::string producer;    // name and version
  std::int64_t opset = 0;  // of the standard operators; 0: it says none
  std::vector<OnnxTensor> inputs, outputs, constants;
  std::vector<OnnxNode> nodes;
  std::map<std::string, std::string> metadata;
};

/// True where the file starts as the ONNX models of every known writer do: with the version of the format.
bool looks_like_onnx(const std::string& path);
/// Throws Error, one line, for a file that is no ONNX model, that is damaged or larger than 2 GB.
OnnxSummary read_onnx_summary(const std::string& path);

}  // namespace vitral::data
