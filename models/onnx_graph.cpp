#include "models/onnx_graph.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <unordered_map>

#include "autograd/trace.h"
#include "tensor/ops/linear_int8.h"

namespace vitral::models {
namespace {

using data::OnnxAttribute;
using Name = std::string;
using Ints = std::vector<std::int64_t>;

class Graph {
 public:
  Graph(const std::string& name, const OnnxComputation& computation,
        const std::vector<std::pair<std::string, Tensor>>& weights)
      : model_(name) {
    for (const auto& [weight, tensor] : weights) weights_[tensor.raw()] = {weight, tensor};
    for (const auto& [input, tensor] : computation.inputs) {
      model_.input(input, dims(tensor));
      known_[key(tensor)] = input;
    }
    for (const auto& [output, tensor] : computation.outputs) wanted_[key(tensor)] = output;
  }

  void add(const TracedOperation& step);

  data::OnnxModel finish(const OnnxComputation& computation) {
    for (const auto& [output, tensor] : computation.outputs) model_.output(output, dims(tensor));
    return std::move(model_);
  }

 private:
  // A tensor is what its memory and shape say: the trace keeps all of them, so no memory is used twice.
  using Key = std::pair<const void*, std::string>;
  static Key key(const Tensor& t) { return {t.raw(), t.shape().str()}; }

  static std::vector<data::OnnxDim> dims(const Tensor& t) {
    std::vector<data::OnnxDim> out{"batch"};
    for (int i = 1; i < t.rank(); ++i) out.emplace_back(t.dim(i));
    return out;
  }

  Name of(const Tensor& t);
  Name transposed_matrix(const Tensor& t);
  // A constant under its content, so that equal ones are stored once.
  Name constant(const std::string& kind, const Tensor& t);
  Name number(double value) { return constant("number", Tensor::full({1}, value)); }
  Name integers(const Ints& values);

  Name node(const char* operation, const std::vector<Name>& inputs,
            const std::vector<OnnxAttribute>& attributes = {}) {
    return model_.node(operation, inputs, attributes,
                       result_ ? std::exchange(result_, nullptr)->c_str() : "");
  }
  // The same for a node in the middle of an operation.
  Name inner(const char* operation, const std::vector<Name>& inputs,
             const std::vector<OnnxAttribute>& attributes = {}) {
    return model_.node(operation, inputs, attributes);
  }
  Name emit(const TracedOperation& step);
  Name pointwise(const TracedOperation& step, const Name& x);
  Name linear(const TracedOperation& step, const Name& x);
  Name linear_int8(const TracedOperation& step, const Name& x);
  Name reduce(const TracedOperation& step, const Name& x);
  Name patchify(const TracedOperation& step, const Name& x);

  data::OnnxModel model_;
  std::unordered_map<const void*, std::pair<std::string, Tensor>> weights_;
  std::map<Key, Name> known_, wanted_;
  std::map<std::string, Name> constants_;
  const Name* result_ = nullptr;  // the name of the output that the operation at hand makes
};

Name Graph::constant(const std::string& kind, const Tensor& t) {
  std::string content(static_cast<const char*>(t.raw()), t.bytes());
  content += t.shape().str();
  const auto [found, is_new] = constants_.try_emplace(content, fmt::format("{}_{}", kind, constants_.size()));
  if (is_new) model_.constant(found->second, t);
  return found->second;
}

Name Graph::integers(const Ints& values) {
  std::string name = "ints";
  for (const std::int64_t v : values) name += fmt::format("_{}", v);
  if (constants_.try_emplace(name, name).second) model_.constant(name, values);
  return name;
}

// What a step reads: made before, a weight, or another constant.
Name Graph::of(const Tensor& t) {
  if (const auto made = known_.find(key(t)); made != known_.end()) return made->second;
  VITRAL_CHECK(t.dtype() == DType::float32, "ONNX: a constant {} is {}, only float32 is written", t.shape(),
               t.dtype());
  if (const auto weight = weights_.find(t.raw()); weight != weights_.end()) {
    const Name name = weight->second.first + (t.shape() == weight->second.second.shape() ? "" : ".reshaped");
    return known_[key(t)] = model_.constant(name, t);
  }
  // Not minus infinity in masks: some optimisers of graphs turn it into NaN. The exponential of this is 0,
  // too.
  constexpr float unseen = -1e30F;
  Tensor copy = t.clone();
  std::replace_if(
      copy.data<float>(), copy.data<float>() + copy.numel(), [](float x) { return x < unseen; }, unseen);
  return constant("constant", copy);
}

// A weight [O,I] as MatMul takes it, [I,O].
Name Graph::transposed_matrix(const Tensor& t) {
  const auto weight = weights_.find(t.raw());
  const Key transposed{t.raw(), "transposed"};
  if (const auto made = known_.find(transposed); made != known_.end()) return made->second;
  const std::int64_t rows = t.dim(0), columns = t.dim(1);
  Tensor out({columns, rows}, t.dtype());
  const auto transpose = [&]<class T>(T) {
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j) out.data<T>()[j * rows + i] = t.data<T>()[i * columns + j];
  };
  if (t.dtype() == DType::int8)
    transpose(std::int8_t{});
  else
    transpose(float{});
  return known_[transposed] = weight == weights_.end()
                                  ? constant("matrix", out)
                                  : model_.constant(weight->second.first + ".transposed", out);
}

void Graph::add(const TracedOperation& step) {
  const Key made = key(step.output);
  if (known_.contains(made)) return;  // the same memory in the same shape: a reshape that was there before
  const auto wanted = wanted_.find(made);
  result_ = wanted == wanted_.end() ? nullptr : &wanted->second;
  known_[made] = emit(step);
}

Name Graph::pointwise(const TracedOperation& step, const Name& x) {
  static const std::map<std::string, const char*> same{
      {"neg", "Neg"}, {"exp", "Exp"},   {"log", "Log"},   {"sqrt", "Sqrt"},
      {"abs", "Abs"}, {"tanh", "Tanh"}, {"relu", "Relu"}, {"sigmoid", "Sigmoid"}};
  if (const auto found = same.find(step.name); found != same.end()) return node(found->second, {x});
  if (step.name == "square") return node("Mul", {x, x});
  if (step.name == "silu") return node("Mul", {x, inner("Sigmoid", {x})});
  if (step.name == "quick_gelu")
    return node("Mul", {x, inner("Sigmoid", {inner("Mul", {x, number(1.702)})})});
  if (step.name == "gelu_erf") {
    const Name erf = inner("Erf", {inner("Mul", {x, number(std::sqrt(0.5))})});
    return node("Mul", {inner("Mul", {x, number(0.5)}), inner("Add", {erf, number(1)})});
  }
  if (step.name == "gelu") {  // x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))
    const Name cube = inner("Mul", {inner("Mul", {x, x}), x});
    const Name u = inner("Add", {x, inner("Mul", {cube, number(0.044715)})});
    return node("Mul", {x, inner("Sigmoid", {inner("Mul", {u, number(2 * 0.7978845608028654)})})});
  }
  throw_error<UsageError>(
      "ONNX: the operation {} has no form in opset {}; export it by a rule in "
      "models/onnx_graph.cpp",
      step.name, data::OnnxModel::opset);
}

Name Graph::linear(const TracedOperation& step, const Name& x) {
  const Name weight = transposed_matrix(step.inputs[1]);
  if (step.inputs.size() < 3) return node("MatMul", {x, weight});
  return node("Add", {inner("MatMul", {x, weight}), of(step.inputs[2])});
}

// Tokens and weights as int8 and back: a runtime that has products of int8 makes one of the MatMul between.
// What ONNX quantises by itself at run time has one scale for all tokens, so theirs are computed: they are
// brought to -127 .. 127, which QuantizeLinear rounds, and multiplied back behind the product.
Name Graph::linear_int8(const TracedOperation& step, const Name& x) {
  const Name peak = inner("ReduceMax", {inner("Abs", {x})}, {{"axes", Ints{-1}}});
  const Name largest = inner("Max", {peak, number(int8_smallest_token)});
  const Name levels = inner("Mul", {x, inner("Div", {number(127), largest})});
  const Name one = constant("one", Tensor::full({}, 1)),
             zero = constant("zero", Tensor::zeros({}, DType::int8));
  const Name token = inner("DequantizeLinear", {inner("QuantizeLinear", {levels, one, zero}), one, zero});
  const Name weight = inner("DequantizeLinear", {transposed_matrix(step.inputs[1]), of(step.inputs[2])},
                            {{"axis", std::int64_t{1}}});
  const Name sum = inner("MatMul", {token, weight}), scale = inner("Div", {largest, number(127)});
  if (step.inputs.size() < 4) return node("Mul", {sum, scale});
  return node("Add", {inner("Mul", {sum, scale}), of(step.inputs[3])});
}

// Over one axis, or over all elements to [1].
Name Graph::reduce(const TracedOperation& step, const Name& x) {
  const bool all = !step.attributes.contains("axis"), mean = step.name == "mean";
  Ints axes;
  if (all)
    for (int i = 0; i < step.inputs[0].rank(); ++i) axes.push_back(i);
  else
    axes.push_back(step.integer("axis"));
  std::vector<Name> inputs{x};
  std::vector<OnnxAttribute> attributes{{"keepdims", std::int64_t{0}}};
  if (mean)
    attributes.push_back({"axes", axes});
  else
    inputs.push_back(integers(axes));
  const char* operation = mean ? "ReduceMean" : "ReduceSum";
  if (!all && step.inputs[0].rank() > 1) return node(operation, inputs, attributes);
  return node("Reshape", {inner(operation, inputs, attributes), integers({1})});  // [1], not []
}

// [B,C,H,W] -> [B,C,R,p,K,p] -> [B,R,K,C,p,p] -> [B,R K,C p p]
Name Graph::patchify(const TracedOperation& step, const Name& x) {
  const Tensor& images = step.inputs[0];
  const std::int64_t p = step.integer("patch"), c = images.dim(1), r = images.dim(2) / p,
                     k = images.dim(3) / p;
  const Name cut = inner("Reshape", {x, integers({-1, c, r, p, k, p})});
  const Name sorted = inner("Transpose", {cut}, {{"perm", Ints{0, 2, 4, 1, 3, 5}}});
  return node("Reshape", {sorted, integers({-1, r * k, c * p * p})});
}

Name Graph::emit(const TracedOperation& step) {
  const Name x = of(step.inputs[0]);
  const auto second = [&] { return of(step.inputs[1]); };
  static const std::map<std::string, const char*> binary{
      {"add", "Add"}, {"sub", "Sub"}, {"mul", "Mul"}, {"div", "Div"}, {"minimum", "Min"}};
  if (const auto found = binary.find(step.name); found != binary.end())
    return node(found->second, {x, second()});
  if (step.name == "affine") {
    const double factor = step.number("factor"), shift = step.number("shift");
    if (shift == 0) return node("Mul", {x, number(factor)});
    return node("Add", {inner("Mul", {x, number(factor)}), number(shift)});
  }
  if (step.name == "reshape") {  // the batch, wherever it ended up in the first dimension, is what is left
    Ints shape{-1};
    for (int i = 1; i < step.output.rank(); ++i) shape.push_back(step.output.dim(i));
    return node("Reshape", {x, integers(shape)});
  }
  if (step.name == "permute") return node("Transpose", {x}, {{"perm", step.integers("axes")}});
  if (step.name == "slice")
    return node("Slice", {x, integers({step.integer("begin")}), integers({step.integer("end")}),
                          integers({step.integer("axis")})});
  if (step.name == "concat") {
    std::vector<Name> parts;
    for (const auto& part : step.inputs) parts.push_back(of(part));
    return node("Concat", parts, {{"axis", step.integer("axis")}});
  }
  if (step.name == "sum" || step.name == "mean") return reduce(step, x);
  if (step.name == "matmul") {
    if (step.integer("transpose_b") == 0) return node("MatMul", {x, second()});
    Ints axes;
    for (int i = 0; i < step.inputs[1].rank(); ++i) axes.push_back(i);
    std::swap(axes[axes.size() - 1], axes[axes.size() - 2]);
    return node("MatMul", {x, inner("Transpose", {second()}, {{"perm", axes}})});
  }
  if (step.name == "linear") return linear(step, x);
  if (step.name == "linear_int8") return linear_int8(step, x);
  if (step.name == "layer_norm")
    return node("LayerNormalization", {x, second(), of(step.inputs[2])},
                {{"axis", std::int64_t{-1}}, {"epsilon", static_cast<float>(step.number("eps"))}});
  if (step.name == "softmax") return node("Softmax", {x}, {{"axis", std::int64_t{-1}}});
  if (step.name == "l2_normalize")
    return node("Div", {x, inner("ReduceL2", {x}, {{"axes", Ints{-1}}, {"keepdims", std::int64_t{1}}})});
  if (step.name == "patchify") return patchify(step, x);
  return pointwise(step, x);
}

}  // namespace

data::OnnxModel onnx_graph(const std::string& name,
                           const std::function<OnnxComputation(std::int64_t)>& compute,
                           const std::vector<std::pair<std::string, Tensor>>& weights) {
  const auto graph_for = [&](std::int64_t batch) {
    Trace trace;
    const OnnxComputation computation = compute(batch);
    Graph graph(name, computation, weights);
    for (const auto& step : trace.operations()) graph.add(step);
    return graph.finish(computation);
  };
  data::OnnxModel model = graph_for(2);
  VITRAL_CHECK(graph_for(3) == model, "ONNX: what {} computes depends on the size of the batch", name);
  return model;
}

}  // namespace vitral::models
