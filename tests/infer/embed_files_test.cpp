// Files to embeddings: interrupted and resumed, with files that do not decode.
#include "infer/embed_files.h"

#include <fstream>

#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "tests/golden.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;
using test::TempDir;

const std::string weights = "tests/golden/run_init.safetensors";  // 16x16 pixels, 4x4 patches, width 16

class EmbedFiles : public testing::Test {
 protected:
  EmbedFiles() : encoder_(models::Encoder::load(weights)) {
    std::filesystem::create_directory(folder_ / "in");
    for (int i = 0; i < 9; ++i) {
      Tensor image({20 + i, 24, 3}, DType::uint8);
      for (std::int64_t p = 0; p < image.numel(); ++p)
        image.data<std::uint8_t>()[p] = static_cast<std::uint8_t>((p * (i + 3)) % 253);
      data::write_png(folder_ / fmt::format("in/{}.png", i), image);
    }
    std::ofstream(folder_ / "in/3.png") << "no image";
    std::ofstream(folder_ / "in/8.png") << "nor this";
    files_ = data::list_images({folder_ / "in"});
  }

  EmbedOptions options(const std::string& name) const {
    EmbedOptions o;
    o.output = folder_ / name;
    o.weights = weights;
    o.patches = true;
    o.batch_size = 2;
    return o;
  }

  TempDir folder_;
  models::Encoder encoder_;
  std::vector<data::ImageFile> files_;
};

TEST_F(EmbedFiles, GoesOnWhereItWasInterrupted) {
  const EmbedSummary whole = embed_files(encoder_, files_, options("whole.h5"));
  EXPECT_EQ(whole.found, 9);
  EXPECT_EQ(whole.embedded, 7);
  EXPECT_EQ(whole.resumed, 0);
  ASSERT_EQ(whole.skipped.size(), 2U);
  EXPECT_EQ(whole.skipped[0].name, "3.png");
  EXPECT_EQ(whole.skipped[1].reason, (folder_ / "in/8.png") + ": not an image of a known format");
  const data::H5File expected = data::H5File::open(folder_ / "whole.h5");
  EXPECT_EQ(expected.read_strings("/skipped/names"), (std::vector<std::string>{"3.png", "8.png"}));
  EXPECT_EQ(expected.read_strings("/skipped/reasons")[0],
            (folder_ / "in/3.png") + ": not an image of a known format");

  int batches = 0;
  EmbedOptions stopping = options("parts.h5");
  stopping.stop = [&] { return ++batches == 2; };
  const EmbedSummary first = embed_files(encoder_, files_, stopping);
  EXPECT_NE(first.signal, 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "parts.h5"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "parts.h5.embed"));
  // A row that was torn by a power cut is made again.
  std::filesystem::resize_file(folder_ / "parts.h5.embed",
                               std::filesystem::file_size(folder_ / "parts.h5.embed") - 5);
  const EmbedSummary second = embed_files(encoder_, files_, options("parts.h5"));
  EXPECT_EQ(second.resumed, 3);
  EXPECT_EQ(second.embedded, 7);
  EXPECT_EQ(second.skipped.size(), 2U);
  EXPECT_EQ(second.signal, 0);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "parts.h5.embed"));
  const data::H5File found = data::H5File::open(folder_ / "parts.h5");
  for (const char* name : {"/embeddings", "/probs", "/patch_embeddings"})
    EXPECT_LT(test::relative_error(found.read(name), expected.read(name)), 1e-6) << name;
  EXPECT_EQ(found.read_strings("/names"), expected.read_strings("/names"));
  EXPECT_EQ(found.read_strings("/skipped/reasons"), expected.read_strings("/skipped/reasons"));
}

TEST_F(EmbedFiles, LargeJpegsAreDecodedSmallerWhereAsked) {
  Tensor image({150, 170, 3}, DType::uint8);
  for (std::int64_t p = 0; p < image.numel(); ++p)
    image.data<std::uint8_t>()[p] = static_cast<std::uint8_t>((p / 97 * 41) % 253);
  data::write_image(folder_ / "a.jpg", image);
  data::ImageFile file;
  file.path = folder_ / "a.jpg";
  file.name = "a.jpg";
  EmbedOptions o = options("e.h5");
  for (const bool scaled : {false, true}) {
    o.scaled_decode = scaled;
    EXPECT_EQ(embed_files(encoder_, {file}, o).embedded, 1);
    const data::H5File written = data::H5File::open(o.output);
    EXPECT_EQ(written.attribute("transform"), scaled ? "scaled_decode,resize" : "resize");
    const Tensor pixels =
        data::validation_transform(data::read_image(folder_ / "a.jpg", {scaled ? 32 : 0}), 16);
    EXPECT_EQ(written.read("/embeddings").to_vector(),
              encoder_.embed(pixels.reshape({1, 16, 16, 3})).embeddings.to_vector());
  }
}

TEST_F(EmbedFiles, SkippedFilesOfTheInterruptedRunKeepTheirReason) {
  int batches = 0;
  EmbedOptions stopping = options("parts.h5");
  stopping.stop = [&] { return ++batches == 3; };  // 3.png is behind
  EXPECT_NE(embed_files(encoder_, files_, stopping).signal, 0);
  const EmbedSummary second = embed_files(encoder_, files_, options("parts.h5"));
  EXPECT_EQ(second.resumed, 6);
  ASSERT_EQ(second.skipped.size(), 2U);
  EXPECT_EQ(second.skipped[0].reason, (folder_ / "in/3.png") + ": not an image of a known format");
}

TEST_F(EmbedFiles, AnotherRunsRowsAreNotTaken) {
  EmbedOptions stopping = options("e.h5");
  stopping.stop = [] { return true; };
  EXPECT_NE(embed_files(encoder_, files_, stopping).signal, 0);
  const std::string kept = folder_ / "e.h5.embed";
  const auto refused = [&](const models::Encoder& encoder, const EmbedOptions& o) {
    const std::string message = message_of([&] { embed_files(encoder, files_, o); });
    EXPECT_EQ(message.find(kept + ": an unfinished run of another kind ("), 0U) << message;
    EXPECT_NE(message.find("--restart"), std::string::npos) << message;
  };
  EmbedOptions plain = options("e.h5");
  plain.patches = false;
  refused(encoder_, plain);
  refused(models::Encoder::load(weights, cpu, {{"attention", "full"}}), options("e.h5"));
  refused(models::Encoder::load(weights, cpu, {}, 2), options("e.h5"));
  // A picture that has changed since, too.
  data::write_png(folder_ / "in/0.png", Tensor::full({9, 9, 3}, 1, DType::uint8));
  refused(encoder_, options("e.h5"));
  EmbedOptions again = options("e.h5");
  again.restart = true;
  const EmbedSummary s = embed_files(encoder_, files_, again);
  EXPECT_EQ(s.resumed, 0);
  EXPECT_EQ(s.embedded, 7);
  EXPECT_FALSE(std::filesystem::exists(kept));
}

TEST_F(EmbedFiles, NothingIsWrittenWhereNothingDecodes) {
  const std::vector<data::ImageFile> bad{files_[3], {"none", "none", "cannot be searched"}};
  const EmbedSummary s = embed_files(encoder_, bad, options("e.h5"));
  EXPECT_EQ(s.embedded, 0);
  ASSERT_EQ(s.skipped.size(), 2U);
  EXPECT_EQ(s.skipped[1].reason, "cannot be searched");
  EXPECT_FALSE(std::filesystem::exists(folder_ / "e.h5"));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "e.h5.embed"));
}

}  // namespace
}  // namespace vitral::infer
