// vitral eval on labelled objects and masks: the table, its rows, and what it asks of its input.
#include "data/dataset_writer.h"
#include "data/images/image.h"
#include "infer/measure/patch_scores.h"
#include "infer/measure/segmentation.h"
#include "models/student/encoder.h"
#include "tests/cli/small_run.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::json_of;
using test::run;
using Arguments = std::vector<std::string>;

const std::string student = "tests/golden/run_init.safetensors";  // 16x16 pixels, width 16

// Four pictures of several sizes with masks of four quarters, cat and dog, and boxes around them.
class EvalLocalisation : public testing::Test {
 protected:
  EvalLocalisation() {
    test::write_tiny_clip(clip());
    data::DatasetWriter writer(file(), std::nullopt);
    data::Concepts c;
    c.names = {"cat", "dog"};
    std::vector<float> boxes;
    for (std::int64_t i = 0; i < 4; ++i) {
      const std::int64_t height = 30 + 4 * i, width = 50 - 6 * i;
      writer.add_encoded(data::encode_png(test::noise_image(height, width, i)), "a.png");
      data::LabelMap mask{height, width, {}};
      for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x)
          mask.labels.push_back(y < 2 ? data::LabelMap::ignore
                                      : static_cast<std::uint16_t>(2 * x < width ? 2 * y < height : 2));
      writer.add_labels(mask);
      for (std::int64_t k = 0; k < 2; ++k) {
        c.image.push_back(i);
        c.concept_index.push_back(k);
        const std::vector<float> box =
            k == 0 ? std::vector<float>{0, 0, 0.5F, 0.5F} : std::vector<float>{0.5F, 0, 1, 1};
        boxes.insert(boxes.end(), box.begin(), box.end());
      }
    }
    c.boxes = Tensor::from(boxes, {8, 4});
    c.difficult = {1, 0, 0, 0, 0, 0, 0, 0};
    writer.set_concepts(c);
    writer.finish();
  }

  std::string clip() const { return dir_ / "clip"; }
  std::string file() const { return dir_ / "d.h5"; }
  std::string write(const std::string& name, const std::string& text) const {
    test::put_file(dir_ / name, text);
    return dir_ / name;
  }
  test::Result eval(const Arguments& more) const {
    Arguments arguments{"eval", student, file(), "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  }
  json measured(Arguments more = {}) const {
    more.insert(more.end(), {"--clip", clip(), "--json"});
    return json_of(eval(more));
  }

  test::TempDir dir_;
};

TEST_F(EvalLocalisation, MasksNeedNoEmbeddings) {
  const json e = measured();
  EXPECT_EQ(e["images"], 4);
  for (const char* key : {"loss", "cosine", "retrieval", "top1_agreement"})
    EXPECT_FALSE(e.contains(key)) << key;
  EXPECT_EQ(e["objects"], 7);  // one is marked as difficult
  const json l = e["localisation"];
  EXPECT_EQ(l["protocol"], "whole");
  EXPECT_EQ(l["labels"], "masks");
  EXPECT_EQ(l["tolerance"], 15);
  ASSERT_EQ(l["rows"].size(), 3U);
  EXPECT_EQ(l["rows"][0]["name"], "student");
  EXPECT_EQ(l["rows"][1]["name"], "centre");
  EXPECT_EQ(l["rows"][2]["name"], "ceiling of 4x4 patches");
  EXPECT_EQ(l["rows"][0]["segmentation"], e["segmentation"]);
  EXPECT_EQ(l["rows"][0]["objects"]["accuracy"], e["pointing_game"]);
  EXPECT_FALSE(l["rows"][1].contains("segmentation"));
  // Cats: of 4 images one is left out; dogs have half of the image.
  EXPECT_EQ(l["rows"][0]["pixels"]["all"]["trials"], 7);
  EXPECT_EQ(l["rows"][0]["pixels"]["difficult"]["trials"], 0);
  EXPECT_TRUE(l["rows"][0]["pixels"]["difficult"]["accuracy"].is_null());
  EXPECT_EQ(l["rows"][2]["pixels"]["all"]["accuracy"], 1);
  EXPECT_EQ(l["rows"][1]["pixels"]["all"]["accuracy"], 1);  // 15 pixels of such images
  // The ceiling says of each of 4 x 4 cells what it shows: the borders lie between cells but for odd sizes.
  const double ceiling = l["rows"][2]["segmentation"]["mean_iou"];
  EXPECT_GT(ceiling, 0.9);
  EXPECT_EQ(e["segmentation"]["ambiguous_pixels"], 2 * (50 + 44 + 38 + 32));
  EXPECT_EQ(e["segmentation"]["interval"].size(), 2U);
  EXPECT_FALSE(e["segmentation"].contains("background"));
  const json with = measured({"--background", "-1", "--tolerance", "1", "--resamples", "0"});
  EXPECT_GT(with["segmentation"]["background"]["pixels"], 0);
  EXPECT_EQ(with["segmentation"]["background"]["predicted"], 0);
  EXPECT_TRUE(with["segmentation"]["interval"].is_null());
  EXPECT_LT(with["localisation"]["rows"][1]["pixels"]["all"]["accuracy"], 1);
}

TEST_F(EvalLocalisation, TheTeacherIsThreeRows) {
  for (const std::string protocol : {"whole", "slide"}) {
    const json e = measured({"--teacher", clip(), "--protocol", protocol});
    const json rows = e["localisation"]["rows"];
    ASSERT_EQ(rows.size(), 7U);
    EXPECT_EQ(rows[1]["name"], "teacher, vanilla");
    EXPECT_EQ(rows[2]["name"], "teacher, value path");
    EXPECT_EQ(rows[3]["name"], "teacher, NACLIP");
    EXPECT_EQ(rows[3]["grid"], 3);
    EXPECT_EQ(rows[6]["name"], "ceiling of 3x3 patches");
    EXPECT_NE(rows[1]["segmentation"], rows[2]["segmentation"]);
    EXPECT_NE(rows[2]["segmentation"], rows[3]["segmentation"]);
    EXPECT_EQ(rows[0], measured({"--protocol", protocol})["localisation"]["rows"][0]);
    EXPECT_EQ(e["localisation"],
              measured({"--teacher", clip(), "--protocol", protocol, "--batch", "1"})["localisation"]);
  }
  EXPECT_NE(measured()["segmentation"], measured({"--protocol", "slide"})["segmentation"]);
}

TEST_F(EvalLocalisation, ClassesHaveSeveralTexts) {
  const json names = measured()["localisation"];
  EXPECT_EQ(names, measured({"--classes", write("same", "cat\ndog\n")})["localisation"]);
  EXPECT_EQ(names, measured({"--classes", write("named", "dog\tdog,dog\ncat\tcat\n")})["localisation"]);
  const json other = measured({"--classes", write("more", "cat,kitten\ndog,puppy,hound\n")})["localisation"];
  EXPECT_NE(names["rows"][0], other["rows"][0]);
  EXPECT_EQ(names["rows"][2], other["rows"][2]);
  const std::string sky = write("sky", "cat\tcat\ndog\tdog\nbackground\tsky,grass\n");
  EXPECT_GT(measured({"--classes", sky, "--background", "-1"})["segmentation"]["background"]["predicted"], 0);
  expect_failure(eval({"--classes", sky, "--clip", clip()}), 2,
                 sky + ": names texts of the background, which is a class with --background only");
}

TEST_F(EvalLocalisation, ShowsATable) {
  const test::Result r = eval({"--clip", clip(), "--teacher", clip(), "--per-class"});
  expect_done(r);
  for (const char* part :
       {"\npointing game        ", "\nmean IoU             ", " more that nobody labelled)\n",
        "\nlocalisation, whole images, segmentation on masks; in brackets 95 % of 1000 resamples of the "
        "images\n",
        "\n                         pointing game            within 15 pixels         of these difficult     "
        "  mean IoU\n",
        "\n  student ", "\n  teacher, NACLIP ", "\n  centre ", "\n  ceiling of 3x3 patches ", "\n  chance ",
        "\nIoU\n", "\nwithin 15 pixels\n", "\n  cat ", " of 3 "})
    EXPECT_NE(r.out.find(part), std::string::npos) << part << "\n" << r.out;
  EXPECT_EQ(r.out.find("loss"), std::string::npos);
}

// Stored embeddings of images and concepts: nothing else is needed, and the numbers are those of the parts.
TEST_F(EvalLocalisation, MasksBesideEmbeddings) {
  const std::string path = dir_ / "stored.h5";
  {
    data::DatasetWriter writer(path, data::Dataset::Size{16, 16});
    data::Concepts c;
    c.names = {"a", "b", "c"};
    c.embeddings = test::noise({3, 16}, 30);
    c.boxes = Tensor::zeros({0, 4});
    for (std::uint64_t i = 0; i < 3; ++i) {
      writer.add_image(test::noise({16, 16, 3}, i, DType::uint8), "", test::noise({16}, 20 + i));
      data::LabelMap mask{16, 16, {}};
      for (std::uint16_t p = 0; p < 256; ++p)
        mask.labels.push_back(static_cast<std::uint16_t>((p + i) / 64 % 4));
      writer.add_labels(mask);
    }
    writer.set_concepts(c);
    writer.finish();
  }
  const json e = json_of(run({"eval", student, path, "--device", "cpu", "--json"}));
  EXPECT_TRUE(e.contains("loss"));
  EXPECT_FALSE(e.contains("pointing_game"));  // there are no objects
  EXPECT_GT(e["localisation"]["rows"][0]["pixels"]["all"]["trials"], 0);

  const models::Encoder encoder = models::Encoder::load(student);
  const data::Dataset dataset = data::Dataset::open(path);
  const infer::TextScorer scorer(dataset.concepts()->embeddings);
  const infer::Segmentation segmentation(3, {0, 1, 2}, {});
  infer::SegmentationResult expected = segmentation.nothing(true);
  for (std::int64_t i = 0; i < 3; ++i) {
    const Tensor patches = encoder.embed(dataset.image(i).reshape({1, 16, 16, 3})).patches;
    Tensor cosines({1, 3, 16});
    scorer.score(patches.data<float>(), 16, cosines.data<float>());
    expected.add(segmentation.measure({cosines, 4, 4}, dataset.labels(i)), 1);
  }
  EXPECT_NEAR(e["segmentation"]["mean_iou"].get<double>(), expected.mean_iou(), 0.01);
  EXPECT_EQ(e["segmentation"]["pixels"], expected.pixels);

  expect_done(run({"report", student, path, "--device", "cpu", "-o", dir_ / "report.html"}));
  EXPECT_NE(test::bytes_of_file(dir_ / "report.html")
                .find(fmt::format("Mean IoU on masks, these images</dt><dd>{:.3f} of", expected.mean_iou())),
            std::string::npos);
}

TEST_F(EvalLocalisation, ProblemsAreOneLine) {
  expect_failure(eval({}), 2,
                 file() +
                     ": has /concepts/names without embeddings, and no embeddings of images; name CLIP with "
                     "--clip to measure localisation");
  expect_failure(
      eval({"--background", "0.2"}), 2,
      file() + ": has /concepts/names without embeddings, --background needs them; name CLIP with --clip");
  const std::string three = write("three", "cat\ndog\nowl\n");
  expect_failure(eval({"--clip", clip(), "--classes", three}), 2,
                 three +
                     ": has 3 lines for 2 concepts; write one for each, in their order, or lines "
                     "concept<TAB>texts");
  test::write_tiny_clip(dir_ / "wide", 24);
  expect_failure(eval({"--clip", dir_ / "wide"}), 2,
                 "the embeddings of concepts are 24 wide, the student's 16; they must share a teacher");
  expect_failure(eval({"--clip", clip(), "--teacher", dir_ / "wide"}), 2,
                 "the embeddings of concepts are 16 wide, the teacher's 24; they must share a teacher");

  {
    data::DatasetWriter writer(dir_ / "turned.h5", std::nullopt);
    writer.add_encoded(data::encode_png(test::noise_image(30, 40, 1)), "turned.png");
    writer.add_labels({40, 30, std::vector<std::uint16_t>(1200, 1)});
    data::Concepts c;
    c.names = {"cat"};
    c.boxes = Tensor::zeros({0, 4});
    writer.set_concepts(c);
    writer.finish();
  }
  expect_failure(
      run({"eval", student, dir_ / "turned.h5", "--device", "cpu", "--clip", clip(), "--protocol", "slide"}),
      1,
      "turned.png: its mask in " + (dir_ / "turned.h5") +
          " has 30x40 pixels, the image 40x30; a mask is as large as the stored image");

  // A dataset of squares, with embeddings and nothing labelled.
  data::DatasetWriter writer(dir_ / "plain.h5", data::Dataset::Size{16, 16});
  for (std::uint64_t i = 0; i < 4; ++i)
    writer.add_image(test::noise({16, 16, 3}, i, DType::uint8), "", test::noise({16}, i));
  writer.finish();
  const auto fails = [&](const Arguments& more, const std::string& message) {
    Arguments arguments{"eval", student, dir_ / "plain.h5", "--device", "cpu"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_failure(run(arguments), 2, (dir_ / "plain.h5") + message);
  };
  fails({"--background", "0.1"},
        ": has no labelled objects or masks; --background is for measuring on these");
  fails({"--protocol", "slide"},
        ": has no labelled objects or masks; --protocol slide is for measuring on these");
  fails({"--teacher", clip()}, ": has no labelled objects or masks; --teacher is for measuring on these");
  fails({"--clip", clip()}, ": has no labelled objects whose concepts could be embedded; leave CLIP out");
}

}  // namespace
}  // namespace vitral
