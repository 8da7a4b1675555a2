#include "models/student/student.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "autograd/gradcheck.h"
#include "models/student/infer_config.h"
#include "tests/golden.h"
#include "tests/support.h"

namespace vitral::models {
namespace {

using test::message_of;

StudentConfig tiny() {
  StudentConfig c;
  c.image_size = 12, c.patch_size = 4, c.width = 4, c.heads = 2, c.layers = 1;
  return c;
}

TEST(Student, ParametersHaveTheNamesOfTheOriginal) {
  const Student student(tiny());
  std::string names;
  for (const auto& p : student.parameters()) names += p.name + " ";
  EXPECT_EQ(names,
            "positional_embedding scale conv1.weight ln_pre.weight ln_pre.bias "
            "transformer.resblocks.0.attn.in_proj_weight "
            "transformer.resblocks.0.attn.in_proj_bias transformer.resblocks.0.attn.out_proj.weight "
            "transformer.resblocks.0.attn.out_proj.bias transformer.resblocks.0.ln_1.weight "
            "transformer.resblocks.0.ln_1.bias transformer.resblocks.0.ln_2.weight "
            "transformer.resblocks.0.ln_2.bias "
            "transformer.resblocks.0.mlp.c_fc.weight transformer.resblocks.0.mlp.c_fc.bias "
            "transformer.resblocks.0.mlp.c_proj.weight transformer.resblocks.0.mlp.c_proj.bias "
            "ln_post.weight ln_post.bias ");
}

TEST(Student, FreshWeightsAreDrawnAsPyTorchDrawsThem) {
  StudentConfig c;
  c.image_size = 32, c.patch_size = 8, c.width = 120, c.heads = 8, c.layers = 1;
  const Student student(c, 3);
  const double w = 128;
  const auto statistics = [&](const std::string& name) {
    for (const auto& p : student.parameters()) {
      if (p.name != name) continue;
      double low = 1e9, high = -1e9, squares = 0;
      const auto values = p.value->value().to_vector();
      for (double v : values) low = std::min(low, v), high = std::max(high, v), squares += v * v;
      return std::array{low, high, std::sqrt(squares / static_cast<double>(values.size()))};
    }
    return std::array{0.0, 0.0, 0.0};
  };
  const auto uniform = [&](const std::string& name, double bound) {
    const auto [low, high, deviation] = statistics(name);
    EXPECT_NEAR(low, -bound, bound * 0.05) << name;
    EXPECT_NEAR(high, bound, bound * 0.05) << name;
    EXPECT_NEAR(deviation, bound / std::sqrt(3.0), bound * 0.05) << name;
  };
  const auto constant = [&](const std::string& name, double value) {
    const auto [low, high, deviation] = statistics(name);
    EXPECT_EQ(low, value) << name;
    EXPECT_EQ(high, value) << name;
  };
  const std::string block = "transformer.resblocks.0.";
  uniform("conv1.weight", 1 / std::sqrt(3.0 * 8 * 8));
  uniform(block + "attn.in_proj_weight", std::sqrt(6 / (4 * w)));
  constant(block + "attn.in_proj_bias", 0);
  uniform(block + "attn.out_proj.weight", 1 / std::sqrt(w));
  constant(block + "attn.out_proj.bias", 0);
  uniform(block + "mlp.c_fc.weight", 1 / std::sqrt(w));
  uniform(block + "mlp.c_fc.bias", 1 / std::sqrt(w));
  uniform(block + "mlp.c_proj.weight", 1 / std::sqrt(4 * w));
  constant(block + "ln_1.weight", 1);
  constant("ln_pre.bias", 0);
  constant("scale", 1);
  EXPECT_NEAR(statistics("positional_embedding")[2], 1 / std::sqrt(w), 0.05 / std::sqrt(w));
}

TEST(Student, SeedDecidesTheWeights) {
  const Student a(tiny(), 1), b(tiny(), 1), c(tiny(), 2);
  EXPECT_EQ(a.parameters()[2].value->value().to_vector(), b.parameters()[2].value->value().to_vector());
  EXPECT_NE(a.parameters()[2].value->value().to_vector(), c.parameters()[2].value->value().to_vector());
}

TEST(Student, EveryParameterHasTheRightGradient) {
  for (const char* attention : {"neighbourhood", "full"}) {
    for (bool same_norm : {true, false}) {
      StudentConfig config = tiny();
      config.attention = attention;
      config.same_norm = same_norm;
      Student student(config, 5);
      student.to(DType::float64);
      Random random(9);
      Tensor images({2, 3, 12, 12}, DType::float64);
      for (std::int64_t i = 0; i < images.numel(); ++i) images.data<double>()[i] = random.normal();
      // The parameters become the inputs of gradcheck.
      std::vector<Tensor> values;
      for (const auto& p : student.parameters()) values.push_back(p.value->value().clone());
      const auto f = [&](const std::vector<Variable>& x) {
        const auto parameters = student.parameters();
        for (std::size_t i = 0; i < x.size(); ++i) parameters[i].value->replace(x[i]);
        const StudentOutput out = student.forward(Variable(images));
        return concat({reshape(out.embedding, {-1}), reshape(out.probs, {-1}), reshape(out.patches, {-1})},
                      0);
      };
      const GradcheckResult result = gradcheck(f, values, {.tolerance = 1e-5});
      EXPECT_TRUE(result.passed) << attention << " " << same_norm << ": " << result.message;
    }
  }
}

TEST(Student, ProbabilitiesSumToOneAndTheEmbeddingIsTheirSum) {
  const Student student(tiny(), 2);
  const NoGrad no_grad;
  const StudentOutput out = student.forward(Variable(Tensor::full({2, 3, 12, 12}, 0.3)));
  EXPECT_EQ(out.embedding.shape(), (Shape{2, 4}));
  EXPECT_EQ(out.probs.shape(), (Shape{2, 1, 9}));
  EXPECT_EQ(out.patches.shape(), (Shape{2, 9, 4}));
  for (double s : sum(out.probs, 2).value().to_vector()) EXPECT_NEAR(s, 1, 1e-6);
  for (double s : sum(square(out.patches), 2).value().to_vector()) EXPECT_NEAR(s, 1, 1e-5) << "scale is 1";
}

// A head of one's own: the mean of the patches.
class MeanHead : public Head {
 public:
  MeanHead(std::int64_t width, Random random)
      : width_(width), gain_(parameter("gain", nn::normal({width}, 1, random))) {}

  StudentOutput operator()(const Variable& x, const Variable&, double) const override {
    const std::int64_t b = x.dim(0), n = x.dim(1);
    const Variable patches = mul(slice(x, 2, 0, width_), gain_);
    return {mean(patches, 1), Variable(Tensor::full({b, 1, n}, 1.0 / static_cast<double>(n), x.dtype())),
            patches};
  }
  Variable embed(const Variable& x, const Variable& scale) const override {
    return (*this)(x, scale, 1).embedding;
  }

 private:
  std::int64_t width_;
  nn::Parameter& gain_;
};

TEST(Student, TakesAnotherHead) {
  StudentConfig c = tiny();
  c.same_norm = false;
  const Student usual(c, 4), student(c, std::make_unique<MeanHead>(c.width, Random(9)), 4);
  const auto state = student.state();
  EXPECT_EQ(state.size(), usual.state().size() + 1);
  EXPECT_EQ(std::count_if(state.begin(), state.end(), [](const auto& t) { return t.first == "head.gain"; }),
            1);
  // The trunk is the same: fresh weights of the head come from a stream of their own.
  EXPECT_EQ(state[0].second.to_vector(), usual.state()[0].second.to_vector());
  Random random(3);
  const Variable images(nn::uniform({2, 3, c.image_size, c.image_size}, 1, random));
  const StudentOutput y = student.forward(images);
  EXPECT_EQ(y.embedding.shape(), (Shape{2, c.width}));
  EXPECT_LT(test::relative_error(student.embed(patchify(images, c.patch_size)).value(), y.embedding.value()),
            1e-6);
}

TEST(Student, SizesAreInferredFromTheWeights) {
  StudentConfig c = tiny();
  EXPECT_EQ(infer_student_config(Student(c).state(), "w"), c);
  c.same_norm = false;
  c.attention = "full";
  EXPECT_EQ(infer_student_config(Student(c).state(), "w"), c);
  for (const char* head : {"convex", "query", "mean"})
    for (const char* mlp : {"quick_gelu", "swiglu"}) {
      c = {.image_size = 12, .patch_size = 4, .width = 32, .layers = 3, .heads = 16, .mlp = mlp};
      c.head = head;
      c.mlp_ratio = 2.5;
      StudentConfig like = c;  // what tensors leave open
      like.norm = "rms_norm", like.last_block = "attention", like.layers = 1, like.head = "convex";
      EXPECT_EQ(infer_student_config(Student(c).state(), "w", like), c);
      c.norm = "rms_norm", c.last_block = "attention";
      EXPECT_EQ(infer_student_config(Student(c).state(), "w", like), c);
      const double ratio = infer_student_config(Student(c).state(), "w", {.heads = 16}).mlp_ratio;
      EXPECT_EQ(nn::hidden_width(c.internal_width(), ratio, c.mlp),
                nn::hidden_width(c.internal_width(), 2.5, c.mlp));
    }
  c = {.image_size = 12, .patch_size = 4, .width = 6, .layers = 1, .heads = 2, .head = "mean"};
  EXPECT_EQ(message_of([&] { infer_student_config(Student(c).state(), "w.safetensors"); }),
            "w.safetensors: its tensors do not tell how many attention heads it has; say it by "
            "--student-heads");
  EXPECT_EQ(message_of([&] { infer_student_config(Student(c).state(), "w.safetensors", {.heads = 4}); }),
            "w.safetensors: 4 attention heads do not divide its width 6");
  EXPECT_EQ(message_of([] {
              infer_student_config({{"x", Tensor({2})}}, "w.safetensors");
            }),
            "w.safetensors: has no weights 'conv1.weight'; these are not a student's weights");
}

TEST(Student, SwitchesOfAttentionChangeParametersOnlyWhereTheySay) {
  StudentConfig c = tiny();
  const auto state = [](const StudentConfig& config) {
    std::map<std::string, std::vector<double>> out;
    for (const auto& [name, tensor] : Student(config, 3).state()) out[name] = tensor.to_vector();
    return out;
  };
  const auto plain = state(c);
  c.dilation = 2;
  EXPECT_EQ(state(c), plain);
  c.registers = 3;
  auto more = state(c);
  ASSERT_EQ(more.at("registers").size(), 3U * static_cast<std::size_t>(c.internal_width()));
  more.erase("registers");
  EXPECT_EQ(more, plain);
  for (const char* position : {"rope", "none"}) {
    c.heads = 1;
    c.position = "learned";
    auto learned = state(c);
    c.position = position;
    EXPECT_EQ(learned.erase("positional_embedding"), 1U);
    EXPECT_EQ(state(c), learned) << position;
  }
}

// Under a mask of one layer a patch knows nothing of one far away, but for registers.
TEST(Student, RegistersAreTheOnlyGlobalChannelUnderAMask) {
  const auto touched = [](const StudentConfig& c) {
    const Student student(c, 5);
    Tensor images = Tensor::zeros({1, 3, c.image_size, c.image_size});
    const Tensor before = student.forward(Variable(images.clone())).patches.value();
    images.data<float>()[0] = 100;  // of the first patch
    const Tensor after = student.forward(Variable(images)).patches.value();
    std::set<std::int64_t> out;
    for (std::int64_t i = 0; i < before.numel(); ++i)
      if (before.data<float>()[i] != after.data<float>()[i]) out.insert(i / c.width);
    return out;
  };
  StudentConfig c{.image_size = 16, .patch_size = 4, .width = 4, .layers = 2, .heads = 1};
  EXPECT_EQ(touched(c), (std::set<std::int64_t>{0, 1, 2, 4, 5, 6, 8, 9, 10}));
  c.dilation = 2;
  EXPECT_EQ(touched(c), (std::set<std::int64_t>{0, 2, 8, 10}));
  c.window = {1, 3};
  c.position = "rope";
  EXPECT_EQ(touched(c), (std::set<std::int64_t>{0, 2, 8, 10}));
  c.registers = 1;
  EXPECT_EQ(touched(c).size(), 16U);
}

TEST(StudentMetadata, HoldsTheArchitectureAndReadsBack) {
  StudentConfig c = tiny();
  c.attention = "full", c.window = 5, c.same_norm = false;
  auto metadata = to_metadata(c);
  EXPECT_EQ(metadata, (std::map<std::string, std::string>{{"model.image_size", "12"},
                                                          {"model.patch_size", "4"},
                                                          {"model.width", "4"},
                                                          {"model.layers", "1"},
                                                          {"model.heads", "2"},
                                                          {"model.attention", "full"},
                                                          {"model.window", "5"},
                                                          {"model.same_norm", "false"}}));
  metadata["format"] = "pt";
  EXPECT_EQ(student_config_from_metadata(metadata, "m.safetensors"), c);
  // What came later is told where it is used.
  c.layers = 3, c.attention = {"full", "neighbourhood", "full"}, c.window = {3, 5, 3}, c.dilation = {1, 2, 1};
  c.registers = 4, c.position = "none";
  metadata = to_metadata(c);
  EXPECT_EQ(metadata.size(), 11U);
  EXPECT_EQ(metadata["model.attention"], "[full, neighbourhood, full]");
  EXPECT_EQ(metadata["model.window"], "[3, 5, 3]");
  EXPECT_EQ(student_config_from_metadata(metadata, "m.safetensors"), c);
  EXPECT_EQ(student_config_from_metadata({{"format", "pt"}}, "m.safetensors"), std::nullopt);
}

TEST(StudentMetadata, RejectsWhatIsNoStudent) {
  const auto error = [](const std::string& key, const std::string& value) {
    auto metadata = to_metadata(StudentConfig{});
    metadata[key] = value;
    return message_of([&] { student_config_from_metadata(metadata, "m.safetensors"); });
  };
  EXPECT_EQ(error("model.heads", "15"), "m.safetensors: metadata: heads 15 must divide width 512");
  EXPECT_EQ(error("model.width", "many"),
            "m.safetensors: metadata model.width: must be an integer from 1 to 65536, not many");
  EXPECT_EQ(error("model.same_norm", "1"),
            "m.safetensors: metadata model.same_norm: must be true or false, not 1");
  EXPECT_EQ(
      error("model.gears", "3"),
      "m.safetensors: metadata model.gears: unknown key; known are image_size, patch_size, width, layers, "
      "heads, attention, window, dilation, registers, position, same_norm, mlp, mlp_ratio, norm, last_block, "
      "head, drop_path: it was written by a newer vitral, or is damaged");
  EXPECT_EQ(error("model.width", "[1").substr(0, 53),
            "m.safetensors: metadata model.width: not valid YAML: ");
}

// A field that is added one day must not make the files of today unreadable.
TEST(StudentMetadata, AMissingKeyMeansItsDefault) {
  const StudentConfig defaults;
  for (const auto& field : student_fields()) {
    auto metadata = to_metadata(StudentConfig{.image_size = 56,
                                              .patch_size = 14,
                                              .width = 64,
                                              .layers = 2,
                                              .heads = 4,
                                              .attention = "full",
                                              .window = 5,
                                              .same_norm = false,
                                              .mlp = "swiglu",
                                              .mlp_ratio = 3,
                                              .norm = "rms_norm",
                                              .last_block = "attention",
                                              .head = "mean",
                                              .drop_path = 0.1});
    metadata.erase("model." + field.name);
    const auto config = student_config_from_metadata(metadata, "m.safetensors");
    ASSERT_TRUE(config) << field.name;
    EXPECT_EQ(field.write(*config), field.write(defaults)) << field.name;
  }
}

TEST(Student, Errors) {
  const auto with = [](auto&& change) {
    StudentConfig c = tiny();
    change(c);
    return message_of([&] { Student student(c); });
  };
  EXPECT_EQ(with([](auto& c) { c.patch_size = 5; }), "student: patch_size 5 must divide image_size 12");
  EXPECT_EQ(with([](auto& c) { c.heads = 3; }), "student: heads 3 must divide width 4");
  EXPECT_EQ(with([](auto& c) { c.attention = "sparse"; }),
            "student: attention must be neighbourhood or full, or a list of one for each layer, not sparse");
  EXPECT_EQ(with([](auto& c) { c.window = 4; }),
            "student: window must be an odd integer from 1 to 8191, or a list of one for each layer, not 4");
  EXPECT_EQ(with([](auto& c) {
              c.window = {3, 5};
            }),
            "student: window has 2 values, but layers is 1; give one for all, or 1");
  EXPECT_EQ(with([](auto& c) { c.mlp_ratio = 0; }),
            "student: mlp_ratio must be a number > 0, at most 1024, not 0");
  EXPECT_EQ(with([](auto& c) { c.mlp_ratio = 0.01; }),
            "student: mlp_ratio 0.01 leaves the MLP no hidden layer at width 4");
  EXPECT_EQ(with([](auto& c) { c.drop_path = 1; }), "student: drop_path must be a number in [0, 1), not 1");
  EXPECT_EQ(with([](auto& c) { c.head = "max"; }), "student: head must be convex, query or mean, not max");
  const Student student(tiny());
  EXPECT_EQ(message_of([&] {
              student.forward(Variable(Tensor::zeros({2, 3, 12, 16})));
            }),
            "student: images [2, 3, 12, 16] must be [B, 3, 12, 12]");
}

TEST(Module, LoadingIsStrictAndAllOrNothing) {
  Student a(tiny(), 1);
  const Student b(tiny(), 2);
  const auto before = a.parameters()[1].value->value().to_vector();
  auto state = b.state();
  state.back().second = Tensor::zeros({7});
  EXPECT_EQ(message_of([&] { a.load_state(state, "x.safetensors"); }),
            "x.safetensors: weights 'ln_post.bias' have shape [7], this model needs [4]; it belongs to "
            "another architecture");
  state.pop_back();
  EXPECT_EQ(message_of([&] { a.load_state(state, "x.safetensors"); }),
            "x.safetensors: has no weights 'ln_post.bias'; it belongs to another architecture");
  state = b.state();
  state.emplace_back("more", Tensor::zeros({1}));
  EXPECT_EQ(
      message_of([&] { a.load_state(state, "x.safetensors"); }),
      "x.safetensors: has weights 'more' that this model does not know; it belongs to another architecture");
  EXPECT_EQ(a.parameters()[1].value->value().to_vector(), before);
  a.load_state(b.state(), "b");
  EXPECT_EQ(a.parameters()[2].value->value().to_vector(), b.parameters()[2].value->value().to_vector());
}

TEST(Module, SharedStateIsTheGivenTensors) {
  Student a(tiny(), 1);
  const Student b(tiny(), 2);
  auto state = b.state();
  const Tensor half = state[1].second.cast(DType::float16);
  state[1].second = half;
  state.emplace_back("more", Tensor::zeros({1}));
  const auto before = a.parameters()[0].value->value();
  EXPECT_EQ(
      message_of([&] { a.share_state(state, "x.safetensors"); }),
      "x.safetensors: has weights 'more' that this model does not know; it belongs to another architecture");
  EXPECT_TRUE(a.parameters()[0].value->value().shares_memory_with(before));
  state.pop_back();
  a.share_state(state, "x.safetensors");
  const auto mine = a.parameters();
  for (std::size_t i = 0; i < mine.size(); ++i) {
    const Tensor& value = mine[i].value->value();
    EXPECT_EQ(value.dtype(), DType::float32);
    EXPECT_EQ(value.to_vector(), state[i].second.to_vector());
    EXPECT_EQ(value.shares_memory_with(state[i].second), i != 1) << mine[i].name;
  }
}

TEST(Module, ANameIsTakenOnce) {
  struct Twice : nn::Module {
    nn::Parameter &a = parameter("w", Tensor::zeros({1})), &b = parameter("w", Tensor::zeros({1}));
  };
  EXPECT_EQ(message_of([] { Twice twice; }), "parameter: 'w' is registered already");
  struct Twins : nn::Module {
    nn::LayerNorm &a = child<nn::LayerNorm>("ln", 4), &b = child<nn::LayerNorm>("ln", 4);
  };
  EXPECT_EQ(message_of([] { Twins twins; }), "child: 'ln' is registered already");
  struct Both : nn::Module {
    nn::LayerNorm& a = child<nn::LayerNorm>("ln", 4);
    nn::Parameter& b = parameter("ln", Tensor::zeros({1}));
  };
  EXPECT_EQ(message_of([] { Both both; }), "parameter: 'ln' is registered already");
}

TEST(Student, TemperatureTooSmallForFloat32) {
  const Student student({.image_size = 8, .patch_size = 4, .width = 4, .layers = 1, .heads = 2}, 0);
  const Variable images(Tensor::zeros({1, 3, 8, 8}));
  EXPECT_EQ(message_of([&] { student.forward(images, 1e-39); }),
            "patch_pooling: temperature 1e-39 must be positive and at least 1e-30");
}

}  // namespace
}  // namespace vitral::models
