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

TEST(ForwardContext, RandomNumbersAreAPureFunctionOfWhatTheyAreFor) {
  const ForwardContext whole{.training = true, .seed = 5, .step = 7, .first_sample = 0},
      piece{.training = true, .seed = 5, .step = 7, .first_sample = 2},
      later{.training = true, .seed = 5, .step = 8};
  EXPECT_EQ(whole.random(3, 1, 0).next(), piece.random(1, 1, 0).next());
  EXPECT_NE(whole.random(3, 1, 0).next(), whole.random(3, 0, 1).next());
  EXPECT_NE(whole.random(3, 1, 0).next(), whole.random(2, 1, 0).next());
  EXPECT_NE(whole.random(3, 1, 0).next(), later.random(3, 1, 0).next());
}

}  // namespace
}  // namespace vitral::nn
