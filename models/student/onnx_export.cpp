#include "models/student/onnx_export.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "data/weights/onnx_file.h"

namespace vitral::models {
namespace {

using data::OnnxModel;
using Name = std::string;

constexpr float layer_norm_epsilon = 1e-5F;
constexpr float largest_scale = 10;

class StudentGraph {
 public:
  explicit StudentGraph(const Student& student) : c_(student.config()), model_("student") {
    for (const auto& [name, tensor] : student.state()) state_[name] = tensor.to(cpu);
  }

  OnnxModel build() {
    const std::int64_t size = c_.image_size, n = c_.tokens(), w = c_.width;
    model_.input("images", {"batch", std::int64_t{3}, size, size});
    Name x = embed("images");
    for (int layer = 0; layer < c_.layers; ++layer)
      x = block(x, fmt::format("transformer.resblocks.{}.", layer));
    pool(x);
    model_.output("embedding", {"batch", w});
    model_.output("probs", {"batch", std::int64_t{1}, n});
    model_.output("patch_embeddings", {"batch", n, w});
    return std::move(model_);
  }

 private:
  using Ints = std::vector<std::int64_t>;

  Name weights(const std::string& name) { return model_.constant(name, state_.at(name)); }

  // A weight [out,in] as MatMul takes it, [in,out].
  Name transposed(const std::string& name) {
    const Tensor& t = state_.at(name);
    const std::int64_t rows = t.dim(0), columns = t.dim(1);
    Tensor out({columns, rows});
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < columns; ++j)
        out.data<float>()[j * rows + i] = t.data<float>()[i * columns + j];
    return model_.constant(name + ".transposed", out);
  }

  Name linear(const Name& x, const std::string& weight, const std::string& bias) {
    return model_.node("Add", {model_.node("MatMul", {x, transposed(weight)}), weights(bias)});
  }
  Name layer_norm(const Name& x, const std::string& prefix) {
    return model_.node("LayerNormalization", {x, weights(prefix + "weight"), weights(prefix + "bias")},
                       {{"axis", std::int64_t{-1}}, {"epsilon", layer_norm_epsilon}});
  }
  // Sizes of a reshape; 0 keeps what is there. Each shape is one constant of the file.
  Name reshape(const Name& x, const Ints& sizes, const std::string& name = "") {
    return model_.node("Reshape", {x, shared(fmt::format("shape_{}", fmt::join(sizes, "_")), sizes)}, {},
                       name);
  }
  Name transpose(const Name& x, const Ints& axes) { return model_.node("Transpose", {x}, {{"perm", axes}}); }
  // x at one place of an axis, which goes.
  Name at(const Name& x, std::int64_t place, std::int64_t axis) {
    return model_.node("Gather", {x, shared(fmt::format("number_{}", place), place)}, {{"axis", axis}});
  }
  template <class T>
  Name shared(const std::string& name, const T& value) {
    if (made_.insert(name).second) model_.constant(name, value);
    return name;
  }

  Name embed(const Name& images) {
    const std::int64_t p = c_.patch_size;
    const Name patches = model_.node("Conv", {images, weights("conv1.weight")},
                                     {{"kernel_shape", Ints{p, p}}, {"strides", Ints{p, p}}});
    const Name rows = transpose(reshape(patches, {0, c_.internal_width(), c_.tokens()}), {0, 2, 1});
    return layer_norm(model_.node("Add", {rows, weights("positional_embedding")}), "ln_pre.");
  }

  Name block(const Name& x, const std::string& prefix) {
    const Name middle = model_.node("Add", {x, attention(layer_norm(x, prefix + "ln_1."), prefix + "attn.")});
    return model_.node("Add", {middle, mlp(layer_norm(middle, prefix + "ln_2."), prefix + "mlp.")});
  }

  Name attention(const Name& x, const std::string& prefix) {
    const std::int64_t n = c_.tokens(), h = c_.heads, d = c_.internal_width() / c_.heads;
    const Name qkv = linear(x, prefix + "in_proj_weight", prefix + "in_proj_bias");
    const Name split = transpose(reshape(qkv, {0, n, 3, h, d}), {2, 0, 3, 1, 4});  // [3,B,H,N,D]
    const Name scale = shared("attention_scale", static_cast<float>(1 / std::sqrt(static_cast<double>(d))));
    const Name q = model_.node("Mul", {at(split, 0, 0), scale}), k = transpose(at(split, 1, 0), {0, 1, 3, 2});
    Name scores = model_.node("MatMul", {q, k});
    if (c_.attention == "neighbourhood")
      scores = model_.node("Add", {scores, shared("attention_mask", mask())});
    const Name p = model_.node("Softmax", {scores}, {{"axis", std::int64_t{-1}}});
    const Name heads = model_.node("MatMul", {p, at(split, 2, 0)});  // [B,H,N,D]
    const Name joined = reshape(transpose(heads, {0, 2, 1, 3}), {0, n, h * d});
    return linear(joined, prefix + "out_proj.weight", prefix + "out_proj.bias");
  }

  // [N,N]: 0 where a token sees another, else a number whose exponential is 0. Not minus infinity, which some
  // optimisers of graphs turn into NaN.
  Tensor mask() const {
    constexpr float unseen = -1e30F;
    const std::int64_t grid = c_.grid(), n = c_.tokens(), reach = c_.window / 2;
    Tensor out = Tensor::zeros({n, n});
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        if (std::abs(i / grid - j / grid) > reach || std::abs(i % grid - j % grid) > reach)
          out.data<float>()[i * n + j] = unseen;
    return out;
  }

  Name mlp(const Name& x, const std::string& prefix) {
    const Name hidden = linear(x, prefix + "c_fc.weight", prefix + "c_fc.bias");
    const Name steep = model_.node("Mul", {hidden, shared("quick_gelu_slope", 1.702F)});
    const Name gelu = model_.node("Mul", {hidden, model_.node("Sigmoid", {steep})});
    return linear(gelu, prefix + "c_proj.weight", prefix + "c_proj.bias");
  }

  void pool(const Name& x) {
    const std::int64_t n = c_.tokens(), h = c_.heads, d = c_.internal_width() / c_.heads;
    const Name heads = reshape(x, {0, n, h, d});
    const Name logits = model_.node("ReduceMean", {at(heads, d - 1, 3)},
                                    {{"axes", Ints{2}}, {"keepdims", std::int64_t{0}}});  // [B,N]
    const Name p = model_.node("Softmax", {logits}, {{"axis", std::int64_t{-1}}});
    const Name one = shared("axis_1", Ints{1});
    const Name probs = model_.node("Unsqueeze", {p, one}, {}, "probs");
    const Name parts =
        model_.node("Slice", {heads, shared("slice_begin", Ints{0}), shared("slice_end", Ints{d - 1}),
                              shared("slice_axis", Ints{3})});
    const Name patches = reshape(parts, {0, n, c_.width}, c_.same_norm ? "" : "patch_embeddings");
    if (c_.same_norm) {
      const Name norm =
          model_.node("ReduceL2", {patches}, {{"axes", Ints{-1}}, {"keepdims", std::int64_t{1}}});
      const float scale = std::min(state_.at("scale").data<float>()[0], largest_scale);
      model_.node("Mul", {model_.node("Div", {patches, norm}), shared("norm_of_patches", scale)}, {},
                  "patch_embeddings");
    }
    model_.node("Squeeze", {model_.node("MatMul", {probs, "patch_embeddings"}), one}, {}, "embedding");
  }

  StudentConfig c_;
  std::map<std::string, Tensor> state_;
  OnnxModel model_;
  std::set<std::string> made_;  // constants that are shared
};

}  // namespace

FileDigest export_onnx(const std::string& path, const Student& student,
                       const std::map<std::string, std::string>& metadata) {
  auto all = to_metadata(student.config());
  all.insert(metadata.begin(), metadata.end());
  return StudentGraph(student).build().write(path, all);
}

}  // namespace vitral::models
