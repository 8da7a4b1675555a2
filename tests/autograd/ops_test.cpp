#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <regex>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "autograd/gradcheck.h"
#include "base/random.h"
#include "tests/autograd/op_table.h"
#include "tests/support.h"

namespace vitral::test {
namespace {

std::vector<Tensor> make_inputs(const OpRow& row, std::uint64_t seed = 1) {
  std::vector<Tensor> inputs;
  Random random(seed, std::hash<std::string>{}(row.name));
  for (const Shape& shape : row.shapes) {
    std::vector<double> values(static_cast<std::size_t>(shape.numel()));
    for (double& v : values) v = random.uniform(row.low, row.high);
    inputs.push_back(Tensor::from(values, shape));
  }
  return inputs;
}

struct Evaluated {
  std::vector<double> value;
  std::vector<std::vector<double>> gradients;
};

// Forward and, for a fixed weighting of the result, backward. Inputs from number `float32_from` on are
// float32 whatever the dtype.
Evaluated evaluate(const Function& f, const std::vector<Tensor>& inputs, DType dtype, Device device,
                   std::size_t float32_from = std::numeric_limits<std::size_t>::max()) {
  Inputs variables;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    variables.emplace_back(inputs[i].cast(i < float32_from ? dtype : DType::float32).to(device), true);
  const Variable y = f(variables);
  Random random(7);
  std::vector<double> weights(static_cast<std::size_t>(y.value().numel()));
  for (double& w : weights) w = random.uniform(-1, 1);
  sum(mul(y, Variable(Tensor::from(weights, y.shape()).cast(y.dtype()).to(device)))).backward();
  Evaluated out{y.value().to_vector(), {}};
  for (const auto& x : variables) out.gradients.push_back(x.grad().to_vector());
  return out;
}

void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  double scale = 1e-3;
  for (double v : b) scale = std::max(scale, std::abs(v));
  for (std::size_t i = 0; i < a.size(); ++i)
    ASSERT_LE(std::abs(a[i] - b[i]), tolerance * scale)
        << what << " at " << i << ": " << a[i] << " and " << b[i];
}

void expect_same(const Evaluated& a, const Evaluated& b, double tolerance) {
  expect_close(a.value, b.value, tolerance, "value");
  for (std::size_t i = 0; i < a.gradients.size(); ++i)
    expect_close(a.gradients[i], b.gradients[i], tolerance, "gradient of input " + std::to_string(i));
}

class Op : public testing::TestWithParam<OpRow> {};

TEST_P(Op, GradientsAgreeWithCentralDifferences) {
  const GradcheckResult result = gradcheck(GetParam().f, make_inputs(GetParam()), {.tolerance = 2e-6});
  EXPECT_TRUE(result.passed) << result.message;
}

TEST_P(Op, AgreesWithItsComposedReference) {
  if (!GetParam().reference) GTEST_SKIP() << "no reference from simpler operations";
  const auto inputs = make_inputs(GetParam());
  expect_same(evaluate(GetParam().f, inputs, DType::float64, cpu),
              evaluate(GetParam().reference, inputs, DType::float64, cpu), 1e-11);
}

TEST_P(Op, Float32AgreesWithFloat64) {
  const auto inputs = make_inputs(GetParam());
  expect_same(evaluate(GetParam().f, inputs, DType::float32, cpu),
              evaluate(GetParam().f, inputs, DType::float64, cpu), 2e-5);
}

// bfloat16 has 8 bits: each step of an operation rounds by up to 2^-9 of its size.
void expect_bfloat16(const OpRow& row, Device device) {
  std::vector<Tensor> inputs = make_inputs(row);
  for (Tensor& x : inputs) x = x.cast(DType::bfloat16).cast(DType::float64);
  const Evaluated exact = evaluate(row.f, inputs, DType::float64, cpu);
  expect_same(evaluate(row.f, inputs, DType::bfloat16, device), exact, row.bfloat16_tolerance);
  if (row.parameters_from == 0) return;
  SCOPED_TRACE("parameters in float32");
  expect_same(evaluate(row.f, inputs, DType::bfloat16, device, row.parameters_from), exact,
              row.bfloat16_tolerance);
}

TEST_P(Op, Bfloat16AgreesWithFloat64) { expect_bfloat16(GetParam(), cpu); }

class OpOnCuda : public Op {};

TEST_P(OpOnCuda, AgreesWithCpuInFloat32) {
  VITRAL_NEEDS_DEVICE(gpu);
  const auto inputs = make_inputs(GetParam());
  expect_same(evaluate(GetParam().f, inputs, DType::float32, gpu),
              evaluate(GetParam().f, inputs, DType::float32, cpu), 2e-5);
}

TEST_P(OpOnCuda, AgreesWithCpuInFloat64) {
  VITRAL_NEEDS_DEVICE(gpu);
  const auto inputs = make_inputs(GetParam());
  expect_same(evaluate(GetParam().f, inputs, DType::float64, gpu),
              evaluate(GetParam().f, inputs, DType::float64, cpu), 1e-11);
}

TEST_P(OpOnCuda, AgreesWithCpuInBfloat16) {
  VITRAL_NEEDS_DEVICE(gpu);
  expect_bfloat16(GetParam(), gpu);
}

TEST_P(OpOnCuda, GivesTheSameBitsEachTime) {
  VITRAL_NEEDS_DEVICE(gpu);
  const auto inputs = make_inputs(GetParam());
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    const Evaluated once = evaluate(GetParam().f, inputs, dtype, gpu),
                    again = evaluate(GetParam().f, inputs, dtype, gpu);
    EXPECT_EQ(once.value, again.value);
    EXPECT_EQ(once.gradients, again.gradients);
  }
}

void expect_same_bits_where_results_are_kept(const OpRow& row, Device device) {
  const auto inputs = make_inputs(row);
  for (const DType dtype : {DType::float64, DType::float32, DType::bfloat16}) {
    const Evaluated again = evaluate(row.f, inputs, dtype, device);
    const KeepResults keep;
    const Evaluated kept = evaluate(row.f, inputs, dtype, device);
    EXPECT_EQ(kept.value, again.value) << name(dtype);
    EXPECT_EQ(kept.gradients, again.gradients) << name(dtype);
  }
}

TEST_P(Op, GivesTheSameBitsWhereResultsAreKept) { expect_same_bits_where_results_are_kept(GetParam(), cpu); }

TEST_P(OpOnCuda, GivesTheSameBitsWhereResultsAreKept) {
  VITRAL_NEEDS_DEVICE(gpu);
  expect_same_bits_where_results_are_kept(GetParam(), gpu);
}

std::string row_name(const testing::TestParamInfo<OpRow>& info) {
  std::string name = info.param.name + "_" + info.param.variant + "_" + std::to_string(info.index);
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Table, Op, testing::ValuesIn(op_table()), row_name);
INSTANTIATE_TEST_SUITE_P(Table, OpOnCuda, testing::ValuesIn(op_table()), row_name);

// The functions that a header declares at the beginning of a line, whatever they return.
std::set<std::string> declared_functions(const std::string& text) {
  std::set<std::string> names;
  const std::regex declaration(R"(\n[A-Za-z_][\w:<>,*& ]*[ *&](\w+)\([^;{]*\);)");
  for (std::sregex_iterator it(text.begin(), text.end(), declaration), end; it != end; ++it)
    names.insert((*it)[1]);
  return names;
}

TEST(OpTable, SeesOperationsOfAnyReturnType) {
  EXPECT_EQ(
      declared_functions("\n/// y = f(x);\nstruct Made {\n  Variable up();\n};\n"
                         "Made made_up(const Variable& x,\n             int n = 1);\n"
                         "std::vector<Variable> parts(const Variable& x);\n#define NAME(x) f(x);\n"
                         "Variable plain(const std::vector<Variable>& x, std::initializer_list<int> d);\n"),
      (std::set<std::string>{"made_up", "parts", "plain"}));
}

TEST(OpTable, HasARowForEveryOperation) {
  std::ifstream header("autograd/ops.h");
  ASSERT_TRUE(header) << "run from the root of the source tree";
  const std::string text((std::istreambuf_iterator<char>(header)), {});
  std::set<std::string> declared = declared_functions(text);
#define VITRAL_NAME(name, Functor) declared.insert(#name);
  VITRAL_POINTWISE_OPS(VITRAL_NAME)
#undef VITRAL_NAME
  EXPECT_GE(declared.size(), 25U);
  std::set<std::string> tested;
  for (const auto& row : op_table()) tested.insert(row.name);
  for (const auto& name : declared)
    EXPECT_TRUE(tested.contains(name)) << name << " has no row in tests/autograd/op_table.cpp";
  for (const auto& name : tested)
    EXPECT_TRUE(declared.contains(name)) << name << " is not declared in autograd/ops.h";
}

TEST(OpErrors, NameOperationShapesAndRule) {
  const auto v = [](const Shape& shape) { return Variable(Tensor::zeros(shape)); };
  EXPECT_EQ(message_of([&] {
              layer_norm(v({8, 197, 128}), v({129}), v({129}));
            }),
            "layer_norm: weight [129] must match last dim of x [8, 197, 128]");
  EXPECT_EQ(message_of([&] {
              layer_norm(v({8, 128}), v({128}), v({127}));
            }),
            "layer_norm: bias [127] must match weight [128]");
  EXPECT_EQ(message_of([&] {
              linear(v({4, 3}), v({5, 4}), {});
            }),
            "linear: weight [5, 4] must be [O, I] with I the last dim of x [4, 3]");
  EXPECT_EQ(message_of([&] {
              linear(v({4, 3}), v({5, 3}), v({3}));
            }),
            "linear: bias [3] must match the first dim of weight [5, 3]");
  EXPECT_EQ(message_of([&] {
              matmul(v({4, 3}), v({4, 3}));
            }),
            "matmul: [4, 3] and [4, 3] must agree in the inner dimension");
  EXPECT_EQ(message_of([&] {
              matmul(v({2, 4, 3}), v({3, 3, 4}));
            }),
            "matmul: [2, 4, 3] and [3, 3, 4] must have the same batch dimensions, or the second none");
  EXPECT_EQ(message_of([&] {
              add(v({2, 3}), v({4}));
            }),
            "add: [2, 3] and [4] do not broadcast, dimension -1 must be equal or 1");
  EXPECT_EQ(message_of([&] {
              attention(v({2, 6, 31}), 2);
            }),
            "attention: qkv [2, 6, 31] must be [B, N, 3 H D] with H = 2 heads");
  EXPECT_EQ(
      message_of([&] {
        neighbourhood_attention(v({2, 6, 30}), 2, {{2, 2}, 3});
      }),
      "neighbourhood_attention: a grid of 2 x 2 with 0 registers does not have the 6 tokens of qkv [2, 6, "
      "30]");
  EXPECT_EQ(message_of([&] {
              rope(v({2, 6, 30}), 2, {3, 3});
            }),
            "rope: a grid of 3 x 3 has more than the 6 tokens of qkv [2, 6, 30]");
  EXPECT_EQ(message_of([&] {
              rope(v({2, 6, 30}), 4, {2, 3});
            }),
            "rope: qkv [2, 6, 30] must be [B, N, 3 H D] with H = 4 heads");
  EXPECT_EQ(message_of([&] {
              append_tokens(v({2, 6, 5}), v({2, 4}));
            }),
            "append_tokens: tokens [2, 4] must be [R, W] for x [2, 6, 5] [B, N, W]");
  EXPECT_EQ(message_of([&] {
              neighbourhood_attention(v({2, 6, 30}), 2, {{2, 3}, 2});
            }),
            "neighbourhood_attention: window 2 must be odd and positive, dilation 1 positive");
  EXPECT_EQ(
      message_of([&] {
        patchify(v({2, 3, 10, 10}), 3);
      }),
      "patchify: images [2, 3, 10, 10] must be [B, C, H, W] with H and W multiples of the patch size 3");
  EXPECT_EQ(message_of([&] {
              distillation_loss(v({2, 3}), v({2, 4}));
            }),
            "distillation_loss: embeddings [2, 3] and targets [2, 4] must both be [B, D]");
  EXPECT_EQ(message_of([&] {
              concat({v({2, 3}), v({3, 3})}, 1);
            }),
            "concat: [2, 3] and [3, 3] must be equal but for axis 1");
  EXPECT_EQ(message_of([&] {
              slice(v({2, 3}), 1, 2, 4);
            }),
            "slice: [2, 4) is out of range for axis 1 of [2, 3]");
  EXPECT_EQ(message_of([&] {
              permute(v({2, 3}), {0, 0});
            }),
            "permute: each axis of [2, 3] must be named once");
  EXPECT_EQ(message_of([&] { sum(v({2, 3}), 2); }), "sum: axis 2 is out of range for [2, 3]");
  EXPECT_EQ(message_of([&] {
              matmul(v({2, 3, 4, 5}), v({3, 2, 5, 6}));
            }),
            "matmul: [2, 3, 4, 5] and [3, 2, 5, 6] must have the same batch dimensions, or the second none");
}

TEST(OpErrors, NameOperationAndElementTypes) {
  const auto v = [](const Shape& shape, DType dtype) { return Variable(Tensor::zeros(shape, dtype)); };
  const Variable bytes = v({2, 2}, DType::uint8), single = v({2, 2}, DType::float32);
  const Variable row = v({2}, DType::float32), wide = v({2}, DType::float64);
  const auto refuses = [&](const char* operation, const std::function<void()>& f) {
    EXPECT_EQ(message_of(f),
              std::string(operation) + ": input [2, 2] is uint8, cast it to float32, float64 or bfloat16");
  };
  refuses("exp", [&] { exp(bytes); });
  refuses("add", [&] { add(bytes, bytes); });
  refuses("affine", [&] { affine(bytes, 2); });
  refuses("sum", [&] { sum(bytes); });
  refuses("mean", [&] { mean(bytes, 0); });
  refuses("matmul", [&] { matmul(bytes, bytes); });
  refuses("softmax", [&] { softmax(bytes); });
  refuses("distillation_loss", [&] { distillation_loss(bytes, bytes); });
  EXPECT_EQ(message_of([&] { linear(single, single, wide); }),
            "linear: float32 [2, 2] and float64 [2] differ in dtype, cast one of them");
  EXPECT_EQ(message_of([&] { layer_norm(single, row, wide); }),
            "layer_norm: float32 [2, 2] and float64 [2] differ in dtype, cast one of them");
  EXPECT_EQ(message_of([&] { exp(Variable()); }), "exp: an input is undefined");
}

TEST(OpEdges, NothingToSum) {
  const auto v = [](const Shape& shape) { return Variable(Tensor::zeros(shape), true); };
  EXPECT_EQ(layer_norm(v({3, 0}), v({0}), v({0})).shape(), (Shape{3, 0}));
  const Variable x = v({2, 0}), w = v({3, 0}), bias(Tensor::full({3}, 1), true);
  const Variable y = linear(x, w, bias);
  EXPECT_EQ(y.value().to_vector(), std::vector<double>(6, 1));
  sum(y).backward();
  EXPECT_EQ(w.grad().shape(), w.shape());
  EXPECT_EQ(bias.grad().to_vector(), std::vector<double>(3, 2));
}

TEST(OpEdges, LayerNormOfConstantRowsIsTheBias) {
  for (double constant : {1000.1, 1e6, 3.3e7}) {
    const Variable y = layer_norm(Variable(Tensor::full({3, 528}, constant)),
                                  Variable(Tensor::full({528}, 1)), Variable(Tensor::zeros({528})));
    for (double value : y.value().to_vector()) ASSERT_NEAR(value, 0, 1e-3) << constant;
  }
}

TEST(OpEdges, InfinityAndNotANumber) {
  const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  const auto values = [](std::vector<double> v) {
    return Variable(Tensor::from(v, {static_cast<std::int64_t>(v.size())}).cast(DType::float32), true);
  };
  EXPECT_EQ(sqrt(values({inf, 4, 0})).value().to_vector(), (std::vector<double>{inf, 2, 0}));
  EXPECT_TRUE(std::isnan(minimum(values({1}), values({nan})).item()));
  EXPECT_TRUE(std::isnan(minimum(values({nan}), values({1})).item()));
  const Variable x = values({inf, -inf});
  sum(neg(x)).backward();
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{-1, -1}));
}

// A run that is resumed meets other memory and other threads, and must get the same bits.
TEST(OpBits, DoNotDependOnMemoryOrThread) {
  Random random(3);
  std::vector<double> values(static_cast<std::size_t>(2 * 64 * 3 * 66));
  for (double& v : values) v = random.normal();
  const Tensor qkv = Tensor::from(values, {2, 64, 3 * 66}).cast(DType::float32);
  const auto run = [&](const std::function<Variable(const Variable&)>& f) {
    std::vector<double> bits;
    const auto once = [&] {
      const Variable x(qkv, true), y = f(x);
      sum(mul(y, y)).backward();
      bits = y.value().to_vector();
      const auto g = x.grad().to_vector();
      bits.insert(bits.end(), g.begin(), g.end());
    };
    once();
    const auto here = bits;
    for (std::size_t shift = 1; shift <= 4; ++shift) {  // a new thread has new scratch memory, somewhere else
      const std::vector<char> displaced(shift * 16);
      std::thread(once).join();
      EXPECT_EQ(bits, here) << shift;
    }
  };
  run([](const Variable& x) { return attention(x, 2); });
  run([](const Variable& x) { return neighbourhood_attention(x, 2, {{8, 8}}); });
  run([](const Variable& x) {
    return neighbourhood_attention(x, 2, {.grid = {6, 10}, .dilation = 2, .registers = 4});
  });
}

TEST(OpBits, AWindowWiderThanTheGridSeesAllOfIt) {
  const auto inputs = Variable(Tensor::from(std::vector<double>(12 * 6, 0.5), {1, 12, 6}));
  const auto at = [&](std::int64_t window) {
    return neighbourhood_attention(inputs, 1, {{3, 4}, window}).value().to_vector();
  };
  EXPECT_EQ(at(7), at(8191));
  EXPECT_EQ(at(9), at(7));
}

}  // namespace
}  // namespace vitral::test
