// The exported graph is whole and standard, and ONNX Runtime computes what the student computes.
#include "models/student/onnx_export.h"

#include <set>

#include <gtest/gtest.h>

#include "autograd/trace.h"
#include "data/weights/onnx_file.h"
#include "models/onnx_graph.h"
#include "tensor/ops/linear_int8.h"
#include "tests/cli/small_run.h"
#include "tests/models/golden_student.h"
#include "tests/python.h"

namespace vitral::models {
namespace {

using test::message_of;
using test::TempDir;

// The operators that ONNX has in opset 17, as far as they are used.
const std::set<std::string> standard{"Abs",
                                     "Add",
                                     "Concat",
                                     "DequantizeLinear",
                                     "Div",
                                     "Erf",
                                     "LayerNormalization",
                                     "MatMul",
                                     "Max",
                                     "Min",
                                     "Mul",
                                     "ReduceL2",
                                     "ReduceMax",
                                     "ReduceMean",
                                     "Reshape",
                                     "Sigmoid",
                                     "QuantizeLinear",
                                     "Slice",
                                     "Softmax",
                                     "Sqrt",
                                     "Sub",
                                     "Transpose"};

std::vector<models::StudentConfig> some_students() {
  models::StudentConfig masked = test::small_student(2), wide = masked, full = test::small_student(1, "full");
  wide.window = 5;
  full.same_norm = false;
  models::StudentConfig mixed = test::small_student(3);
  mixed.attention = {"neighbourhood", "full", "neighbourhood"};
  mixed.window = {3, 5, 5};
  mixed.dilation = {2, 1, 1};
  mixed.registers = 3;
  mixed.position = "rope";
  models::StudentConfig query = masked, mean = masked;
  query.mlp = "swiglu", query.norm = "rms_norm", query.last_block = "attention", query.head = "query";
  mean.mlp = "gelu", mean.mlp_ratio = 2.5, mean.head = "mean", mean.drop_path = 0.5;
  models::StudentConfig all = query;
  all.layers = 3, all.registers = 2, all.position = "rope";
  all.attention = {"neighbourhood", "full", "neighbourhood"}, all.window = {3, 3, 5};
  return {masked, wide, full, mixed, query, mean, all};
}

// Each, and each as int8.
std::vector<std::pair<models::StudentConfig, bool>> some_students_and_int8() {
  std::vector<std::pair<models::StudentConfig, bool>> out;
  for (const auto& config : some_students()) out.insert(out.end(), {{config, false}, {config, true}});
  return out;
}

TEST(OnnxExport, TheGraphIsWholeAndStandard) {
  const TempDir dir;
  for (const auto& [config, int8] : some_students_and_int8()) {
    models::Student student(config);
    if (int8) student.quantize_weights();
    export_onnx(dir / "a.onnx", student, {{"epoch", "3"}});
    EXPECT_TRUE(data::looks_like_onnx(dir / "a.onnx"));
    const data::OnnxSummary s = data::read_onnx_summary(dir / "a.onnx");
    EXPECT_EQ(s.producer, "vitral " VITRAL_VERSION);
    EXPECT_EQ(s.opset, 17);
    auto metadata = s.metadata;
    EXPECT_EQ(metadata["epoch"], "3");
    EXPECT_EQ(models::student_config_from_metadata(metadata, "a.onnx"), config);
    const auto described = [](const std::vector<data::OnnxTensor>& tensors) {
      std::string out;
      for (const auto& t : tensors) {
        out += fmt::format("{} {}", t.name, t.dtype);
        for (const auto& d : t.dims)
          std::visit([&](const auto& size) { out += fmt::format(" {}", size); }, d);
        out += ";";
      }
      return out;
    };
    EXPECT_EQ(described(s.inputs), "images float32 batch 3 64 64;");
    EXPECT_EQ(described(s.outputs),
              "embedding float32 batch 16;probs float32 batch 1 16;patch_embeddings float32 batch 16 16;");
    // Every tensor has one origin, which comes before its uses.
    std::set<std::string> known{"images"};
    for (const auto& constant : s.constants) EXPECT_TRUE(known.insert(constant.name).second) << constant.name;
    for (const auto& node : s.nodes) {
      EXPECT_TRUE(standard.contains(node.operation)) << node.operation;
      for (const auto& input : node.inputs)
        EXPECT_TRUE(known.contains(input)) << node.operation << " " << input;
      ASSERT_EQ(node.outputs.size(), 1U);
      EXPECT_TRUE(known.insert(node.outputs[0]).second) << node.outputs[0];
    }
    for (const auto& output : s.outputs) EXPECT_TRUE(known.contains(output.name));
    // Equal masks are one constant for all layers.
    const std::int64_t n = config.tokens() + config.registers;
    EXPECT_EQ(
        std::count_if(s.constants.begin(), s.constants.end(),
                      [&](const auto& c) {
                        return c.name.starts_with("constant") && c.dims == std::vector<data::OnnxDim>{n, n};
                      }),
        config.attention == "full"   ? 0
        : config.attention.is_list() ? 2
                                     : 1);
  }
}

// What an export is made of: every elementary operation has a rule, whatever model it is in.
TEST(OnnxGraph, KnowsTheOperations) {
  VITRAL_NEEDS_PYTHON("onnxruntime, numpy");
  const Tensor x = test::noise({3, 4, 6}, 5, DType::float32), w = test::noise({4, 6}, 6, DType::float32);
  const auto compute = [&](std::int64_t batch) {
    const Tensor images = batch == 3 ? x : x.rows(0, batch).clone();
    const Variable v(images), s = sigmoid(v), weight(w);
    const Variable pointwise =
        add(add(add(silu(v), gelu(v)), add(gelu_erf(v), quick_gelu(v))),
            add(add(exp(v), log(s)),
                add(add(sqrt(s), square(v)), add(add(abs(v), tanh(v)), sub(relu(v), neg(v))))));
    const Variable shapes = concat({permute(permute(v, {0, 2, 1}), {0, 2, 1}), slice(v, 1, 1, 3)}, 1);
    const Variable sums = add(mean(v, 2), affine(minimum(sum(v, 2), sum(square(v), 2)), 0.5, 2));
    return OnnxComputation{
        {{"images", images}},
        {{"embedding", pointwise.value()},
         {"probs", linear(shapes, weight, {}).value()},
         {"patch_embeddings", div(matmul(v, weight, true), reshape(sums, {-1, 4, 1})).value()}}};
  };
  const OnnxComputation expected = compute(3);
  const TempDir dir;
  onnx_graph("operations", compute, {}).write(dir / "a.onnx");
  data::NamedTensors values = expected.outputs;
  values.emplace_back("images", x);
  data::write_safetensors(dir / "values.safetensors", values);
  const auto r = test::python({"tests/reference/check_onnx.py", dir / "a.onnx", dir / "values.safetensors"});
  EXPECT_EQ(r.status, 0) << r.out;
}

// One product is exact, with a bias and without, of tokens of zeros, too.
TEST(OnnxGraph, Int8ProductsAreThoseOfVitral) {
  VITRAL_NEEDS_PYTHON("onnxruntime, numpy");
  const Tensor x = test::noise({3, 4, 60}, 5), bias = test::noise({8}, 7);
  std::fill_n(x.data<float>() + 60, 60, 0.0F);
  const QuantizedWeight quantized = quantize(test::noise({8, 60}, 6));
  const Weight weight(Variable(quantized.q), {}, {}, quantized.scale);
  const auto compute = [&](std::int64_t batch) {
    const Tensor images = batch == 3 ? x : x.rows(0, batch).clone();
    const Variable v(images), twice = affine(v, 2);
    return OnnxComputation{{{"images", images}},
                           {{"embedding", linear(v, weight, Variable(bias)).value()},
                            {"probs", linear(v, weight, {}).value()},
                            {"patch_embeddings", linear(twice, weight, Variable(bias)).value()}}};
  };
  data::NamedTensors values = compute(3).outputs;
  values.emplace_back("images", x);
  const TempDir dir;
  onnx_graph("int8", compute, {}).write(dir / "a.onnx");
  data::write_safetensors(dir / "values.safetensors", values);
  const auto r = test::python({"tests/reference/check_onnx.py", dir / "a.onnx", dir / "values.safetensors"});
  EXPECT_EQ(r.status, 0) << r.out;
}

TEST(OnnxGraph, Errors) {
  const auto compute = [](auto f) {
    return [f](std::int64_t batch) {
      const Tensor x = Tensor::full({batch, 2}, 0.5);
      return OnnxComputation{{{"x", x}}, {{"y", f(Variable(x)).value()}}};
    };
  };
  EXPECT_EQ(message_of([&] {
              onnx_graph("m", compute([](const Variable& x) {
                           return affine(x, 1.0 / static_cast<double>(x.dim(0)));
                         }),
                         {});
            }),
            "ONNX: what m computes depends on the size of the batch");
  const Trace trace;
  EXPECT_EQ(message_of([] { Trace second; }), "trace: one is taken already");
}

TEST(OnnxExport, TheSameStudentGivesTheSameBytes) {
  const TempDir dir;
  const models::Student student(test::small_student(), 4);
  export_onnx(dir / "a.onnx", student);
  export_onnx(dir / "b.onnx", student);
  EXPECT_EQ(test::bytes_of_file(dir / "a.onnx"), test::bytes_of_file(dir / "b.onnx"));
}

// Saves what should come out and asks ONNX Runtime.
void check_with_runtime(const models::Student& student, const Tensor& images,
                        const data::NamedTensors& expected, const char* tolerance = "1e-5") {
  const TempDir dir;
  export_onnx(dir / "a.onnx", student);
  data::NamedTensors values = expected;
  values.emplace_back("images", images);
  data::write_safetensors(dir / "values.safetensors", values);
  const auto r =
      test::python({"tests/reference/check_onnx.py", dir / "a.onnx", dir / "values.safetensors", tolerance});
  EXPECT_EQ(r.status, 0) << r.out;
  EXPECT_TRUE(r.out.starts_with("relative error ")) << r.out;
}

TEST(OnnxExport, RuntimeComputesWhatTheStudentComputes) {
  VITRAL_NEEDS_PYTHON("onnxruntime, numpy");
  for (const auto& [config, int8] : some_students_and_int8()) {
    models::Student student(config, 7);
    if (config.same_norm) {  // above and below the clamp at 10
      auto state = student.state();
      for (auto& [name, tensor] : state)
        if (name == "scale") tensor = Tensor::full({1}, config.window == 5 ? 12 : 2.5);
      student.load_state(state, "here");
    }
    if (int8) student.quantize_weights();
    const Tensor images = test::noise({3, 3, config.image_size, config.image_size}, 3, DType::float32);
    const models::StudentOutput y = student.forward(Variable(images));
    // The last bit of a number between two levels decides which it gets, and that moves the levels of the
    // next layers: they agree as closely as int8 does with float32.
    check_with_runtime(student, images,
                       {{"embedding", y.embedding.value()},
                        {"probs", y.probs.value()},
                        {"patch_embeddings", y.patches.value()}},
                       int8 ? "3e-2" : "1e-5");
  }
}

void check_golden(const std::string& name) {
  for (const auto& path : test::golden_files(name)) {
    SCOPED_TRACE(path);
    const data::H5File golden = data::H5File::open(path);
    models::Student student(test::golden_config(golden));
    student.load_state(test::read_group(golden, "state"), path);
    check_with_runtime(student, golden.read("input"),
                       {{"embedding", golden.read("forward/default/embedding")},
                        {"probs", golden.read("forward/default/probs")},
                        {"patch_embeddings", golden.read("forward/all/embedding")}});
  }
}

TEST(OnnxExport, RuntimeComputesWhatPyTorchComputedMasked) {
  VITRAL_NEEDS_PYTHON("onnxruntime, numpy");
  check_golden("student_masked.h5");
}
TEST(OnnxExport, RuntimeComputesWhatPyTorchComputedUnmasked) {
  VITRAL_NEEDS_PYTHON("onnxruntime, numpy");
  check_golden("student_unmasked.h5");
}

TEST(OnnxSummary, EveryTruncationIsAnErrorOrAWholePrefix) {
  const TempDir dir;
  data::OnnxModel model("m");
  model.input("x", {"batch", std::int64_t{3}});
  model.node("MatMul", {"x", model.constant("w", Tensor::full({3, 2}, 1))}, {{"axis", std::int64_t{-1}}},
             "y");
  model.output("y", {"batch", std::int64_t{2}});
  model.write(dir / "a.onnx", {{"key", "value"}});
  const std::string bytes = test::bytes_of_file(dir / "a.onnx");
  int whole = 0;
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    test::put_file(dir / "cut.onnx", bytes.substr(0, size));
    const std::string text = message_of([&] { data::read_onnx_summary(dir / "cut.onnx"); });
    EXPECT_EQ(text.find('\n'), std::string::npos);
    whole += text == "no error";
  }
  EXPECT_EQ(whole, 2);  // without the metadata, and without the version of the operators
}

TEST(OnnxSummary, DamagedFilesAreOneLine) {
  const TempDir dir;
  const std::string path = dir / "a.onnx";
  export_onnx(path, models::Student(test::small_student()));
  const std::string bytes = test::bytes_of_file(path);
  const std::string end = "; it is damaged or not an ONNX model, export it again";
  test::put_file(path, bytes.substr(0, bytes.size() / 2));
  EXPECT_EQ(message_of([&] { data::read_onnx_summary(path); }),
            path + ": a field is cut off or of an unknown kind" + end);
  test::put_file(path, "\x08\x08");
  EXPECT_EQ(message_of([&] { data::read_onnx_summary(path); }), path + ": has no graph" + end);
  test::put_file(path, "\x08\x08\x38\x01");
  EXPECT_EQ(message_of([&] { data::read_onnx_summary(path); }),
            path + ": a number where a message belongs" + end);
}

}  // namespace
}  // namespace vitral::models
