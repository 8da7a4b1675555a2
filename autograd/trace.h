// The operations of a computation as a list: for whoever writes it down in another language (ONNX).
//
//   Trace trace;
//   const Variable y = model(x);
//   for (const TracedOperation& step : trace.operations()) write(step.name, step.inputs, step.output);
//
// While one lives, operations of this thread record no gradients, and the fused ones are computed as their
// composed references (autograd/composed.h), so that the list holds elementary operations only: those of
// autograd/ops.h whose results go through make_result().
#pragma once
#include <map>
#include <string>
#include <vector>

#include "autograd/operation.h"
#include "autograd/variable.h"

namespace vitral {

struct TracedOperation {
  std::string name;            // as in autograd/ops.h
  std::vector<Tensor> inputs;  // all that it was given, in order
  Tensor output;
  std::map<std::string, Attribute::Value> attributes;

  std::int64_t integer(const std::string& attribute) const;
  double number(const std::string& attribute) const;
  const std::vector<std::int64_t>& integers(const std::string& attribute) const;
};

class Trace {
 public:
  /// UsageError where one lives already on this thread.
  Trace();
  ~Trace();
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  const std::vector<TracedOperation>& operations() const { return operations_; }

  /// Whether one lives on this thread.
  static bool active();
  /// For make_result().
  static void record(const Operation& operation, const std::vector<Variable>& inputs, const Tensor& output);

 private:
  NoGrad no_grad_;
  std::vector<TracedOperation> operations_;  // they keep their tensors, so that no memory is used twice
};

}  // namespace vitral
