// Localisation beside the field's own code (tests/reference/make_localisation.py), and by hand.
#include "infer/measure/localisation.h"

#include <cmath>
#include <fstream>

#include <gtest/gtest.h>

#include "data/dataset_writer.h"
#include "tests/golden.h"
#include "tests/noise.h"

namespace vitral::infer {
namespace {

using test::message_of;

const std::string golden = "tests/golden/localisation.h5";

std::vector<std::int64_t> integers(const Tensor& t) {
  const auto values = t.to_vector();
  return {values.begin(), values.end()};
}

class Golden : public testing::TestWithParam<bool> {
 protected:
  const data::H5File file_ = data::H5File::open(golden);
  const std::vector<std::int64_t> concept_of_ = integers(file_.read("/concept_of"));
  const TextScorer scorer_{file_.read("/texts").cast(DType::float32)};

  // Windows of 16 pixels every 8, patches 4 x 4.
  ScoreMaps maps(const std::string& image, const std::string& protocol) const {
    const Tensor patches = file_.read(image + "/" + protocol).cast(DType::float32);
    const std::int64_t windows = patches.dim(0);
    Tensor cosines({windows, scorer_.texts(), 16});
    for (std::int64_t w = 0; w < windows; ++w)
      scorer_.score(patches.data<float>() + w * 16 * 8, 16, cosines.data<float>() + w * scorer_.texts() * 16);
    if (protocol == "whole") return {cosines, 4, 4};
    const auto resized = integers(file_.read(image + "/resized"));
    return {cosines, 4, 4, sliding_windows(resized[0], resized[1], 16, 8)};
  }
  LabelMap labels(const std::string& image) const {
    const Tensor t = file_.read(image + "/labels");
    LabelMap out{t.dim(0), t.dim(1), {}};
    for (const std::int64_t l : integers(t)) out.labels.push_back(static_cast<std::uint16_t>(l));
    return out;
  }
};

TEST_P(Golden, SegmentationIsThatOfMmseg) {
  std::optional<float> background;
  if (GetParam()) background = 0.35F;
  const Segmentation segmentation(4, concept_of_, background);
  for (const std::string protocol : {"whole", "slide"}) {
    SegmentationResult r = segmentation.nothing(true);
    for (const std::string image : {"/image0", "/image1", "/image2"})
      r.add(segmentation.measure(maps(image, protocol), labels(image)), 1);
    const std::string name = protocol + (GetParam() ? "_background" : "");
    const auto areas = file_.read("/areas/" + name).to_vector();  // [3,classes], the background first
    const auto metrics = file_.read("/metrics/" + name).to_vector();
    std::vector<PixelCounts> classes = r.concepts;
    if (r.background) classes.insert(classes.begin(), *r.background);
    ASSERT_EQ(areas.size(), 3 * classes.size());
    for (std::size_t c = 0; c < classes.size(); ++c) {
      // Two classes as good as equal at a pixel may change places by rounding.
      EXPECT_EQ(static_cast<double>(classes[c].labelled), areas[c]) << name << " " << c;
      EXPECT_NEAR(static_cast<double>(classes[c].predicted), areas[classes.size() + c], 2)
          << name << " " << c;
      EXPECT_NEAR(static_cast<double>(classes[c].both), areas[2 * classes.size() + c], 2) << name << " " << c;
    }
    EXPECT_NEAR(r.pixel_accuracy(), metrics[0], 1e-3) << name;
    EXPECT_NEAR(r.mean_iou(), metrics[1], 1e-3) << name;
    EXPECT_NEAR(r.mean_accuracy(), metrics[2], 1e-3) << name;
  }
}
INSTANTIATE_TEST_SUITE_P(Localisation, Golden, testing::Bool());

TEST_F(Golden, PointsHitAsInTorchRay) {
  int hit = 0, missed = 0;
  for (const std::string protocol : {"whole", "slide"})
    for (const std::string image : {"/image0", "/image1", "/image2"}) {
      const ScoreMaps m = maps(image, protocol);
      const LabelMap mask = labels(image);
      const auto expected = integers(file_.read(image + "/" + protocol + "_hits"));
      std::vector<float> buffer;
      for (const Trial& trial : trials_of({}, &mask)) {
        std::int64_t best = 0;
        float score = -2;
        for (std::int64_t t = 0; t < m.texts(); ++t) {
          const float* map = m.map(t, buffer);
          for (std::int64_t c = 0; c < m.rows() * m.columns(); ++c)
            if (concept_of_[static_cast<std::size_t>(t)] == trial.concept_index && map[c] > score)
              score = map[c], best = c;
        }
        const auto middle = [](std::int64_t cell, std::int64_t cells, std::int64_t pixels) {
          return static_cast<std::int64_t>((static_cast<double>(cell) + 0.5) / static_cast<double>(cells) *
                                           static_cast<double>(pixels));
        };
        const bool is_hit =
            hits(trial, &mask, mask.height, mask.width, middle(best % m.columns(), m.columns(), mask.width),
                 middle(best / m.columns(), m.rows(), mask.height), 15);
        EXPECT_EQ(is_hit, expected[static_cast<std::size_t>(trial.concept_index)] != 0) << image << protocol;
        ++(is_hit ? hit : missed);
      }
    }
  EXPECT_GT(hit, 2);
  EXPECT_GT(missed, 2);
}

TEST(Windows, LieWhereMmsegPutsThem) {
  const Windows w = sliding_windows(336, 500, 224, 112);
  EXPECT_EQ(w.tops, (std::vector<std::int64_t>{0, 112}));
  EXPECT_EQ(w.lefts, (std::vector<std::int64_t>{0, 112, 224, 276}));
  EXPECT_EQ(sliding_windows(224, 224, 224, 112).count(), 1);
  EXPECT_EQ(message_of([] { sliding_windows(200, 336, 224, 112); }),
            "slide: windows of 224 pixels every 112 of an image of 200x336");
}

TEST(Windows, AreCutOutOfTheResizedImage) {
  Windows where;
  const Tensor image = test::noise({40, 30, 3}, 1, DType::uint8);
  const Tensor whole = cut_windows(image, 16, Protocol::whole, where);
  EXPECT_EQ(whole.shape(), (Shape{1, 16, 16, 3}));
  EXPECT_EQ(where.count(), 0);
  const Tensor cut = cut_windows(image, 16, Protocol::slide, where);
  EXPECT_EQ(where.height, 32);  // short side 24
  EXPECT_EQ(where.width, 24);
  EXPECT_EQ(where.tops, (std::vector<std::int64_t>{0, 8, 16}));
  EXPECT_EQ(cut.shape(), (Shape{6, 16, 16, 3}));
  // Window 3 begins at row 8, column 8: its first pixels are those of window 0 there.
  for (std::int64_t c = 0; c < 3; ++c)
    EXPECT_EQ(cut.data<std::uint8_t>()[3 * 16 * 16 * 3 + c],
              cut.data<std::uint8_t>()[8 * 16 * 3 + 8 * 3 + c]);
}

// Two images of 8 x 8 pixels, a grid of 2 x 2, two concepts along the axes. A model whose patches show
// concept 0 on the left and 1 on the right, wherever; another that has it the other way round.
class ByHand : public testing::Test {
 protected:
  ByHand() {
    data::DatasetWriter writer(dir_ / "d.h5", data::Dataset::Size{8, 8});
    for (int i = 0; i < 2; ++i) writer.add_image(test::noise({8, 8, 3}, 1, DType::uint8));
    concepts_.names = {"cat", "dog"};
    concepts_.embeddings = Tensor::from(std::vector<float>{1, 0, 0, 1}, {2, 2});
    concepts_.image = {0, 0, 1};
    concepts_.concept_index = {0, 1, 0};
    concepts_.boxes =
        Tensor::from(std::vector<float>{0, 0, 0.5F, 0.5F, 0.5F, 0, 1, 1, 0.75F, 0, 1, 1}, {3, 4});
    writer.set_concepts(concepts_);
    writer.finish();
  }

  DenseModel model(const std::string& name, bool turned) const {
    return {name, 8, 2, 2, [turned](const Tensor& images) {
              Tensor out({images.dim(0), 4, 2});
              for (std::int64_t n = 0; n < images.dim(0) * 4; ++n) {
                const bool right = (n % 2 == 1) != turned;
                out.data<float>()[2 * n] = right ? 0.1F : 1;
                out.data<float>()[2 * n + 1] = right ? 1 : 0.1F;
              }
              return out;
            }};
  }
  Localisation localisation(const LocalisationOptions& options = {.tolerance = 1}) const {
    ConceptTexts texts = one_text_each(concepts_.names);
    texts.embeddings = concepts_.embeddings;
    return {data::Dataset::open(dir_ / "d.h5"),
            concepts_,
            {model("right", false), model("turned", true)},
            texts,
            options};
  }
  LocalisationResult measure(const Localisation& l) const {
    const Tensor pixels = Tensor::zeros({2, 8, 8, 3}, DType::uint8);
    return l.result(l.measure({0, 1}, pixels, model("", false).patches(pixels)));
  }

  test::TempDir dir_;
  data::Concepts concepts_;
};

TEST_F(ByHand, EveryRowOfTheTable) {
  const LocalisationResult r = measure(localisation());
  ASSERT_EQ(r.rows.size(), 4U);
  const auto& [right, turned, centre, ceiling] = std::tie(r.rows[0], r.rows[1], r.rows[2], r.rows[3]);
  EXPECT_EQ(right.name, "right");
  EXPECT_EQ(centre.name, "centre");
  EXPECT_EQ(ceiling.name, "ceiling of 2x2 patches");
  EXPECT_EQ(r.images, 2);
  EXPECT_FALSE(r.on_masks);

  // Patch 0 points for cat, patch 1 for dog: both of the first image, and not the cat at the right of the
  // second.
  EXPECT_EQ(right.objects.objects, 3);
  EXPECT_EQ(right.objects.hits, 2);
  EXPECT_NEAR(right.objects.chance(), (1 + 2 + 2) / 12.0, 1e-12);
  EXPECT_EQ(turned.objects.hits, 1);
  EXPECT_EQ(centre.objects.hits, 2);  // on the corner of both boxes of the first image
  EXPECT_EQ(ceiling.objects.hits, 3);

  // On pixels: patch 0 points to (2, 2), patch 1 to (6, 2). Cats 1 of 2, dogs 1 of 1.
  EXPECT_EQ(right.all.classes[0].trials, 2);
  EXPECT_EQ(right.all.classes[0].hits, 1);
  EXPECT_EQ(right.all.classes[1].hits, 1);
  EXPECT_NEAR(right.on_all.value, 0.75, 1e-12);
  EXPECT_NEAR(turned.on_all.value, (0.5 + 0) / 2, 1e-12);  // the cat of the second image
  EXPECT_NEAR(centre.on_all.value, (0 + 1) / 2.0, 1e-12);  // (4, 4) is in the dog
  EXPECT_NEAR(ceiling.on_all.value, 1, 1e-12);
  // No class has less than a quarter of the image and another beside it.
  EXPECT_EQ(right.difficult.trials(), 0);

  // The first image: cat in the upper left, dog at the right, all met. The second: 16 pixels of cat, named
  // dog.
  ASSERT_TRUE(right.segmentation.has_value());
  EXPECT_EQ(right.segmentation->concepts[0].labelled, 32);
  EXPECT_NEAR(right.on_objects.value, 2 / 3.0, 1e-12);
  EXPECT_NEAR(right.mean_iou.value, (16 / 32.0 + 32 / 48.0) / 2, 1e-12);
  EXPECT_NEAR(turned.mean_iou.value, (16 / 64.0 + 0) / 2, 1e-12);
  EXPECT_FALSE(centre.segmentation.has_value());
  EXPECT_EQ(ceiling.mean_iou.value, 1);
}

TEST_F(ByHand, IntervalsAreOfResampledImages) {
  const LocalisationResult r = measure(localisation({.tolerance = 1, .resamples = 400}));
  const LocalisationRow& right = r.rows.front();
  // Of two images there are three samples: the first twice (1), both, the second twice (0).
  EXPECT_NEAR(right.on_objects.interval.low, 0, 1e-12);
  EXPECT_NEAR(right.on_objects.interval.high, 1, 1e-12);
  EXPECT_NEAR(right.mean_iou.interval.high, 1, 1e-12);
  const LocalisationResult again = measure(localisation({.tolerance = 1, .resamples = 400}));
  EXPECT_EQ(again.rows[0].mean_iou.interval.low, right.mean_iou.interval.low);
  const LocalisationResult none = measure(localisation({.tolerance = 1, .resamples = 0}));
  EXPECT_TRUE(std::isnan(none.rows[0].on_all.interval.low));
}

TEST_F(ByHand, SlidingWindowsNeedPixels) {
  EXPECT_EQ(
      message_of([&] { localisation({.protocol = Protocol::slide}); }),
      (dir_ / "d.h5") +
          ": --protocol slide cuts windows of 8 pixels out of images, and these are stored as squares of 8; "
          "pack them with --encoded, or use --protocol whole");
}

// With one embedding everywhere sliding changes nothing: the mean of windows is what each of them says.
TEST_F(ByHand, SlidingWindows) {
  data::DatasetWriter writer(dir_ / "d.h5", data::Dataset::Size{16, 16});
  for (int i = 0; i < 2; ++i) writer.add_image(test::noise({16, 16, 3}, 1, DType::uint8));
  writer.set_concepts(concepts_);
  writer.finish();
  const LocalisationResult r = measure(localisation({.protocol = Protocol::slide, .tolerance = 2}));
  // 12 x 12 pixels, windows at 0 and 4: cat is highest at the left edge, dog at the right one.
  EXPECT_EQ(r.rows[0].all.classes[0].hits, 1);
  EXPECT_EQ(r.rows[0].all.classes[1].hits, 1);
  EXPECT_EQ(r.rows[0].objects.hits, 2);
  EXPECT_EQ(r.rows[1].objects.hits, 1);
  EXPECT_EQ(r.rows[3].name, "ceiling of 2x2 patches");
  // Cells of 8/3 pixels: in the first image one of 32 pixels of cat is named dog, and three of dog cat.
  EXPECT_NEAR(r.rows[3].mean_iou.value, (31 / 35.0 + 29 / 33.0) / 2, 1e-12);
  EXPECT_GT(r.rows[0].mean_iou.value, r.rows[1].mean_iou.value);
}

class Texts : public testing::Test {
 protected:
  std::string list(const std::string& text) const {
    test::put_file(dir_ / "list", text);
    return dir_ / "list";
  }
  std::string problem(const std::string& text) const {
    return message_of([&] { texts_of_list(names_, list(text)); });
  }

  test::TempDir dir_;
  const std::vector<std::string> names_{"tvmonitor", "cat"};
};

TEST_F(Texts, OfNamesWithCommas) {
  const ConceptTexts texts = texts_of_names({"building, edifice", "cat"});
  EXPECT_EQ(texts.texts, (std::vector<std::string>{"building", "edifice", "cat"}));
  EXPECT_EQ(texts.concept_of, (std::vector<std::int64_t>{0, 0, 1}));
  EXPECT_EQ(one_text_each({"building, edifice"}).texts.size(), 1U);
  EXPECT_EQ(message_of([] {
              texts_of_names({"cat", "dog,"});
            }),
            "concept 'dog,': has an empty text; write texts with single commas between");
}

TEST_F(Texts, InTheOrderOfConceptsOrByName) {
  const ConceptTexts lines = texts_of_list(names_, list("tv, television ,monitor\ncat\n"));
  EXPECT_EQ(lines.texts, (std::vector<std::string>{"tv", "television", "monitor", "cat"}));
  EXPECT_EQ(lines.concept_of, (std::vector<std::int64_t>{0, 0, 0, 1}));
  const ConceptTexts named = texts_of_list(names_, list("cat\ta cat\nbackground\tsky,wall\ntvmonitor\ttv\n"));
  EXPECT_EQ(named.texts, (std::vector<std::string>{"a cat", "sky", "wall", "tv"}));
  EXPECT_EQ(named.concept_of, (std::vector<std::int64_t>{1, 2, 2, 0}));
}

TEST_F(Texts, ProblemsAreOneLine) {
  const std::string file = dir_ / "list";
  EXPECT_EQ(problem("a\nb\nc\n"), file +
                                      ": has 3 lines for 2 concepts; write one for each, in their order, or "
                                      "lines concept<TAB>texts");
  EXPECT_EQ(problem("cat\tx\ntv\ty\n"),
            file + ":2: 'tv' is none of the 2 concepts; the first is 'tvmonitor'");
  EXPECT_EQ(problem("cat\tx\ncat\ty\n"), file + ":2: names 'cat' again");
  EXPECT_EQ(problem("cat\tx\n"), file + ": says nothing of the concept 'tvmonitor'; write a line for each");
  EXPECT_EQ(problem("cat\tx\ntvmonitor\n"),
            file + ":2: has no tab, but line 1 has one; write all lines alike");
  EXPECT_EQ(problem("tv,,monitor\ncat\n"),
            file + ":1: has an empty text; write texts with single commas between");
}

}  // namespace
}  // namespace vitral::infer
