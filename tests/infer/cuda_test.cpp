// Embedding, teaching and evaluating on a GPU: as on the CPU, and no batch waits for the one before.
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "infer/embed_files.h"
#include "infer/measure/evaluate.h"
#include "infer/teach.h"
#include "tests/cli/small_run.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"
#include "tests/waits.h"

namespace vitral::infer {
namespace {

using test::relative_error;

const std::string weights = "tests/golden/run_init.safetensors";  // 16x16 pixels, 4x4 patches, width 16

class InferenceOnCuda : public testing::Test {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(test::gpu); }

  // That the host waited for as many batches, of so many uploads each, and for each only when the next had
  // begun; for nothing else.
  static void expect_no_gap(int batches, int uploads) {
    EXPECT_EQ(test::Waits::copies(), 0);
    EXPECT_EQ(test::Waits::synchronizations(), 0);
    const auto& at = test::Waits::uploads_at_waits();
    ASSERT_EQ(static_cast<int>(at.size()), batches * uploads);
    for (int i = 0; i < batches * uploads; ++i)
      EXPECT_EQ(at[static_cast<std::size_t>(i)], uploads * std::min(i / uploads + 2, batches)) << i;
  }

  test::TempDir folder_;
};

TEST_F(InferenceOnCuda, EmbedsFilesAsTheCpuDoes) {
  std::filesystem::create_directory(folder_ / "in");
  for (int i = 0; i < 11; ++i)
    data::write_png(folder_ / fmt::format("in/{:02}.png", i), test::noise_image(20 + i, 24, i));
  std::ofstream(folder_ / "in/03.png") << "no image";
  const auto files = data::list_images({folder_ / "in"});
  const auto embed = [&](Device device, DType dtype, const std::string& name) {
    const models::Encoder encoder = models::Encoder::load(weights, device, {}, 1, dtype);
    encoder.embed(Tensor::zeros({2, 16, 16, 3}, DType::uint8));  // what is made once
    EmbedOptions o;
    o.output = folder_ / name;
    o.patches = true;
    o.batch_size = 2;
    std::optional<test::Waits> waits;
    if (!device.is_cpu()) waits.emplace();
    const EmbedSummary s = embed_files(encoder, files, o);
    EXPECT_EQ(s.embedded, 10);
    EXPECT_EQ(s.skipped.size(), 1U);
    return data::H5File::open(o.output);
  };
  const data::H5File expected = embed(cpu, DType::float32, "cpu.h5");
  for (const auto& [dtype, tolerance] : {std::pair{DType::float32, 1e-5}, {DType::bfloat16, 0.04}}) {
    const data::H5File got = embed(test::gpu, dtype, std::string("cuda-") + name(dtype) + ".h5");
    for (const char* name : {"/embeddings", "/probs", "/patch_embeddings"})
      EXPECT_LE(relative_error(got.read(name), expected.read(name)), tolerance) << name;
    EXPECT_EQ(got.read_strings("/names"), expected.read_strings("/names"));
  }
}

TEST_F(InferenceOnCuda, EmbedsFilesWithoutAGap) {
  std::filesystem::create_directory(folder_ / "in");
  for (int i = 0; i < 10; ++i)
    data::write_png(folder_ / fmt::format("in/{:02}.png", i), test::noise_image(20 + i, 24, i));
  const models::Encoder encoder = models::Encoder::load(weights, test::gpu);
  const auto files = data::list_images({folder_ / "in"});
  EmbedOptions o;
  o.output = folder_ / "out.h5";
  o.batch_size = 2;
  encoder.digest();  // asks the device for the weights
  struct Counted {
    int copies, synchronizations;
  };
  // embed_files() asks for the digest itself: what it copies does not grow with the batches.
  const auto count = [&](std::size_t images) {
    const test::Waits waits;
    embed_files(encoder, {files.begin(), files.begin() + static_cast<std::ptrdiff_t>(images)}, o);
    const auto& at = test::Waits::uploads_at_waits();
    const int batches = static_cast<int>(images) / 2;
    EXPECT_EQ(static_cast<int>(at.size()), batches);
    for (int i = 0; i < batches; ++i)
      EXPECT_EQ(at[static_cast<std::size_t>(i)], std::min(i + 2, batches)) << i;
    return Counted{test::Waits::copies(), test::Waits::synchronizations()};
  };
  const Counted few = count(4), many = count(10);
  EXPECT_EQ(few.copies, many.copies);
  EXPECT_EQ(few.synchronizations, many.synchronizations);
}

TEST_F(InferenceOnCuda, TeachesAsTheCpuDoesWithoutAGap) {
  constexpr int images = 10;
  for (const char* name : {"cpu.h5", "float32.h5", "bfloat16.h5"})
    test::write_dataset(folder_ / name, images, [](Tensor& embeddings) { embeddings = {}; });
  test::write_image_tower(folder_.str(), test::tiny_teacher(24, 8, 16));
  const auto teach_file = [&](Device device, DType dtype, const std::string& name) {
    const auto teacher =
        models::ImageEncoder::load(folder_ / "clip.safetensors", device, {.heads = 1}, dtype);
    const Tensor one = Tensor::zeros({1, 24, 24, 3}, DType::uint8);
    teacher.embed(one);
    teacher.dense(one, models::DenseTokens::naclip, 4);  // what is made once
    TeachOptions o;
    o.file = folder_ / name;
    o.teacher = folder_ / "clip.safetensors";
    o.batch_size = 10;  // two images and their cells
    o.regions = 2;
    o.patches = 4;
    std::optional<test::Waits> waits;
    if (!device.is_cpu()) waits.emplace();
    teach(teacher, o);
    if (waits) expect_no_gap(images / 2, 3);
    return data::H5File::open(folder_ / name);
  };
  const data::H5File expected = teach_file(cpu, DType::float32, "cpu.h5");
  for (const auto& [dtype, tolerance] : {std::pair{DType::float32, 1e-5}, {DType::bfloat16, 0.05}}) {
    const data::H5File got = teach_file(test::gpu, dtype, std::string(name(dtype)) + ".h5");
    for (const char* name : {"/embeddings", "/regions/embeddings", "/patches/embeddings"})
      EXPECT_LE(relative_error(got.read(name), expected.read(name)), tolerance) << name;
    EXPECT_EQ(got.attribute("teacher_tower")->ends_with(", bf16"), dtype == DType::bfloat16);
  }
}

TEST_F(InferenceOnCuda, EvaluatesAsTheCpuDoesWithoutAGap) {
  {
    data::H5File file = data::H5File::create(folder_ / "val.h5");
    file.write("/images", test::noise({10, 16, 16, 3}, 3, DType::uint8), 1);
    file.write("/embeddings", test::noise({10, 16}, 4, DType::float32));
    file.close();
  }
  const data::Dataset dataset = data::Dataset::open(folder_ / "val.h5");
  EvaluateOptions o;
  o.batch_size = 2;
  const Evaluation expected = evaluate(models::Encoder::load(weights), dataset, o);
  const models::Encoder encoder = models::Encoder::load(weights, test::gpu);
  encoder.embed(Tensor::zeros({2, 16, 16, 3}, DType::uint8));
  const test::Waits waits;
  const Evaluation got = evaluate(encoder, dataset, o);
  expect_no_gap(5, 1);
  EXPECT_NEAR(got.loss / expected.loss, 1, 1e-5);
  EXPECT_NEAR(got.cosine, expected.cosine, 1e-5);
}

}  // namespace
}  // namespace vitral::infer
