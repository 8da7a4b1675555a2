// --precision of the commands that send images through towers.
#include "data/images/image.h"
#include "models/pretrained/image_encoder.h"
#include "tensor/ops/gemm.h"
#include "tests/cli/teach_run.h"
#include "tests/golden.h"

namespace vitral::test {
namespace {

const std::string needs =
    "bf16 needs a GPU, or a processor with AVX512_BF16 or AMX in a build with oneDNN; choose fp32";

class Precision : public TeachRun {
 protected:
  Precision() : TeachRun(tiny_teacher(small_size, 16, small_width)) {}
};

TEST_F(Precision, OfTeachers) {
  write_images(8);
  expect_failure(teach({"--precision", "tf32"}), 2, "--precision: tf32 needs a GPU, on the CPU choose fp32");
  const Result wrong = teach({"--precision", "fp16"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_NE(wrong.err.find("--precision: fp16 not in {fp32,tf32,bf16}"), std::string::npos) << wrong.err;
  const Program::Arguments loop{"teacher.weights=" + clip(), "data.augment=none", "train.precision=bf16"};
  if (!cpu_has_bfloat16()) {
    expect_failure(teach({"--precision", "bf16"}), 2, "--precision: " + needs);
    return;
  }
  expect_done(teach());
  const auto embeddings = [&] { return data::H5File::open(file()).read("/embeddings"); };
  const Tensor exact = embeddings();
  expect_done(teach({"--force", "--precision", "bf16"}));
  const double error = relative_error(embeddings(), exact);
  EXPECT_GT(error, 0);
  EXPECT_LE(error, 0.05);
  EXPECT_TRUE(data::H5File::open(file()).attribute("teacher_tower")->ends_with(", bf16"));
  // A teacher in the loop is in the precision of training: it says what was taught in that one.
  expect_done(train({"data.augment=none", "train.precision=bf16", "train.output=" + folder_ / "stored"}));
  Program::Arguments in_loop = loop;
  in_loop.push_back("train.output=" + folder_ / "loop");
  expect_done(train(in_loop));
  EXPECT_NEAR(metric(folder_ / "loop", "train", "loss")[0] / metric(folder_ / "stored", "train", "loss")[0],
              1, 2e-3);
}

TEST_F(Precision, OfStudents) {
  const std::string weights = "tests/golden/run_init.safetensors", out = *this / "out.h5";
  std::filesystem::create_directory(*this / "in");
  for (int i = 0; i < 3; ++i)
    data::write_png(*this / fmt::format("in/{}.png", i), noise_image(20 + i, 24, i));
  const auto embed = [&](const std::string& precision) {
    return run({"embed", weights, *this / "in", "-o", out, "--device", "cpu", "--precision", precision});
  };
  expect_failure(embed("tf32"), 2, "--precision: tf32 needs a GPU, on the CPU choose fp32");
  for (const char* command : {"eval", "activate", "search", "report"})
    EXPECT_NE(run({command, "--help"}).out.find("--precision"), std::string::npos) << command;
  if (!cpu_has_bfloat16()) {
    expect_failure(embed("bf16"), 2, "--precision: " + needs);
    return;
  }
  const auto embeddings = [&] { return data::H5File::open(out).read("/embeddings"); };
  expect_done(embed("fp32"));
  const Tensor exact = embeddings();
  expect_done(embed("bf16"));
  const double error = relative_error(embeddings(), exact);
  EXPECT_GT(error, 0);
  EXPECT_LE(error, 0.05);
}

}  // namespace
}  // namespace vitral::test
