#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include <gtest/gtest.h>

#include "autograd/gradcheck.h"
#include "tests/nn/layer_table.h"
#include "tests/support.h"

namespace vitral::test {
namespace {

using Values = std::vector<double>;

Tensor uniform(const Shape& shape, Random& random, double bound) {
  Values values(static_cast<std::size_t>(shape.numel()));
  for (double& v : values) v = random.uniform(-bound, bound);
  return Tensor::from(values, shape);
}

// With weights that are not those of the start, where biases are zero and norms do nothing.
Layer layer_of(const LayerRow& row, DType dtype = DType::float64, Device device = cpu,
               std::uint64_t seed = 1) {
  Random random(seed);
  Layer layer = row.make(random);
  auto state = layer.module->state();
  for (auto& [name, value] : state) {
    Values moved = value.cast(DType::float64).to_vector();
    for (double& v : moved) v += random.uniform(-0.3, 0.3);
    value = Tensor::from(moved, value.shape());
  }
  layer.module->to(dtype);
  layer.module->load_state(state, "moved");
  layer.module->to(device);
  return layer;
}

Tensor input_of(const LayerRow& row) {
  Random random(2);
  return uniform(row.input, random, 1.5);
}

// The result, and for a fixed weighting of it the gradients of the input and of each parameter.
std::vector<Values> evaluate(const LayerRow& row, const Layer& layer, DType dtype, Device device) {
  const Variable x(input_of(row).cast(dtype).to(device), true);
  const Variable y = layer.forward(x);
  EXPECT_EQ(y.shape(), row.output);
  EXPECT_EQ(y.dtype(), dtype);
  Random random(3);
  sum(mul(y, Variable(uniform(row.output, random, 1).cast(dtype).to(device)))).backward();
  std::vector<Values> out{y.value().to_vector(), x.grad().to_vector()};
  for (const auto& p : layer.module->parameters()) out.push_back(p.value->grad().to_vector());
  return out;
}

void expect_close(const LayerRow& row, const std::vector<Values>& a, const std::vector<Values>& b,
                  double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const std::string what = i == 0   ? "result"
                             : i == 1 ? "gradient of the input"
                                      : "gradient of " + row.parameters[i - 2];
    ASSERT_EQ(a[i].size(), b[i].size()) << what;
    double scale = 1e-3;
    for (const double v : b[i]) scale = std::max(scale, std::abs(v));
    for (std::size_t k = 0; k < a[i].size(); ++k)
      ASSERT_LE(std::abs(a[i][k] - b[i][k]), tolerance * scale) << what << " at " << k;
  }
}

class LayerTest : public testing::TestWithParam<LayerRow> {};

TEST_P(LayerTest, ParametersHaveTheirNamesAndShapes) {
  const Layer layer = layer_of(GetParam());
  std::vector<std::string> parameters;
  std::int64_t count = 0;
  for (const auto& p : layer.module->parameters()) {
    parameters.push_back(p.name + " " + p.value->shape().str());
    count += p.value->shape().numel();
  }
  EXPECT_EQ(parameters, GetParam().parameters);
  EXPECT_EQ(layer.module->parameter_count(), count);
}

TEST_P(LayerTest, GradientsAgreeWithCentralDifferences) {
  const Layer layer = layer_of(GetParam());
  std::vector<Tensor> inputs{input_of(GetParam())};
  for (const auto& p : layer.module->parameters()) inputs.push_back(p.value->value());
  const auto f = [&](const std::vector<Variable>& v) {
    std::size_t next = 1;
    for (const auto& p : layer.module->parameters()) p.value->replace(v[next++]);
    return layer.forward(v[0]);
  };
  const GradcheckResult result = gradcheck(f, inputs, {.tolerance = 2e-6});
  EXPECT_TRUE(result.passed) << result.message << " (input 0 is x, then the parameters)";
}

TEST_P(LayerTest, Float32AgreesWithFloat64) {
  const auto exact = evaluate(GetParam(), layer_of(GetParam()), DType::float64, cpu);
  expect_close(GetParam(), evaluate(GetParam(), layer_of(GetParam(), DType::float32), DType::float32, cpu),
               exact, 5e-5);
}

// As trained in bfloat16: parameters in float32 with copies, which the products read.
void expect_bfloat16(const LayerRow& row, Device device) {
  const Layer layer = layer_of(row, DType::float32, device);
  layer.module->keep_copies(DType::bfloat16);
  expect_close(row, evaluate(row, layer, DType::bfloat16, device),
               evaluate(row, layer_of(row), DType::float64, cpu), 0.1);
}

TEST_P(LayerTest, Bfloat16AgreesWithFloat64) { expect_bfloat16(GetParam(), cpu); }

TEST_P(LayerTest, PackedWeightsGiveTheSame) {
  const Layer layer = layer_of(GetParam(), DType::float32);
  const Variable x(input_of(GetParam()).cast(DType::float32));
  const NoGrad no_grad;
  const Values before = layer.forward(x).value().to_vector();
  layer.module->pack_weights();
  expect_close(GetParam(), {layer.forward(x).value().to_vector()}, {before}, 1e-5);
}

// What linear_weight() registered becomes int8, stays so from state to state, and becomes floats again.
TEST_P(LayerTest, QuantizedWeightsGiveAboutTheSame) {
  const auto fresh = [] { return layer_of(GetParam(), DType::float32, cpu, 9); };
  const Layer layer = layer_of(GetParam(), DType::float32);
  const Variable x(input_of(GetParam()).cast(DType::float32));
  const NoGrad no_grad;
  const auto y = [&](const Layer& of) { return of.forward(x).value().to_vector(); };
  const Values before = y(layer);
  layer.module->quantize_weights();
  const Values quantized = y(layer);
  expect_close(GetParam(), {quantized}, {before}, 0.05);
  std::size_t int8 = 0;
  for (const auto& p : layer.module->parameters()) {
    EXPECT_EQ(p.value->dtype(), p.value->multiplied() ? DType::int8 : DType::float32) << p.name;
    int8 += p.value->multiplied() ? 1 : 0;
  }
  const auto state = layer.module->state();
  EXPECT_EQ(state.size(), layer.module->parameters().size() + int8);
  const Layer loaded = fresh(), shared = fresh();
  loaded.module->load_state(state, "layer");
  shared.module->share_state(state, "layer");
  EXPECT_EQ(y(loaded), quantized);
  EXPECT_EQ(y(shared), quantized);
  layer.module->pack_weights();
  expect_close(GetParam(), {y(layer)}, {quantized}, 1e-5);
  layer.module->keep_copies(DType::bfloat16);  // in bfloat16 int8 stays what it is
  expect_close(GetParam(), {layer.forward(Variable(x.value().cast(DType::bfloat16))).value().to_vector()},
               {quantized}, 0.05);
  layer.module->to(DType::float32);
  expect_close(GetParam(), {y(layer)}, {before}, 0.05);
  EXPECT_EQ(layer.module->state().size(), layer.module->parameters().size());
  loaded.module->load_state(layer.module->state(), "layer");
  EXPECT_EQ(y(loaded), y(layer)) << "floats replace int8";
}

TEST_P(LayerTest, StateIsSavedAndLoaded) {
  const Layer layer = layer_of(GetParam()), copied = layer_of(GetParam(), DType::float64, cpu, 9),
              shared = layer_of(GetParam(), DType::float64, cpu, 9);
  const Variable x(input_of(GetParam()));
  const auto y = [&](const Layer& of) { return of.forward(x).value().to_vector(); };
  EXPECT_NE(y(copied), y(layer));
  const auto state = layer.module->state();
  copied.module->load_state(state, "layer");
  EXPECT_EQ(y(copied), y(layer));
  shared.module->share_state(state, "layer");
  EXPECT_EQ(y(shared), y(layer));
  for (std::size_t i = 0; i < state.size(); ++i) {
    EXPECT_NE(copied.module->state()[i].second.data<double>(), state[i].second.data<double>())
        << state[i].first;
    EXPECT_EQ(shared.module->state()[i].second.data<double>(), state[i].second.data<double>())
        << state[i].first;
  }
}

TEST_P(LayerTest, AnotherLayersStateIsRefused) {
  const Layer layer = layer_of(GetParam());
  const Values before = layer.forward(Variable(input_of(GetParam()))).value().to_vector();
  const auto expect_refused = [&](const auto& state, const std::string& message) {
    for (const bool share : {false, true})
      EXPECT_EQ(message_of([&] {
                  if (share)
                    layer.module->share_state(state, "w");
                  else
                    layer.module->load_state(state, "w");
                }),
                message + "; it belongs to another architecture");
  };
  auto state = layer_of(GetParam(), DType::float64, cpu, 9).module->state();
  const std::string last = state.back().first;
  const Tensor value = state.back().second;

  state.back().second = Tensor::zeros({1, 2, 3, 4, 5}, DType::float64);
  expect_refused(
      state, "w: weights '" + last + "' have shape [1, 2, 3, 4, 5], this model needs " + value.shape().str());
  state.pop_back();
  expect_refused(state, "w: has no weights '" + last + "'");
  state.emplace_back(last, value);
  state.emplace_back("unknown.weight", value);
  expect_refused(state, "w: has weights 'unknown.weight' that this model does not know");
  EXPECT_EQ(layer.forward(Variable(input_of(GetParam()))).value().to_vector(), before)
      << "nothing is changed";
}

class LayerOnCuda : public LayerTest {};

TEST_P(LayerOnCuda, AgreesWithCpu) {
  VITRAL_NEEDS_DEVICE(gpu);
  for (const auto& [dtype, tolerance] : {std::pair{DType::float64, 1e-11}, {DType::float32, 5e-5}}) {
    const auto expected = evaluate(GetParam(), layer_of(GetParam(), dtype), dtype, cpu);
    expect_close(GetParam(), evaluate(GetParam(), layer_of(GetParam(), dtype, gpu), dtype, gpu), expected,
                 tolerance);
  }
}

TEST_P(LayerOnCuda, AgreesWithCpuInBfloat16) {
  VITRAL_NEEDS_DEVICE(gpu);
  expect_bfloat16(GetParam(), gpu);
}

// It does not multiply with int8 weights.
TEST_P(LayerOnCuda, QuantizedWeightsBecomeFloats) {
  VITRAL_NEEDS_DEVICE(gpu);
  const Layer layer = layer_of(GetParam(), DType::float32);
  const Tensor x = input_of(GetParam()).cast(DType::float32);
  const NoGrad no_grad;
  layer.module->quantize_weights();
  const Values expected = layer.forward(Variable(x)).value().to_vector();
  layer.module->to(gpu);
  for (const auto& p : layer.module->parameters()) EXPECT_EQ(p.value->dtype(), DType::float32) << p.name;
  expect_close(GetParam(), {layer.forward(Variable(x.to(gpu))).value().to_vector()}, {expected}, 0.05);
}

std::string row_name(const testing::TestParamInfo<LayerRow>& info) {
  return info.param.name + (info.param.variant.empty() ? "" : "_" + info.param.variant);
}

INSTANTIATE_TEST_SUITE_P(Table, LayerTest, testing::ValuesIn(layer_table()), row_name);
INSTANTIATE_TEST_SUITE_P(Table, LayerOnCuda, testing::ValuesIn(layer_table()), row_name);

TEST(LayerTable, HasARowForEveryLayer) {
  std::set<std::string> classes, tested;
  const std::regex derived(R"((?:class|struct)\s+(\w+)[^;{]*:\s*(?:public\s+)?Module\b)");
  for (const auto& entry : std::filesystem::directory_iterator("nn")) {
    if (entry.path().extension() != ".h") continue;
    std::string text;
    std::ifstream file(entry.path());
    for (std::string line; std::getline(file, line);)
      if (!line.starts_with("//")) text += line + "\n";
    for (std::sregex_iterator it(text.begin(), text.end(), derived), end; it != end; ++it)
      classes.insert((*it)[1]);
  }
  for (const auto& row : layer_table()) tested.insert(row.name);
  EXPECT_GE(classes.size(), 7U) << "run from the root of the source tree";
  for (const auto& name : classes)
    EXPECT_TRUE(tested.contains(name)) << "nn::" << name << " has no row in tests/nn/layer_table.cpp";
  for (const auto& name : tested)
    EXPECT_TRUE(classes.contains(name))
        << name << " has a row, but is no class of nn/ that derives from Module";
}

// The last block of some tokens alone is what it makes of all, with the same gradients.
TEST(Transformer, OfPickedTokensIsAllThatIsMadeOfThem) {
  for (const bool residual : {true, false}) {
    std::vector<nn::BlockConfig> blocks(2, nn::BlockConfig{.width = 12, .heads = 2});
    blocks.back().residual = residual;
    Random random(3);
    nn::Transformer transformer(blocks, random);
    transformer.to(DType::float64);
    std::vector<double> values(2 * 5 * 12);
    for (double& v : values) v = random.uniform(-1, 1);
    const Tensor input = Tensor::from(values, {2, 5, 12});
    const auto pick = [](const Variable& x) { return reshape(slice(x, 1, 2, 3), {2, 12}); };
    const auto gradients = [&](bool picked) {
      const Variable x(input, true);
      transformer.zero_grad();
      const Variable y = picked ? transformer.of_picked(x, pick) : pick(transformer(x));
      sum(square(y)).backward();
      std::vector<double> out = y.value().to_vector();
      const auto append = [&](const Tensor& t) {
        const auto v = t.to_vector();
        out.insert(out.end(), v.begin(), v.end());
      };
      append(x.grad());
      for (const auto& p : transformer.parameters()) append(p.value->grad());
      return out;
    };
    const auto some = gradients(true), all = gradients(false);
    ASSERT_EQ(some.size(), all.size());
    for (std::size_t i = 0; i < all.size(); ++i) ASSERT_NEAR(some[i], all[i], 1e-10) << i;
  }
}

}  // namespace
}  // namespace vitral::test
