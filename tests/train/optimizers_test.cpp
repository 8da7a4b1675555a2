// All optimisers: golden ends 1e-5 after ten steps, state that goes on bit for bit, and what they refuse.
#include <cmath>
#include <limits>

#include "tests/golden.h"
#include "tests/noise.h"
#include "tests/train/train_steps.h"
#include "train/muon.h"
#include "train/optimizer.h"

namespace vitral::train {
namespace {

using test::message_of;
using test::noise;

const std::vector<std::string> all_optimizers{"adamw", "sgd", "lion", "muon"};

OptimizerConfig named(const std::string& name) {
  OptimizerConfig config;
  config.name = name;
  return config;
}

// A matrix as one of a block's, and a vector.
struct Layer : nn::Module {
  struct Linear : nn::Module {
    explicit Linear(const Tensor& w, const Tensor& b)
        : weight(parameter("weight", w)), bias(parameter("bias", b)) {}
    nn::Parameter &weight, &bias;
  };
  Layer(const Tensor& w, const Tensor& b) : linear(child<Linear>("transformer.resblocks.0.mlp.c_fc", w, b)) {}
  Linear& linear;

  void set_gradients(const Tensor& of_weight, const Tensor& of_bias) {
    zero_grad();
    sum(add(sum(mul(linear.weight, Variable(of_weight))), sum(mul(linear.bias, Variable(of_bias)))))
        .backward();
  }
};

class OptimizersOn : public testing::TestWithParam<Device::Kind> {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(device()); }
  Device device() const { return {GetParam(), 0}; }
};
INSTANTIATE_TEST_SUITE_P(Devices, OptimizersOn, testing::Values(Device::Kind::cpu, Device::Kind::cuda),
                         [](const auto& info) { return info.param == Device::Kind::cpu ? "Cpu" : "Cuda"; });

TEST_P(OptimizersOn, Golden) {
  VITRAL_NEEDS_SHARED(path, "golden/research.h5");
  const data::H5File file = data::H5File::open(path);
  const std::string group = "/optimizers/";
  const double lr = test::number_attribute(file, "lr", "/optimizers");
  const Tensor of_weight = file.read(group + "grad_weight"), of_bias = file.read(group + "grad_bias");
  for (const std::string name : {"sgd", "lion", "muon"}) {
    SCOPED_TRACE(name);
    Layer layer(file.read(group + "weight").clone(), file.read(group + "bias").clone());
    layer.to(device());
    OptimizerConfig config = named(name);
    config.weight_decay = test::number_attribute(file, "weight_decay", "/optimizers");
    const auto optimizer = make_optimizer(config, layer);
    for (std::int64_t i = 0; i < of_weight.dim(0); ++i) {
      const auto row = [&](const Tensor& all) {
        return all.rows(i, i + 1).reshape(all.shape().without(0)).clone().to(device());
      };
      layer.set_gradients(row(of_weight), row(of_bias));
      optimizer->step(lr);
    }
    for (const auto& [what, p] : {std::pair{"/weight", &layer.linear.weight}, {"/bias", &layer.linear.bias}})
      EXPECT_LE(test::relative_error(p->value(), file.read(group + name + what)), 1e-5) << what;
  }
}

// The steps bring singular values between 0.7 and 1.2 or so; a wide matrix and its transposed are alike.
TEST_P(OptimizersOn, OrthogonalizedMatricesHaveSingularValuesNearOne) {
  const Tensor wide = noise({5, 40}, 1).cast(DType::float64).to(device());
  const Tensor tall = permute(Variable(wide), {1, 0}).value().clone();
  const Variable x(orthogonalized(wide)), y(orthogonalized(tall, 3));
  EXPECT_LE(test::relative_error(permute(y, {1, 0}).value(), affine(x, 3).value()), 1e-12);
  const auto products = matmul(x, x, true).value().to_vector();
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t k = 0; k < 5; ++k)
      EXPECT_NEAR(products[5 * i + k], i == k ? 0.9 : 0, 0.45) << i << " " << k;
  EXPECT_FALSE(std::isnan(orthogonalized(Tensor::zeros({3, 4}).to(device())).to_vector()[0]));
}

TEST_P(OptimizersOn, WhatIsNotFiniteChangesNothing) {
  for (const std::string& name : all_optimizers) {
    SCOPED_TRACE(name);
    Layer layer(noise({6, 4}, 1), noise({6}, 2));
    layer.to(device());
    const auto optimizer = make_optimizer(named(name), layer);
    const Tensor good = noise({6, 4}, 3), of_bias = noise({6}, 4);
    const auto step = [&](const Tensor& of_weight) {
      layer.set_gradients(of_weight.to(device()), of_bias.to(device()));
      optimizer->step(0.1);
    };
    const auto all = [&] {
      std::vector<std::vector<double>> out;
      for (const auto& state : {layer.state(), optimizer->state()})
        for (const auto& [key, tensor] : state) out.push_back(tensor.to_vector());
      return out;
    };
    step(good);
    const auto before = all();
    for (const float value : {test::not_a_number, std::numeric_limits<float>::infinity()}) {
      Tensor bad = good.clone();
      bad.data<float>()[5] = value;
      step(bad);
      EXPECT_EQ(all(), before);
    }
    step(good);
    EXPECT_NE(all(), before);
  }
}

// A step of a student, whatever else an update does.
TEST_P(OptimizersOn, ResumesBitForBit) {
  for (const std::string& name : all_optimizers) {
    SCOPED_TRACE(name);
    TrainConfig config;
    config.batch_size = 8;
    config.ema = 0.9;
    config.clip_norm = 0.5;
    config.optimizer = named(name);
    config.optimizer.decay_matrices_only = true;
    const Batches batches(8);
    models::Distillation whole(test::small_student()), begun(test::small_student()),
        resumed(test::small_student(), 5);
    const auto steps = [&](TrainStep& step, int first, int last) {
      for (int i = first; i < last; ++i)
        EXPECT_FALSE(step.run({batches.images, batches.targets}, 1e-3 / (1 + i)).skipped);
    };
    TrainStep a(whole, config, device()), b(begun, config, device()), c(resumed, config, device());
    steps(a, 0, 6);
    steps(b, 0, 3);
    c.load(b.weights(), b.state(), "b");
    steps(c, 3, 6);
    EXPECT_EQ(difference(a.weights(), c.weights()), 0);
    EXPECT_EQ(difference(a.state(), c.state()), 0);
  }
}

TEST(Optimizers, ClippedGradientsAreWhatTheFormulaSees) {
  for (const std::string name : {"sgd", "lion"}) {
    Layer clipped(noise({6, 4}, 1), noise({6}, 2)), scaled(noise({6, 4}, 1), noise({6}, 2));
    const auto a = make_optimizer(named(name), clipped), b = make_optimizer(named(name), scaled);
    const Tensor of_weight = noise({6, 4}, 3), of_bias = noise({6}, 4);
    clipped.set_gradients(of_weight, of_bias);
    a->lr().fill(0.1);
    a->begin();
    a->update({.clip_norm = 0.01});
    const double norm = std::sqrt(a->result().to_vector()[update_squares]);
    const auto times = [&](const Tensor& t) { return affine(Variable(t), 0.01 / norm).value(); };
    scaled.set_gradients(times(of_weight), times(of_bias));
    b->step(0.1);
    EXPECT_LE(test::relative_error(clipped.linear.weight.value(), scaled.linear.weight.value()), 1e-6)
        << name;
  }
}

// Without a gradient's direction all that is left of a step is the decay.
TEST(Optimizers, DecayOfMatricesOnly) {
  for (const std::string& name : all_optimizers)
    for (const bool matrices_only : {false, true}) {
      Layer layer(noise({6, 4}, 1), noise({6}, 2));
      OptimizerConfig config = named(name);
      config.weight_decay = 0.5;
      config.decay_matrices_only = matrices_only;
      const auto optimizer = make_optimizer(config, layer);
      layer.set_gradients(Tensor::zeros({6, 4}), Tensor::zeros({6}));
      optimizer->step(0.1);
      const double weight = layer.linear.weight.value().to_vector()[0] / noise({6, 4}, 1).to_vector()[0],
                   bias = layer.linear.bias.value().to_vector()[0] / noise({6}, 2).to_vector()[0];
      EXPECT_NEAR(weight, 0.95, 1e-6) << name;
      EXPECT_NEAR(bias, matrices_only ? 1 : 0.95, 1e-6) << name;
    }
}

TEST(Optimizers, RefuseEachOthersState) {
  const auto state_of = [](const std::string& name) {
    Layer layer(noise({6, 4}, 1), noise({6}, 2));
    const auto optimizer = make_optimizer(named(name), layer);
    layer.set_gradients(noise({6, 4}, 3), noise({6}, 4));
    optimizer->step(0.1);
    return optimizer->state();
  };
  for (const std::string& from : all_optimizers)
    for (const std::string& to : all_optimizers) {
      Layer layer(noise({6, 4}, 1), noise({6}, 2));
      const auto optimizer = make_optimizer(named(to), layer);
      const std::string message = message_of([&] { optimizer->load_state(state_of(from), "o.safetensors"); });
      if (from == to) {
        EXPECT_EQ(message, "no error");
      } else {
        EXPECT_EQ(message.find("o.safetensors: has "), 0U) << from << " to " << to << ": " << message;
        EXPECT_NE(message.find(": another optimizer has written it; set it as it was"), std::string::npos)
            << message;
        EXPECT_TRUE(optimizer->state().empty());
      }
    }
  Layer layer(noise({6, 4}, 1), noise({6}, 2));
  EXPECT_EQ(
      message_of(
          [&] { make_optimizer(named("lion"), layer)->load_state(state_of("adamw"), "o.safetensors"); }),
      "o.safetensors: has exp_avg, exp_avg_sq, step of 'transformer.resblocks.0.mlp.c_fc.weight', "
      "train.optimizer.name lion keeps exp_avg, step: another optimizer has written it; set it as it was, or "
      "start a new run with model.init_from");
}

}  // namespace
}  // namespace vitral::train
