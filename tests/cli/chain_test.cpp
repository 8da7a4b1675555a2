// The whole chain from nothing, in small, as docs/clip.md and scripts/demo have it: scenes, a vocabulary, a
// CLIP that learns from captions alone, and a student of it that finds what words name.
#include <cmath>
#include <set>

#include "data/benchmarks/emoji.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "tests/cli/small_run.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::json_of;
using test::run;

double largest_difference(const Tensor& a, const Tensor& b) {
  const auto x = a.to_vector(), y = b.to_vector();
  EXPECT_EQ(x.size(), y.size());
  double out = 0;
  for (std::size_t i = 0; i < std::min(x.size(), y.size()); ++i) out = std::max(out, std::abs(x[i] - y[i]));
  return out;
}

TEST(Chain, FromNothingToAStudentThatFindsWhatWordsName) {
  try {
    data::find_emoji_font();
  } catch (const UsageError& e) {
    GTEST_SKIP() << e.what();
  }
  const test::TempDir dir;
  const std::string train = dir / "train.h5", val = dir / "val.h5", vocabulary = dir / "vocabulary",
                    clip = dir / "run-clip", folder = dir / "clip", student = dir / "run";

  // 2,000 scenes of 140 classes: each object is seen about thirty times.
  expect_done(run({"scenes", "-o", dir.str(), "--train", "2000", "--val", "200", "--seed", "3"}));
  const json learned = json_of(run({"vocabulary", train, "-o", vocabulary, "--size", "800", "--json"}));
  EXPECT_EQ(learned["tokens"], 800);
  EXPECT_EQ(learned["texts"], 6000);

  // A CLIP: the loss of those who know nothing is ln 32 = 3.47, retrieval by chance 1 of 200.
  test::put_file(dir / "clip.yaml", fmt::format(R"(
model:
  kind: clip
  image_size: 96
  patch_size: 16
  width: 32
  vision: {{width: 64, layers: 2, heads: 2}}
  text: {{width: 64, layers: 2, heads: 2, context: 24, vocabulary: {}}}
data: {{train: [{}], val: [{}], augment: {{flip: 0.5}}}}
train:
  batch_size: 32
  epochs: 8
  device: cpu
  optimizer: {{name: muon, lr: 4.0e-3, weight_decay: 0.05}}
  scheduler: {{name: cosine, warmup_steps: 4}}
  output: {}
)",
                                                vocabulary, train, val, clip));
  expect_done(run({"train", dir / "clip.yaml"}));
  EXPECT_GT(test::metric(clip, "train", "loss").front(), 0.8 * std::log(32));
  EXPECT_LT(test::metric(clip, "val", "loss").back(), 0.8 * std::log(32));
  for (const char* name : {"image_to_text", "text_to_image"})
    EXPECT_GT(test::metric(clip, "val", name).back(), 6 / 200.0) << name;

  // The folder for transformers is the same model as the run.
  expect_done(run({"convert", clip, folder + "/"}));
  std::vector<Tensor> texts, images;
  for (const std::string& from : {clip, folder}) {
    expect_done(run({"embed", "--text", "a photo of an apple", "there is a dog and a sailboat", "--clip",
                     from, "-o", dir / "texts.h5"}));
    texts.push_back(data::H5File::open(dir / "texts.h5").read("/embeddings"));
    expect_done(run({"teach", val, "--teacher", from, "--force"}));
    images.push_back(data::H5File::open(val).read("/embeddings"));
  }
  EXPECT_EQ(images[0].shape(), (Shape{200, 32}));
  EXPECT_LE(largest_difference(texts[0], texts[1]), 1e-5);
  EXPECT_LE(largest_difference(images[0], images[1]), 1e-5);

  // A student of it.
  expect_done(run({"teach", train, "--teacher", folder}));
  test::put_file(dir / "student.yaml", fmt::format(R"(
model: {{image_size: 96, patch_size: 12, width: 32, layers: 2, heads: 4}}
data: {{train: [{}], val: [{}], augment: none}}
train:
  batch_size: 32
  epochs: 4
  device: cpu
  optimizer: {{name: adamw, lr: 4.0e-3}}
  scheduler: {{name: one_cycle}}
  output: {}
)",
                                                   train, val, student));
  expect_done(run({"train", dir / "student.yaml"}));
  EXPECT_GT(test::metric(student, "val", "cosine").back(), 0.8);

  // What both know of the scenes of one object, by name alone, and where the student finds it.
  const std::vector<std::string> by_text{"--clip", folder, "--template", "a photo of a {}"};
  const auto with_texts = [&](std::vector<std::string> arguments) {
    arguments.insert(arguments.end(), by_text.begin(), by_text.end());
    return arguments;
  };
  const json named =
      json_of(run(with_texts({"eval", student, val, "--zero-shot", "--teacher", folder, "--json"})));
  for (const char* who : {"student", "teacher"})
    EXPECT_GT(named[who]["zero_shot"]["top5"], 4 * 5 / 140.0) << who;
  const json found = json_of(run(with_texts({"eval", student, val, "--json"})));
  EXPECT_NEAR(found["pointing_chance"], 0.21, 0.02);
  EXPECT_GT(found["pointing_game"], 2 * found["pointing_chance"].get<double>());

  // And what one sees of it.
  expect_done(run(with_texts({"activate", student, val, "--text", "apple", "dog", "-o", dir / "a.png"})));
  EXPECT_GT(data::read_image(dir / "a.png").dim(1), 192);
  const json page = json_of(run(
      with_texts({"report", student, val, "--text", "apple", "dog", "-o", dir / "report.html", "--json"})));
  EXPECT_EQ(page["prompts"], (json{"apple", "dog"}));
  EXPECT_GT(page["bytes"], 100'000);

  // Without words: those of the dataset.
  const data::Concepts concepts = data::Dataset::open(val).concepts().value();
  const json own = json_of(run(with_texts({"activate", student, val, "--image", "5", "--json"})));
  std::set<std::string> expected, shown;
  for (std::size_t m = 0; m < concepts.image.size(); ++m)
    if (concepts.image[m] == 5)
      expected.insert(concepts.names[static_cast<std::size_t>(concepts.concept_index[m])]);
  for (const json& text : own["images"][0]["texts"]) shown.insert(text["text"].get<std::string>());
  EXPECT_EQ(shown, expected);
  const json names =
      json_of(run(with_texts({"report", student, val, "--count", "4", "-o", dir / "names.html", "--json"})));
  EXPECT_GE(names["prompts"].size(), 3);

  expect_failure(run(with_texts({"eval", clip, val})), 2,
                 clip +
                     ": has no weights 'conv1.weight'; these are not a student's weights but a CLIP's; name "
                     "them with --clip or --teacher");
}

}  // namespace
}  // namespace vitral
