// Encoders whose host goes on: several batches in flight give what one after the other gives, in every
// precision, and nothing waits for a batch while there is none behind it.
#include <deque>

#include "models/pretrained/image_encoder.h"
#include "models/student/encoder.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"
#include "tests/waits.h"

namespace vitral::models {
namespace {

using test::relative_error;

const std::string student_weights = "tests/golden/run_init.safetensors";  // 16x16 pixels

Tensor pinned_noise(std::int64_t count, int side, std::uint64_t seed) {
  Tensor out = Tensor::pinned({count, side, side, 3}, DType::uint8);
  out.copy_from(test::noise(out.shape(), seed, DType::uint8));
  return out;
}

class InFlightOn : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(GetParam()); }
};

// Calls get() of what begin(images) gives two batches later, and compares with whole(images).
template <class Begin, class Whole>
void expect_same(int side, const Begin& begin, const Whole& whole) {
  std::deque<std::pair<Tensor, decltype(begin(Tensor()))>> begun;
  const auto check = [&] {
    EXPECT_EQ(begun.front().second.get().to_vector(), whole(begun.front().first).to_vector());
    begun.pop_front();
  };
  for (int i = 0; i < 6; ++i) {
    const Tensor images = pinned_noise(2 + i % 3, side, static_cast<std::uint64_t>(i));
    begun.emplace_back(images, begin(images));
    if (begun.size() == 3) check();
  }
  while (!begun.empty()) check();
}

TEST_P(InFlightOn, StudentsAndTeachersGiveWhatTheyGiveAlone) {
  const test::TempDir dir;
  test::write_tiny_clip(dir.str());
  const std::vector<std::string> teachers{dir.str(), "tests/golden/siglip", "tests/golden/siglip2",
                                          "tests/golden/dinov2", "tests/golden/dinov2_with_registers"};
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    for (const std::string& path : teachers) {
      SCOPED_TRACE(path);
      const ImageEncoder teacher = ImageEncoder::load(path, GetParam(), {}, dtype);
      const int side = teacher.config().image_size;
      expect_same(
          side, [&](const Tensor& x) { return teacher.begin_embed(x, 2); },
          [&](const Tensor& x) { return teacher.embed(x, 2); });
      if (!teacher.has_dense()) continue;
      for (const DenseTokens way : {DenseTokens::vanilla, DenseTokens::value, DenseTokens::naclip})
        expect_same(
            side, [&](const Tensor& x) { return teacher.begin_dense(x, way, 4, 2); },
            [&](const Tensor& x) { return teacher.dense(x, way, 4, 2); });
    }
    const Encoder student = Encoder::load(student_weights, GetParam(), {}, 1, dtype);
    std::deque<std::pair<Tensor, Pending<ImageEmbeddings>>> begun;
    for (int i = 0; i < 4; ++i) {
      const Tensor images = pinned_noise(3, 16, static_cast<std::uint64_t>(i));
      begun.emplace_back(images, student.begin_embed(images, 2));
    }
    for (auto& [images, pending] : begun) {
      const ImageEmbeddings a = pending.get(), b = student.embed(images, 2);
      EXPECT_EQ(a.embeddings.to_vector(), b.embeddings.to_vector());
      EXPECT_EQ(a.probs.to_vector(), b.probs.to_vector());
      EXPECT_EQ(a.patches.to_vector(), b.patches.to_vector());
    }
  }
}

// In bfloat16 every tower stays near float32, with weights converted once.
TEST_P(InFlightOn, Bfloat16StaysNear) {
  const test::TempDir dir;
  test::write_tiny_clip(dir.str());
  for (const std::string& path :
       {dir.str(), std::string("tests/golden/siglip"), std::string("tests/golden/siglip2"),
        std::string("tests/golden/dinov2"), std::string("tests/golden/dinov2_with_registers")}) {
    SCOPED_TRACE(path);
    const ImageEncoder exact = ImageEncoder::load(path, GetParam()),
                       half = ImageEncoder::load(path, GetParam(), {}, DType::bfloat16);
    EXPECT_EQ(half.description(), exact.description() + ", bf16");
    const Tensor images = pinned_noise(3, exact.config().image_size, 1);
    const double error = relative_error(half.embed(images), exact.embed(images));
    EXPECT_LE(error, 0.04);
    EXPECT_GT(error, 0) << "it has no effect";
    EXPECT_LE(relative_error(half.attention(images), exact.attention(images)), 0.05);
    if (!exact.has_dense()) continue;
    for (const DenseTokens way : {DenseTokens::vanilla, DenseTokens::value, DenseTokens::naclip})
      EXPECT_LE(relative_error(half.dense(images, way, 4), exact.dense(images, way, 4)), 0.05);
  }
  const Encoder exact = Encoder::load(student_weights, GetParam()),
                half = Encoder::load(student_weights, GetParam(), {}, 1, DType::bfloat16);
  EXPECT_EQ(half.settings(), exact.settings() + ", precision bf16");
  EXPECT_NE(half.digest(), exact.digest());
  const Tensor images = pinned_noise(3, 16, 1);
  const ImageEmbeddings a = exact.embed(images), b = half.embed(images);
  EXPECT_GT(relative_error(b.embeddings, a.embeddings), 0);
  for (const auto part : {&ImageEmbeddings::embeddings, &ImageEmbeddings::probs, &ImageEmbeddings::patches})
    EXPECT_LE(relative_error(b.*part, a.*part), 0.04);
}

INSTANTIATE_TEST_SUITE_P(Devices, InFlightOn, testing::Values(cpu, test::gpu),
                         [](const auto& info) { return info.param.is_cpu() ? "OnCpu" : "OnCuda"; });

TEST(InFlightOnCuda, WaitsForABatchOnlyWhenTheNextHasBegun) {
  VITRAL_NEEDS_DEVICE(test::gpu);
  const test::TempDir dir;
  test::write_tiny_clip(dir.str());
  for (const DType dtype : {DType::float32, DType::bfloat16}) {
    const Encoder student = Encoder::load(student_weights, test::gpu, {}, 1, dtype);
    const ImageEncoder teacher = ImageEncoder::load(dir.str(), test::gpu, {}, dtype);
    constexpr int batches = 6;
    const auto count = [&](int side, const auto& begin) {
      std::vector<Tensor> images;
      for (int i = 0; i < batches; ++i) images.push_back(pinned_noise(2, side, 1));
      // What is made once is made now.
      {
        auto a = begin(images[0]), b = begin(images[1]);
        a.get();
        b.get();
      }
      const test::Waits waits;
      std::deque<decltype(begin(images[0]))> begun;
      for (const Tensor& x : images) {
        begun.push_back(begin(x));
        if (begun.size() < 2) continue;
        begun.front().get();
        begun.pop_front();
      }
      begun.front().get();
      EXPECT_EQ(test::Waits::copies(), 0);
      EXPECT_EQ(test::Waits::synchronizations(), 0);
      std::vector<int> expected;
      for (int i = 1; i <= batches; ++i) expected.push_back(std::min(i + 1, batches));
      EXPECT_EQ(test::Waits::uploads_at_waits(), expected);
    };
    count(16, [&](const Tensor& x) { return student.begin_embed(x); });
    count(24, [&](const Tensor& x) { return teacher.begin_embed(x); });
    count(24, [&](const Tensor& x) { return teacher.begin_dense(x, DenseTokens::naclip, 4); });
  }
}

}  // namespace
}  // namespace vitral::models
