// A student's weights as int8: what becomes of them, what that costs, and what calibration does about it.
#include "models/student/int8.h"

#include <limits>

#include <gtest/gtest.h>

#include "base/vectors.h"
#include "models/student/encoder.h"
#include "tests/cli/small_run.h"

namespace vitral::models {
namespace {

using test::message_of;

std::map<std::string, StudentConfig> students() {
  const StudentConfig plain = test::small_student(2);
  std::map<std::string, StudentConfig> out{{"plain", plain}};
  StudentConfig& full = out["full, without same_norm"] = plain;
  full.attention = "full", full.same_norm = false;
  StudentConfig& switched = out["swiglu, rms_norm, rope, registers, query"] = plain;
  switched.mlp = "swiglu", switched.norm = "rms_norm", switched.position = "rope", switched.registers = 3;
  switched.head = "query";
  StudentConfig& mean = out["mean, gelu, a last block of attention"] = plain;
  mean.head = "mean", mean.mlp = "gelu", mean.last_block = "attention";
  return out;
}

// Of noise, but two channels of each norm are much larger than the others, as in trained transformers.
data::NamedTensors weights_of(const StudentConfig& config, float outliers = 30) {
  const Student student(config, 5);
  auto state = student.state();
  for (auto& [name, tensor] : state) {
    if (name.find(".ln_") == std::string::npos || name.ends_with("bias")) continue;
    tensor.data<float>()[1] = outliers;
    tensor.data<float>()[tensor.numel() - 3] = -outliers;
  }
  return state;
}

// Blurred noise, as neighbours in pictures are alike; in several batches.
ImageBatches pictures(std::int64_t count = 12, int size = test::small_size) {
  return [=](const auto& take) {
    for (std::int64_t i = 0; i < count; i += 5) {
      const std::int64_t batch = std::min<std::int64_t>(5, count - i);
      const Tensor coarse = test::noise({batch, 8, 8, 3}, static_cast<std::uint64_t>(i), DType::uint8);
      Tensor images({batch, size, size, 3}, DType::uint8);
      for (std::int64_t k = 0; k < images.numel(); ++k) {
        const std::int64_t channel = k % 3, x = k / 3 % size, y = k / 3 / size % size,
                           b = k / 3 / size / size;
        images.data<std::uint8_t>()[k] =
            coarse.data<std::uint8_t>()[((b * 8 + y * 8 / size) * 8 + x * 8 / size) * 3 + channel];
      }
      take(images);
    }
  };
}

// What int8 costs, computed here once more.
Int8Drift drift_between(const Student& a, const Student& b, const ImageBatches& images) {
  const NoGrad no_grad;
  Int8Drift out;
  std::int64_t patches = 0;
  out.least_embedding = out.least_patch = 1;
  images([&](const Tensor& batch) {
    const Variable pixels = pixel_patches(a.config(), batch);
    const StudentOutput p = a.of_patches(pixels), q = b.of_patches(pixels);
    const std::int64_t n = p.patches.dim(1), w = p.patches.dim(2);
    const auto at = [&](const Variable& v, std::int64_t row) { return v.value().data<float>() + row * w; };
    for (std::int64_t i = 0; i < batch.dim(0); ++i, ++out.images) {
      const double c = cosine(at(p.embedding, i), at(q.embedding, i), w);
      out.embedding += c;
      out.least_embedding = std::min(out.least_embedding, c);
      std::int64_t best[2] = {0, 0};
      for (std::int64_t k = i * n; k < (i + 1) * n; ++k, ++patches) {
        const double d = cosine(at(p.patches, k), at(q.patches, k), w);
        out.patch += d;
        out.least_patch = std::min(out.least_patch, d);
        const auto compare = [&](const StudentOutput& y, std::int64_t& best_so_far) {
          const auto score = [&](std::int64_t patch) {
            return a.config().head == "mean" ? cosine(at(y.patches, patch), at(y.embedding, i), w)
                                             : double{y.probs.value().data<float>()[patch]};
          };
          if (score(k) > score(i * n + best_so_far)) best_so_far = k - i * n;
        };
        compare(p, best[0]);
        compare(q, best[1]);
      }
      out.best_patch += best[0] == best[1] ? 1 : 0;
    }
  });
  out.embedding /= static_cast<double>(out.images);
  out.patch /= static_cast<double>(patches);
  out.best_patch /= static_cast<double>(out.images);
  return out;
}

TEST(Int8Student, KeepsItsOutputsWhateverItsSwitches) {
  for (const auto& [what, config] : students()) {
    SCOPED_TRACE(what);
    const data::NamedTensors floats = weights_of(config, 1.5F);
    const Int8Student plain = quantize_student(config, floats, "w");
    EXPECT_EQ(plain.smoothing, 0);
    EXPECT_EQ(plain.drift.images, 0);
    const Int8Student fitted = quantize_student(config, floats, "w", pictures());
    const Int8Drift& d = fitted.drift;
    EXPECT_EQ(d.images, 12);
    EXPECT_GT(d.embedding, 0.999);
    EXPECT_GT(d.least_embedding, 0.998);
    EXPECT_GT(d.patch, 0.999);
    EXPECT_GT(d.least_patch, 0.99);
    EXPECT_GE(d.best_patch, 0.9);
    const auto student = student_of(config, floats, "w");
    const Int8Drift again = drift_between(*student, *fitted.student, pictures());
    EXPECT_NEAR(d.embedding, again.embedding, 1e-6);
    EXPECT_NEAR(d.least_embedding, again.least_embedding, 1e-6);
    EXPECT_NEAR(d.patch, again.patch, 1e-6);
    EXPECT_NEAR(d.least_patch, again.least_patch, 1e-6);
    EXPECT_EQ(d.best_patch, again.best_patch);
    // Calibrated or not: names and shapes are those of the student, and scales beside what is int8.
    for (const Int8Student* made : {&plain, &fitted}) {
      std::map<std::string, Tensor> got;
      for (const auto& [name, tensor] : made->student->state()) got[name] = tensor;
      std::size_t scales = 0;
      for (const auto& [name, tensor] : floats) {
        EXPECT_EQ(got.at(name).shape(), tensor.shape()) << name;
        const bool int8 = got.at(name).dtype() == DType::int8;
        EXPECT_EQ(int8, tensor.rank() > 1 && name != "positional_embedding" && name != "registers") << name;
        if (int8) {
          EXPECT_EQ(got.at(name + ".scale").shape(), Shape{tensor.dim(0)});
        }
        scales += int8 ? 1 : 0;
      }
      EXPECT_EQ(got.size(), floats.size() + scales);
    }
  }
}

TEST(Int8Student, SmoothingTakesAwayWhatLargeChannelsCost) {
  for (const auto& [what, config] : students()) {
    SCOPED_TRACE(what);
    const data::NamedTensors floats = weights_of(config);
    const auto student = student_of(config, floats, "w");
    const Int8Student plain = quantize_student(config, floats, "w");
    const Int8Student fitted = quantize_student(config, floats, "w", pictures());
    const Int8Drift before = drift_between(*student, *plain.student, pictures()),
                    other = drift_between(*student, *fitted.student, pictures(7));
    EXPECT_GT(fitted.smoothing, 0);
    EXPECT_LT(1 - fitted.drift.patch, 0.5 * (1 - before.patch));
    EXPECT_LT(1 - other.patch, 0.5 * (1 - before.patch));
  }
}

// Before rounding, smoothing changes nothing: the norms' weights and those behind them go together.
TEST(Int8Student, SmoothingIsOneOfTheChannelsOnly) {
  const StudentConfig config = test::small_student(2);
  const data::NamedTensors floats = weights_of(config);
  const Int8Student fitted = quantize_student(config, floats, "w", pictures());
  ASSERT_GT(fitted.smoothing, 0);
  std::map<std::string, Tensor> got, before(floats.begin(), floats.end());
  fitted.student->to(DType::float32);
  for (const auto& [name, tensor] : fitted.student->state()) got[name] = tensor;
  for (int layer = 0; layer < 2; ++layer)
    for (const auto& [norm, reader] :
         {std::pair{"ln_1", "attn.in_proj_weight"}, {"ln_2", "mlp.c_fc.weight"}}) {
      const std::string block = fmt::format("transformer.resblocks.{}.", layer);
      const Tensor &n = got.at(block + norm + ".weight"), &m = before.at(block + norm + ".weight");
      const Tensor &w = got.at(block + reader), &v = before.at(block + reader);
      // The rows of q alone: those of v are divided by factors of their own.
      const std::int64_t width = config.internal_width();
      for (std::int64_t j = 0; j < width; ++j) {
        const double s = double{m.data<float>()[j]} / n.data<float>()[j];
        double error = 0, size = 0;
        for (std::int64_t o = 0; o < width; ++o) {
          const double wanted = s * v.data<float>()[o * width + j];
          error += std::pow(w.data<float>()[o * width + j] - wanted, 2);
          size += wanted * wanted;
        }
        EXPECT_LT(error, 0.01 * size) << block << reader << " column " << j;
      }
    }
}

TEST(Int8Student, Errors) {
  const StudentConfig config = test::small_student();
  data::NamedTensors floats = weights_of(config);
  for (auto& [name, tensor] : floats)
    if (name == "transformer.resblocks.0.mlp.c_fc.weight")
      tensor.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(
      message_of([&] { quantize_student(config, floats, "w.safetensors"); }),
      "w.safetensors: weights 'transformer.resblocks.0.mlp.c_fc.weight' hold values that are not finite; "
      "take an earlier checkpoint");
}

TEST(Int8Student, TheSameImagesGiveTheSameBits) {
  const StudentConfig config = test::small_student(2);
  const data::NamedTensors floats = weights_of(config);
  const auto state = [&] { return quantize_student(config, floats, "w", pictures()).student->state(); };
  const auto a = state(), b = state();
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_EQ(a[i].second.to_vector(), b[i].second.to_vector()) << a[i].first;
}

}  // namespace
}  // namespace vitral::models
