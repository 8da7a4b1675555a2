// Weights whose file changes while a command uses them.
#include "data/images/image.h"
#include "data/weights/safetensors.h"
#include "tests/cli/small_run.h"

namespace vitral::test {
namespace {

// `vitral embed` at work on many images, its weights mapped.
class MappedWeights : public testing::Test {
 protected:
  MappedWeights() {
    const models::Student student(small_student(2));
    data::write_safetensors(weights(), student.state(), models::to_metadata(student.config()));
    std::filesystem::create_directory(folder_ / "in");
    const auto png = data::encode_png(noise({small_size, small_size, 3}, 1, DType::uint8));
    for (int i = 0; i < images; ++i)
      put_file(folder_ / fmt::format("in/{:04}.png", i), std::string(png.begin(), png.end()));
  }

  std::string weights() const { return folder_ / "student.safetensors"; }
  Program::Arguments embed() const {
    return {"embed", weights(), folder_ / "in", "-o", folder_ / "e.h5", "--batch", "1", "--device", "cpu"};
  }
  // Some rows are done, not all.
  bool at_work() const {
    std::error_code none;
    return wait_for([&] { return std::filesystem::file_size(folder_ / "e.h5.embed", none) > 2000 && !none; });
  }

  static constexpr int images = 1500;
  TempDir folder_;
};

TEST_F(MappedWeights, AShortenedFileEndsTheCommandWithOneLine) {
  Program program(embed());
  ASSERT_TRUE(at_work());
  std::filesystem::resize_file(weights(), 0);
  expect_failure(program.wait(), 1,
                 "a file in use was shortened by another program or cannot be read; copy it again and run "
                 "this again");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "e.h5"));
}

TEST_F(MappedWeights, AReplacedFileIsOfNoConcern) {
  Program program(embed());
  ASSERT_TRUE(at_work());
  data::write_safetensors(weights(), {{"w", Tensor::full({1}, 1)}});
  const Result r = program.wait();
  expect_done(r);
  const Tensor embeddings = data::H5File::open(folder_ / "e.h5").read("/embeddings");
  ASSERT_EQ(embeddings.dim(0), images);
  EXPECT_EQ(embeddings.rows(images - 1, images).to_vector(), embeddings.rows(0, 1).to_vector());
}

}  // namespace
}  // namespace vitral::test
