// AdamW against PyTorch's: twenty steps of the student, losses and the weights after within 1e-3.
#include "train/adamw.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/models/golden_student.h"

namespace vitral::train {
namespace {

// What the loss does not depend on gets rounding noise as gradient, which AdamW turns into steps of full
// size; both sides of a comparison lose it: `scale` (the loss is blind to the embedding's length), the keys'
// bias (softmax over keys cancels it) and, of the last bias, the number a head adds to all logits (softmax
// over patches cancels it).
Tensor without_noise(const std::string& name, const Tensor& value, const models::StudentConfig& c) {
  const Tensor out = value.to(cpu).cast(DType::float32).clone();
  float* p = out.data<float>();
  const std::int64_t width = c.internal_width(), head = width / c.heads;
  if (name == "scale") p[0] = 1;
  if (name.ends_with("in_proj_bias")) std::fill(p + width, p + 2 * width, 0.0F);
  if (name == fmt::format("transformer.resblocks.{}.mlp.c_proj.bias", c.layers - 1))
    for (std::int64_t i = head - 1; i < width; i += head) p[i] = 0;
  return out;
}

using FileAndDevice = std::tuple<const char*, Device::Kind>;
class AdamWGolden : public testing::TestWithParam<FileAndDevice> {};

TEST_P(AdamWGolden, TwentyStepsOfTheStudent) {
  const Device device{std::get<1>(GetParam()), 0};
  VITRAL_NEEDS_DEVICE(device);
  for (const auto& path : test::golden_files(std::get<0>(GetParam()))) {
    SCOPED_TRACE(path);
    const data::H5File file = data::H5File::open(path);
    models::Student student(test::golden_config(file));
    student.load_state(test::read_group(file, "/state"), path);
    student.to(device);
    AdamW optimizer(student, {});
    const Tensor inputs = file.read("/train/inputs").cast(DType::float32),
                 targets = file.read("/train/targets");
    const auto losses = file.read("/train/losses").to_vector();
    for (std::size_t i = 0; i < losses.size(); ++i) {
      const auto k = static_cast<std::int64_t>(i);
      const auto take = [&](const Tensor& all) {
        return Variable(all.rows(k, k + 1).reshape(all.shape().without(0)).to(device));
      };
      student.zero_grad();
      const Variable patches = patchify(take(inputs), student.config().patch_size);
      const Variable loss = distillation_loss(student.embed(patches), take(targets), 20);
      loss.backward();
      optimizer.step(1e-3);
      EXPECT_NEAR(loss.item() / losses[i], 1, 1e-3) << "step " << i;
      if (i == 0) {
        EXPECT_NEAR(loss.item() / losses[i], 1, 1e-5);
      }
    }
    for (const auto& p : student.parameters()) {
      const Tensor expected = file.read("/train/state_after/" + p.name);
      EXPECT_LE(test::relative_error(without_noise(p.name, p.value->value(), student.config()),
                                     without_noise(p.name, expected, student.config())),
                1e-3)
          << p.name;
    }
  }
}

std::string test_name(const testing::TestParamInfo<FileAndDevice>& info) {
  const std::string file = std::get<0>(info.param);
  return std::string(file.find("un") == std::string::npos ? "Masked" : "Unmasked") +
         (std::get<1>(info.param) == Device::Kind::cpu ? "OnCpu" : "OnCuda");
}

INSTANTIATE_TEST_SUITE_P(Files, AdamWGolden,
                         testing::Combine(testing::Values("student_masked.h5", "student_unmasked.h5"),
                                          testing::Values(Device::Kind::cpu, Device::Kind::cuda)),
                         test_name);

struct Two : nn::Module {
  nn::Parameter& used = parameter("used", Tensor::full({3}, 1));
  nn::Parameter& unused = parameter("unused", Tensor::full({2}, 1));
};

TEST(AdamW, LeavesParametersWithoutGradientAlone) {
  Two m;
  AdamW optimizer(m, {.weight_decay = 0.5});
  sum(square(m.used)).backward();
  optimizer.step(0.1);
  // One step from zero moments moves by lr against the sign: 1 * (1 - 0.1 * 0.5) - 0.1
  EXPECT_NEAR(m.used.value().to_vector()[0], 0.85, 1e-6);
  EXPECT_EQ(m.unused.value().to_vector()[0], 1);
  EXPECT_EQ(optimizer.state().size(), 3U);
}

TEST(AdamW, StateContinuesBitForBit) {
  Two a, b;
  AdamW first(a, {}), second(b, {});
  const auto step = [](Two& m, AdamW& o) {
    m.zero_grad();
    sum(square(affine(m.used, 1, -0.3))).backward();
    o.step(0.01);
  };
  for (int i = 0; i < 3; ++i) step(a, first);
  b.load_state(a.state(), "a");
  second.load_state(first.state(), "a");
  for (int i = 0; i < 3; ++i) step(a, first), step(b, second);
  EXPECT_EQ(a.used.value().to_vector(), b.used.value().to_vector());
  auto wrong = first.state();
  wrong[0].second = Tensor::zeros({4});
  EXPECT_EQ(test::message_of([&] { second.load_state(wrong, "o.safetensors"); }),
            "o.safetensors: optimiser state of 'used' does not fit its weights [3]; it belongs to another "
            "architecture");
}

TEST(AdamW, SquaresCoverAllParametersAndShowNonFiniteValues) {
  Two m;
  AdamW optimizer(m, {});
  const auto gradient_norm = [&] {
    optimizer.begin();
    optimizer.update();
    return std::sqrt(optimizer.result().to_vector()[update_squares]);
  };
  sum(add(sum(affine(m.used, 3)), sum(affine(m.unused, 4)))).backward();
  EXPECT_NEAR(gradient_norm(), std::sqrt(3 * 9 + 2 * 16), 1e-12);
  sum(affine(m.used, std::numeric_limits<double>::infinity())).backward();
  const auto before = m.used.value().to_vector();
  EXPECT_FALSE(std::isfinite(gradient_norm()));
  EXPECT_EQ(m.used.value().to_vector(), before);
}

// Where it turns out later that fewer images count than losses and gradients were divided by.
TEST(AdamW, ImagesThatDidNotCount) {
  for (const auto& [images, clip_norm, scale] :
       {std::tuple{2.0, 0.0, 2.0}, {4.0, 0.0, 1.0}, {0.0, 0.0, 0.0}, {2.0, 1.0, 2 / (10 + 1e-6)}}) {
    Two m;
    AdamW optimizer(m, {});
    sum(add(sum(affine(m.used, 0)), sum(affine(m.unused, 0)))).backward();
    Tensor gradient = m.used.grad();
    gradient.copy_from(Tensor::from(std::vector<double>{3, 4, 0}, {3}).cast(gradient.dtype()));
    optimizer.lr().fill(0.1);
    optimizer.begin();
    optimizer.add_loss(Tensor::full({1}, 0.5), 1);
    optimizer.add_term(0, Tensor::full({1}, 0.25), 1);
    optimizer.control().data<double>()[update_planned] = 4;
    optimizer.control().data<double>()[update_images] = images;
    const auto before = m.used.value().to_vector();
    optimizer.update({.clip_norm = clip_norm});
    const auto control = optimizer.result().to_vector();
    const double factor = images > 0 ? 4 / images : 1;
    EXPECT_EQ(control[update_loss], 0.5 * factor);
    EXPECT_EQ(control[update_terms], 0.25 * factor);
    EXPECT_EQ(control[update_squares], 25 * factor * factor);
    EXPECT_DOUBLE_EQ(control[update_scale], scale);
    EXPECT_EQ(m.used.value().to_vector() == before, images == 0);
  }
}

}  // namespace
}  // namespace vitral::train
