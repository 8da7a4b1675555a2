// Modules in modules, and what a forward pass is handed.
#include <gtest/gtest.h>

#include "nn/block.h"
#include "tests/support.h"

namespace vitral::nn {
namespace {

using test::message_of;

struct Inner : Module {
  Parameter& table = parameter("table", Tensor::zeros({2}));
  LayerNorm& ln = child<LayerNorm>("ln", 4);
};

struct Outer : Module {
  Inner& inner = part<Inner>();
  LayerNorm& last = child<LayerNorm>("last", 4);
  Parameter& scale = parameter("scale", Tensor::zeros({1}));
};

std::vector<std::string> names_of(const Module& module) {
  std::vector<std::string> out;
  for (const auto& p : module.parameters()) out.push_back(p.name);
  return out;
}

TEST(Part, StandsAmongTheOwnParametersAndChildren) {
  EXPECT_EQ(names_of(Outer()),
            (std::vector<std::string>{"table", "scale", "ln.weight", "ln.bias", "last.weight", "last.bias"}));
}

TEST(Part, TakesItsNames) {
  struct Before : Module {
    Parameter& table = parameter("table", Tensor::zeros({1}));
    Inner& inner = part<Inner>();
  };
  EXPECT_EQ(message_of([] { Before before; }), "part: 'table' is registered already");
  struct After : Module {
    Inner& inner = part<Inner>();
    LayerNorm& ln = child<LayerNorm>("ln", 4);
  };
  EXPECT_EQ(message_of([] { After after; }), "child: 'ln' is registered already");
}

// The fused additions and normalisations give what the formula says, to the bit.
TEST(ResidualStream, IsTheFormula) {
  Random random(3);
  LayerNorm a(6), b(6);
  const auto noise = [&] { return Variable(uniform({2, 3, 6}, 1, random)); };
  const Variable x = noise(), first = noise(), second = noise();
  ResidualStream s(x);
  EXPECT_EQ(s.normed(a).value().to_vector(), a(x).value().to_vector());
  s += first;
  const Variable normed = s.normed(b);
  const SumAndNorm fused = b.add(x, first);
  EXPECT_EQ(normed.value().to_vector(), fused.norm.value().to_vector());
  s += second;
  EXPECT_EQ(s.sum().value().to_vector(), add(add(x, first), second).value().to_vector());
  s += first;
  s += first;
  EXPECT_EQ(s.sum().value().to_vector(),
            add(add(add(add(x, first), second), first), first).value().to_vector());
}

// Which samples are left out is a matter of (seed, step, place in the whole batch, layer, branch) alone.
TEST(ForwardContext, RandomNumbersAreAPureFunctionOfWhatTheyAreFor) {
  const auto step = [](int number) { return Tensor::full({1}, number, DType::int64); };
  const ForwardContext whole{.training = true, .seed = 5, .step = step(7), .first_sample = 0},
      piece{.training = true, .seed = 5, .step = step(7), .first_sample = 20},
      later{.training = true, .seed = 5, .step = step(8)},
      other{.training = true, .seed = 6, .step = step(7)};
  const Variable ones(Tensor::full({64, 2}, 1));
  const auto dropped = [&](const SampleDraws& draws) {
    return drop_path(ones, 0.5, draws).value().to_vector();
  };
  const auto all = dropped(whole.draws(1, 0)), rest = dropped(piece.draws(1, 0));
  EXPECT_TRUE(std::equal(all.begin() + 40, all.end(), rest.begin()));
  for (const auto& draws :
       {whole.draws(1, 1), whole.draws(0, 1), whole.draws(2, 0), later.draws(1, 0), other.draws(1, 0)})
    EXPECT_NE(dropped(draws), all);
  const auto kept = std::count(all.begin(), all.end(), 2.0), gone = std::count(all.begin(), all.end(), 0.0);
  EXPECT_EQ(kept + gone, 128);
  EXPECT_GT(kept, 32);
  EXPECT_GT(gone, 32);
  EXPECT_EQ(message_of([&] { drop_path(ones, 1, {}); }), "drop_path: rate 1 must be in [0, 1)");
  EXPECT_EQ(message_of([&] { drop_path(ones, 0.5, {.step = Tensor::full({2}, 0, DType::int64)}); }),
            "drop_path: step int64 [2] on cpu must be int64 [1] on cpu");
}

// A sample whose branch is left out is not changed by it; evaluation leaves out none.
TEST(ResidualBlock, DropsPathsInTrainingOnly) {
  Random random(1);
  const BlockConfig config{.width = 4, .heads = 2, .drop_path = 0.7, .layer = 3};
  const ResidualBlock block(config, random);
  const Variable x(uniform({40, 3, 4}, 1, random));
  const ForwardContext training{.training = true, .seed = 9};
  const auto y = block(x, training).value().to_vector(), before = x.value().to_vector(),
             evaluated = block(x).value().to_vector();
  int unchanged = 0;
  for (std::size_t i = 0; i < 40; ++i)
    unchanged += std::equal(y.begin() + 12 * i, y.begin() + 12 * (i + 1), before.begin() + 12 * i);
  EXPECT_GT(unchanged, 10);  // of 40, each with probability 0.7^2
  EXPECT_LT(unchanged, 30);
  EXPECT_NE(evaluated, y);
  EXPECT_EQ(evaluated, block(x, {.training = false, .seed = 9}).value().to_vector());
  int same = 0;
  for (std::size_t i = 0; i < 40; ++i)
    same += std::equal(evaluated.begin() + 12 * i, evaluated.begin() + 12 * (i + 1), before.begin() + 12 * i);
  EXPECT_EQ(same, 0);
}

TEST(Kinds, AreNamed) {
  Random random(1);
  EXPECT_EQ(message_of([&] {
              make_mlp({4, 4, "selu"}, random);
            }),
            "mlp: selu is none of quick_gelu, gelu, gelu_pytorch_tanh and swiglu");
  EXPECT_EQ(message_of([] { make_norm("batch_norm", 4, 1e-5); }),
            "norm: batch_norm is none of layer_norm and rms_norm");
}

TEST(HiddenWidth, RoundsAsItsFormula) {
  EXPECT_EQ(hidden_width(528, 4, "gelu"), 2112);
  EXPECT_EQ(hidden_width(36, 2.51, "gelu"), 90);
  EXPECT_EQ(hidden_width(528, 4, "swiglu"), 1408);
  EXPECT_EQ(hidden_width(36, 2.5, "swiglu"), 64);
  EXPECT_EQ(hidden_width(32, 4, "swiglu"), 88);
}

}  // namespace
}  // namespace vitral::nn
