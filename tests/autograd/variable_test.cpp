#include "autograd/variable.h"

#include <cmath>

#include <gtest/gtest.h>

#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "tests/support.h"

namespace vitral {
namespace {

using test::message_of;

Variable leaf(std::vector<float> values) {
  const auto n = static_cast<std::int64_t>(values.size());
  return Variable(Tensor::from(values, {n}), true);
}

TEST(Variable, GradientsAddUpUntilZeroed) {
  Variable x = leaf({1, 2});
  for (int i = 0; i < 2; ++i) sum(mul(x, x)).backward();
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{4, 8}));
  x.zero_grad();
  EXPECT_FALSE(x.grad().defined());
}

TEST(Variable, DiamondsVisitANodeOnce) {
  Variable x = leaf({3});
  const Variable a = mul(x, x), b = affine(a, 2), c = mul(a, b);  // 2 x^4
  sum(c).backward();
  EXPECT_EQ(x.grad().item(), 8 * 27);
}

TEST(Variable, SharedGradientsAreNeverWrittenInPlace) {
  Variable x = leaf({1, 1}), y = leaf({2, 2});
  const Variable s = add(x, y);  // both get the same gradient tensor
  sum(add(s, affine(x, 5))).backward();
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{6, 6}));
  EXPECT_EQ(y.grad().to_vector(), (std::vector<double>{1, 1}));
}

TEST(Variable, NoGradRecordsNothing) {
  Variable x = leaf({1, 2});
  const NoGrad no_grad;
  EXPECT_FALSE(sum(mul(x, x)).requires_grad());
}

TEST(Variable, ConstantsGetNoGradientAndNoNode) {
  const Variable c(Tensor::zeros({2}));
  EXPECT_FALSE(add(c, c).requires_grad());
  EXPECT_EQ(message_of([&] { sum(add(c, c)).backward(); }),
            "backward: nothing that this value was computed from requires a gradient");
  EXPECT_EQ(message_of([&] { c.grad(); }), "grad: this variable does not require a gradient");
}

TEST(Variable, BackwardErrors) {
  Variable x = leaf({1, 2});
  const Variable y = exp(x);
  EXPECT_EQ(message_of([&] { y.backward(); }),
            "backward: starts from one number, this value has shape [2]; reduce it with sum() or mean()");
  const Variable loss = sum(y);
  loss.backward();
  EXPECT_EQ(message_of([&] { loss.backward(); }),
            "backward: this graph was walked before and its saved tensors are freed; compute it again");
  EXPECT_EQ(message_of([&] { sum(y).backward(); }),
            "backward: exp was walked before and its saved tensors are freed; compute it again");
}

TEST(Variable, LongChainsNeitherOverflowTheStackNorKeepMemory) {
  Variable x = leaf({1});
  const auto in_use = allocator_stats(cpu).bytes_in_use;
  {
    Variable y = x;
    for (int i = 0; i < 200000; ++i) y = affine(y, 1);
  }
  EXPECT_EQ(allocator_stats(cpu).bytes_in_use, in_use);
  Variable y = x;
  for (int i = 0; i < 200000; ++i) y = affine(y, 1);
  sum(y).backward();
  EXPECT_EQ(x.grad().item(), 1);
}

TEST(Variable, SavedTensorsAndGradientsAreFreedDuringBackward) {
  const auto chain = [](int depth) {
    Variable x(Tensor::full({1 << 16}, 0.5), true);
    Variable y = x;
    for (int i = 0; i < depth; ++i) y = mul(y, y);
    reset_peak(cpu);
    const auto before = allocator_stats(cpu).bytes_in_use;
    sum(y).backward();
    return allocator_stats(cpu).peak_in_use - before;
  };
  // What backward itself needs on top of the saved tensors does not grow with the depth of the graph.
  EXPECT_LE(chain(24), chain(4) + (1 << 16));
}

// Each of them could be computed again from the one before; a few are, not all.
TEST(Variable, LongChainsOfCheapOperationsStayLinear) {
  Variable x = leaf({1});
  const auto before = allocator_stats(cpu).bytes_in_use;
  Variable y = x;
  for (int i = 0; i < 20000; ++i) y = tanh(y);
  EXPECT_LE(allocator_stats(cpu).bytes_in_use - before, 20000U * 64);
  sum(y).backward();
  EXPECT_GT(x.grad().item(), 0);
}

TEST(Variable, GradientsOfLeavesAreTheirOwn) {
  Variable x = leaf({1, 2}), y = leaf({3, 4});
  sum(add(x, y)).backward();
  Tensor(x.grad()).data<float>()[0] = 99;  // as someone does who clips in place
  EXPECT_EQ(y.grad().to_vector(), (std::vector<double>{1, 1}));
}

TEST(Gradients, AccumulateHandsOutWhatAnInputHasCollected) {
  Variable x = leaf({1, 2}), constant(Tensor::zeros({2}));
  std::vector<bool> added;
  const auto thrice = [&] {  // 3 x, whose backward writes the gradient itself
    return make_result(
        "thrice", x.value().clone(), {constant, x}, [&](const Tensor& dy, Gradients& gradients) {
          gradients.accumulate<0, 1, 2>([&](Tensor& none, Tensor& g, Tensor& absent, bool add) {
            EXPECT_FALSE(none.defined() || absent.defined());
            added.push_back(add);
            for (int i = 0; i < 2; ++i)
              g.data<float>()[i] = (add ? g.data<float>()[i] : 0) + 3 * dy.data<float>()[i];
          });
        });
  };
  sum(thrice()).backward();
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{3, 3}));
  const float* memory = x.grad().data<float>();
  sum(thrice()).backward();
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{6, 6}));
  EXPECT_EQ(x.grad().data<float>(), memory);
  const Tensor held = x.grad();
  sum(thrice()).backward();
  EXPECT_EQ(x.grad().to_vector(), (std::vector<double>{9, 9}));
  EXPECT_EQ(held.to_vector(), (std::vector<double>{6, 6})) << "somebody looks at it";
  EXPECT_EQ(added, (std::vector<bool>{false, true, true}));
}

TEST(Gradients, NamesWhatDoesNotFit) {
  const Variable x = leaf({1, 2});
  const auto wrong = [&](const Tensor& g) {
    return message_of([&] {
      sum(make_result("wrong", x.value().clone(), {x}, [&](const Tensor&, Gradients& gradients) {
        gradients.add(0, g);
      })).backward();
    });
  };
  EXPECT_EQ(wrong(Tensor::zeros({3})),
            "wrong: gradient float32 [3] of input 0 is not float32 [2] as the input is");
  EXPECT_EQ(wrong(Tensor::zeros({2}, DType::bfloat16)),
            "wrong: gradient bfloat16 [2] of input 0 is not float32 [2] as the input is");
}

TEST(Saved, KeepsTheRecipeOfCheapResults) {
  Variable x(Tensor::full({1 << 16}, 0.5), true);
  Variable w(Tensor::full({1, 1 << 16}, 0.5), true);
  const auto before = allocator_stats(cpu).bytes_in_use;
  const Variable loss = sum(linear(quick_gelu(x), w, {}));
  EXPECT_LT(allocator_stats(cpu).bytes_in_use - before, 65536U) << "the output of quick_gelu was kept";
  loss.backward();
  EXPECT_NEAR(w.grad().to_vector()[0], 0.5 / (1 + std::exp(-0.851)), 1e-6);
}

TEST(Saved, KeepsTheResultWhereItIsToldTo) {
  constexpr std::size_t bytes = (1 << 16) * sizeof(float);
  Variable x(Tensor::full({1 << 16}, 0.5), true);
  Variable w(Tensor::full({1, 1 << 16}, 0.5), true);
  const auto kept = [&](const auto& loss_of) {
    const auto before = allocator_stats(cpu).bytes_in_use;
    const Variable loss = loss_of();
    const auto bytes_kept = allocator_stats(cpu).bytes_in_use - before;
    loss.backward();
    return bytes_kept;
  };
  const auto composed = [&] { return sum(linear(quick_gelu(x), w, {})); };
  const auto fused = [&] { return sum(activation_linear(x, w, {}, activations::quick_gelu)); };
  for (const auto& loss_of : {std::function<Variable()>(composed), std::function<Variable()>(fused)}) {
    const KeepResults keep;
    EXPECT_TRUE(results_are_kept());
    EXPECT_GE(kept(loss_of), bytes);
    EXPECT_LT(kept(loss_of), bytes + 1000);
    const KeepResults not_now(false);
    EXPECT_LT(kept(loss_of), bytes);
  }
  EXPECT_FALSE(results_are_kept());
  // Nobody asks for the gradient that would read it.
  const KeepResults keep;
  EXPECT_LT(kept([&] { return sum(activation_linear(x, Variable(w.value()), {}, activations::quick_gelu)); }),
            bytes);
}

TEST(Saved, RecomputedResultsAreCountedWhileTheyAreNeeded) {
  constexpr std::size_t bytes = (1 << 16) * sizeof(float);
  Variable x(Tensor::full({1 << 16}, 0.5), true);
  Variable w(Tensor::full({1, 1 << 16}, 0.5), true);
  const RecomputedBytes all;
  for (int i = 0; i < 3; ++i) {
    const RecomputedBytes inner;
    sum(linear(quick_gelu(x), w, {})).backward();  // gone when the next begins
    EXPECT_EQ(inner.peak(), bytes);
    sum(activation_linear(silu(x), w, {}, activations::quick_gelu)).backward();
    EXPECT_EQ(inner.peak(), 2 * bytes);
  }
  EXPECT_EQ(all.peak(), 0U) << "the innermost counts";
  const KeepResults keep;
  const RecomputedBytes none;
  sum(linear(quick_gelu(x), w, {})).backward();
  EXPECT_EQ(none.peak(), 0U);
}

TEST(Gradcheck, FindsAWrongGradientAndSaysWhere) {
  const auto wrong = [](const std::vector<Variable>& x) {
    Tensor y = x[0].value().clone();
    return make_result("wrong", y, {x[0]}, [](const Tensor& dy, Gradients& gradients) {
      Tensor g = dy.clone();
      g.data<double>()[2] *= 1.5;
      gradients.add(0, g);
    });
  };
  const GradcheckResult result = gradcheck(wrong, {Tensor::full({4}, 1, DType::float64)});
  EXPECT_FALSE(result.passed);
  EXPECT_TRUE(result.message.starts_with("input 0 [4] at 2: backward gives")) << result.message;
}

TEST(Gradcheck, NamesTheElementThatIsNotANumber) {
  const auto wrong = [](const std::vector<Variable>& x) {
    return make_result("wrong", x[0].value().clone(), {x[0]}, [](const Tensor& dy, Gradients& gradients) {
      Tensor g = dy.clone();
      g.data<double>()[1] = std::nan("");
      gradients.add(0, g);
    });
  };
  const GradcheckResult result = gradcheck(wrong, {Tensor::full({4}, 1, DType::float64)});
  EXPECT_FALSE(result.passed);
  EXPECT_TRUE(result.message.starts_with("input 0 [4] at 1: backward gives nan")) << result.message;
}

}  // namespace
}  // namespace vitral
