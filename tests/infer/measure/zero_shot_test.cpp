// Zero-shot classification and retrieval by text, on embeddings and pictures made by hand.
#include "models/measure/zero_shot.h"

#include <fstream>

#include <gtest/gtest.h>

#include "data/hdf5/file.h"
#include "data/image_source.h"
#include "data/images/image.h"
#include "infer/measure/evaluate_text.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;

// Classes along the axes.
Tensor axes() { return Tensor::from(std::vector<float>{2, 0, 0, 0, 1, 0, 0, 0, 3}, {3, 3}); }

TEST(ZeroShot, ByHand) {
  models::ZeroShot measure(axes());
  const Tensor e = Tensor::from(std::vector<float>{1, 0, 0, 0.5F, 1, 0, 0, 1, 0.5F}, {3, 3});
  measure.add(e, std::vector<std::int64_t>{0, 0, 1});
  measure.add(e.rows(0, 1), std::vector<std::int64_t>{1});
  const models::ZeroShotResult r = measure.result();
  EXPECT_EQ(r.images, 4);
  EXPECT_NEAR(r.top1, 2 / 4.0, 1e-12);
  EXPECT_EQ(r.top5, 1);
  EXPECT_EQ(r.classes[0].images, 2);
  EXPECT_NEAR(r.classes[0].accuracy(), 0.5, 1e-12);
  EXPECT_NEAR(r.classes[1].accuracy(), 0.5, 1e-12);
  EXPECT_EQ(r.classes[2].images, 0);
  EXPECT_NEAR(r.mean_per_class(), 0.5, 1e-12);  // of the two that have images
  EXPECT_NEAR(r.chance(1), 1 / 3.0, 1e-12);
  EXPECT_EQ(r.chance(5), 1);
}

TEST(ZeroShot, ConstantEmbeddingsScoreChance) {
  Tensor classes({20, 20});
  classes.fill(0);
  for (std::int64_t i = 0; i < 20; ++i) classes.data<float>()[i * 21] = 1;
  models::ZeroShot measure(classes);
  measure.add(Tensor::full({7, 20}, 0.3), std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 19});
  EXPECT_NEAR(measure.result().top1, 1 / 20.0, 1e-9);
  EXPECT_NEAR(measure.result().top5, 5 / 20.0, 1e-9);
  EXPECT_NEAR(measure.result().chance(5), 5 / 20.0, 1e-12);
}

TEST(ZeroShot, ErrorsAreOneLine) {
  EXPECT_EQ(message_of([] { models::ZeroShot(Tensor::zeros({3})); }),
            "zero_shot: classes float32 [3] must be float32 [C, D]");
  EXPECT_EQ(message_of([] {
              models::ZeroShot(axes()).add(Tensor::zeros({1, 3}), std::vector<std::int64_t>{3});
            }),
            "zero_shot: class 3 is out of range, there are 3");
}

// Plain pictures in three colours, in folders named after them; one file is none.
class Pictures : public testing::Test {
 protected:
  Pictures() {
    for (const char* folder : {"red", "green", "sky_blue"}) std::filesystem::create_directory(dir_ / folder);
    paint("red/1.png", 200, 10, 10);
    paint("red/2.png", 200, 90, 10);
    paint("green/1.png", 0, 100, 0);
    paint("sky_blue/1.png", 90, 80, 250);
    paint("sky_blue/2.png", 10, 200, 90);  // rather green
    paint("stray.png", 1, 1, 1);
    std::ofstream(dir_ / "red/3.png") << "no picture";
  }
  void paint(const std::string& name, int r, int g, int b) {
    Tensor image({5, 4, 3}, DType::uint8);
    for (std::int64_t i = 0; i < image.numel(); ++i)
      image.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i % 3 == 0 ? r : i % 3 == 1 ? g : b);
    data::write_png(dir_ / name, image);
  }
  // Embeds a picture as the colour of its first pixel.
  ImageModel model() {
    return {"colour", 3, [](const Tensor& image) { return image; },
            [this](const Tensor& images) {
              ++batches_;
              Tensor out({images.dim(0), 3});
              for (std::int64_t i = 0; i < out.numel(); ++i)
                out.data<float>()[i] = images.data<std::uint8_t>()[i / 3 * 60 + i % 3];
              return out;
            }};
  }
  data::ImageSource source() { return data::ImageSource::open({dir_.str()}); }
  // red, green, blue for the sorted folders green, red, sky blue
  static Tensor texts() { return Tensor::from(std::vector<float>{0, 1, 0, 1, 0, 0, 0, 0, 1}, {3, 3}); }

  test::TempDir dir_;
  int batches_ = 0;
};

TEST_F(Pictures, AreClassifiedByFolder) {
  TextTask task;
  task.classes = classes_of_folders(source().names(), dir_.str());
  EXPECT_EQ(task.classes->names, (std::vector<std::string>{"green", "red", "sky blue"}));
  task.class_embeddings = texts();
  std::vector<std::string> skipped;
  EvaluateTextOptions options;
  options.batch_size = 2;
  options.skipped = [&](const std::string& line) { skipped.push_back(line); };
  const TextResult r = evaluate_text({model(), model()}, source(), task, options);
  EXPECT_EQ(r.images, 5);
  EXPECT_EQ(r.skipped, 1);
  EXPECT_EQ(r.unlabelled, 1);
  ASSERT_EQ(skipped.size(), 1U);
  EXPECT_EQ(skipped[0].find("skipped red/3.png: "), 0U) << skipped[0];
  EXPECT_EQ(batches_, 2 * 3);
  for (const TextEvaluation& m : r.models) {
    EXPECT_NEAR(m.zero_shot->top1, 4 / 5.0, 1e-12);
    EXPECT_EQ(m.zero_shot->classes[1].images, 2);
    EXPECT_NEAR(m.zero_shot->classes[2].accuracy(), 0.5, 1e-12);
    EXPECT_FALSE(m.image_to_text.has_value());
  }
}

TEST_F(Pictures, FindTheirCaptionsAndAreFound) {
  // Several captions an image, one caption for two images, an image without.
  std::ofstream(dir_ / "captions.tsv") << "red/1.png\tred\nred/2.png\tred\nsky_blue/1.png\tblue\n"
                                       << "sky_blue/2.png\tblue\nsky_blue/2.png\tgreenish\n";
  TextTask task;
  task.captions = read_captions(source().names(), dir_ / "captions.tsv");
  EXPECT_EQ(task.captions->texts, (std::vector<std::string>{"red", "blue", "greenish"}));
  task.caption_embeddings = Tensor::from(std::vector<float>{1, 0, 0, 0, 0, 1, 0, 1, 0.2F}, {3, 3});
  const TextResult r = evaluate_text({model()}, source(), task);
  const TextEvaluation& m = r.models[0];
  EXPECT_EQ(r.images, 4);
  EXPECT_EQ(m.image_to_text->queries, 4);
  EXPECT_EQ(m.image_to_text->candidates, 3);
  EXPECT_NEAR(m.image_to_text->recall[0], 1, 1e-12);  // sky_blue/2 finds one of its two
  EXPECT_NEAR(m.image_to_text->chance[0], (3 * 1 / 3.0 + 2 / 3.0) / 4, 1e-12);
  EXPECT_EQ(m.text_to_image->queries, 3);
  EXPECT_EQ(m.text_to_image->candidates, 4);
  EXPECT_NEAR(m.text_to_image->recall[0], 1, 1e-12);
  EXPECT_NEAR(m.text_to_image->chance[0], (2 / 4.0 + 2 / 4.0 + 1 / 4.0) / 3, 1e-12);

  // The first two images with a caption: only "red" is left to find.
  EvaluateTextOptions options;
  options.candidates = 2;
  const TextResult few = evaluate_text({model()}, source(), task, options);
  EXPECT_EQ(few.images, 2);
  EXPECT_EQ(few.models[0].image_to_text->candidates, 1);
  EXPECT_EQ(few.models[0].text_to_image->candidates, 2);
}

TEST_F(Pictures, TextsOfAnotherWidthAreRefused) {
  TextTask task;
  task.classes = classes_of_folders(source().names(), dir_.str());
  task.class_embeddings = Tensor::zeros({3, 4});
  EXPECT_EQ(message_of([&] { evaluate_text({model()}, source(), task); }),
            "the text embeddings are 4 wide, those of the colour 3; they must share a teacher");
  EXPECT_EQ(message_of([&] { evaluate_text({model()}, source(), {}); }), "evaluate_text: nothing to measure");
}

TEST_F(Pictures, ThatCannotBeReadAreAnError) {
  std::filesystem::create_directories(dir_ / "broken/folder");
  std::ofstream(dir_ / "broken/folder/1.png") << "no picture";
  const data::ImageSource broken = data::ImageSource::open({dir_ / "broken"});
  TextTask task;
  task.classes = classes_of_folders(broken.names(), "");
  task.class_embeddings = Tensor::full({1, 3}, 1);
  EXPECT_EQ(message_of([&] { evaluate_text({model()}, broken, task); }),
            (dir_ / "broken") + ": none of its images with a class or a caption can be read");
}

TEST_F(Pictures, ComeFromDatasetsToo) {
  data::H5File file = data::H5File::create(dir_ / "d.h5");
  file.write("/images", Tensor::full({2, 5, 4, 3}, 7, DType::uint8), 1);
  file.close();
  const data::ImageSource source = data::ImageSource::open({dir_ / "d.h5", dir_ / "d.h5"});
  EXPECT_EQ(source.size(), 4);
  EXPECT_EQ(source.name(3), "image 3");
  EXPECT_EQ(source.image(3).to_vector()[0], 7);
  EXPECT_EQ(message_of([&] {
              data::ImageSource::open({dir_ / "d.h5", dir_ / "stray.png"});
            }),
            (dir_ / "d.h5") + " is a dataset but " + (dir_ / "stray.png") +
                " is not; give datasets, or images and folders");
  std::filesystem::create_directory(dir_ / "empty");
  EXPECT_EQ(message_of([&] { data::ImageSource::open({dir_ / "empty"}); }),
            (dir_ / "empty") + ": has no images");
}

}  // namespace
}  // namespace vitral::infer
