// Patches against texts: the numbers behind the pictures.
#include "infer/activations.h"

#include <cmath>

#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "infer/measure/patch_scores.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"

namespace vitral::infer {
namespace {

using test::message_of;
using test::TempDir;

const std::string weights = "tests/golden/run_init.safetensors";  // 16x16 pixels, 4x4 patches, width 16

Tensor picture(int height, int width) {
  Tensor t({height, width, 3}, DType::uint8);
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * i / 7 % 251);
  return t;
}

Tensor ramp(std::int64_t width, double factor) {
  Tensor t({width});
  for (std::int64_t i = 0; i < width; ++i)
    t.data<float>()[i] = static_cast<float>(factor * std::sin(static_cast<double>(3 * i + 1)));
  return t;
}

TEST(PatchSoftmax, IsTheSoftmaxOfTwiceTheProducts) {
  const Tensor patches = Tensor::from(std::vector<float>{1, 0, 0.5F, 2, -3, 1}, {3, 2}),
               text = Tensor::from(std::vector<float>{0.5F, 1}, {2});
  const std::vector<double> twice{1, 4.5, -1};
  double sum = 0;
  for (const double x : twice) sum += std::exp(x);
  const auto found = patch_softmax(patches, text).to_vector();
  for (std::size_t n = 0; n < 3; ++n) EXPECT_NEAR(found[n], std::exp(twice[n]) / sum, 1e-6);
  // Products that exp() alone could not take.
  const auto huge = patch_softmax(patches, Tensor::from(std::vector<float>{5000, 0}, {2})).to_vector();
  EXPECT_EQ(huge, (std::vector<double>{1, 0, 0}));
  EXPECT_EQ(message_of([&] { patch_softmax(patches, Tensor::zeros({3})); }),
            "patch_softmax: text [3] must match last dim of patches [3, 2]");
}

TEST(Activations, AreThoseOfTheStudentsPatches) {
  const models::Encoder encoder = models::Encoder::load(weights);
  const Tensor image = picture(40, 25);
  const std::vector<PatchTarget> targets{{"one", ramp(16, 7), {}}, {"two", ramp(16, -0.5), Box{0, 0, 1, 1}}};
  const ImageActivations a = activations_of(encoder, image, "title", targets);
  const models::ImageEmbeddings e =
      encoder.embed(data::validation_transform(image, 16).reshape({1, 16, 16, 3}));
  EXPECT_EQ(a.title, "title");
  EXPECT_EQ(a.image.to_vector(), image.to_vector());
  EXPECT_EQ(a.probs.to_vector(), e.probs.to_vector());
  EXPECT_EQ(a.probs.shape(), (Shape{4, 4}));
  EXPECT_FALSE(a.attention.defined());
  ASSERT_EQ(a.targets.size(), 2U);
  for (std::size_t t = 0; t < 2; ++t) {
    const auto* text = targets[t].embedding.data<float>();
    double total = 0, length = 0;
    std::vector<double> scores;
    for (int i = 0; i < 16; ++i) length += double{text[i]} * text[i];
    for (int n = 0; n < 16; ++n) {
      double product = 0, squares = 0;
      for (int i = 0; i < 16; ++i) {
        const double x = e.patches.data<float>()[n * 16 + i];
        product += x * text[i];
        squares += x * x;
      }
      EXPECT_NEAR(a.targets[t].cosines.to_vector()[n], product / std::sqrt(squares * length), 1e-6);
      scores.push_back(std::exp(2 * product));
      total += scores.back();
    }
    for (int n = 0; n < 16; ++n) EXPECT_NEAR(a.targets[t].softmax.to_vector()[n], scores[n] / total, 1e-5);
  }
  EXPECT_TRUE(a.targets[1].box && !a.targets[0].box);
  EXPECT_EQ(message_of([&] {
              activations_of(encoder, image, "", std::vector<PatchTarget>{{"a cat", ramp(8, 1), {}}});
            }),
            "'a cat': its embedding [8] is not as wide as the student's, 16; they must share a teacher");
}

TEST(Activations, TheTeachersAttentionStandsBeside) {
  const TempDir folder;
  test::write_tiny_clip(folder.str());
  const models::ImageEncoder teacher = models::ImageEncoder::load(folder.str());
  const models::Encoder encoder = models::Encoder::load(weights);
  const Tensor image = picture(30, 30);
  const ImageActivations a = activations_of(encoder, image, "", {}, &teacher);
  EXPECT_EQ(a.attention.shape(), (Shape{3, 3}));
  const Tensor expected = teacher.attention(data::validation_transform(image, 24).reshape({1, 24, 24, 3}));
  EXPECT_EQ(a.attention.to_vector(), expected.to_vector());
  const ActivationRow row = activation_row(a, ActivationStyle::cosine, true);
  ASSERT_EQ(row.panels.size(), 2U);
  EXPECT_EQ(row.panels[0].label, "student's weights");
  EXPECT_EQ(row.panels[1].label, "teacher's attention");
  EXPECT_TRUE(row.panels[0].kind == PanelKind::weights && row.panels[1].kind == PanelKind::weights);
}

TEST(Activations, TheTeachersPatchesStandBesideTheStudents) {
  const TempDir folder;
  test::write_tiny_clip(folder.str());
  const models::ImageEncoder teacher = models::ImageEncoder::load(folder.str());
  const models::Encoder encoder = models::Encoder::load(weights);
  const Tensor image = picture(24, 24);
  const std::vector<PatchTarget> targets{{"one", ramp(16, 7), Box{0, 0, 1, 1}}};
  const ImageActivations a = activations_of(encoder, image, "", targets, &teacher);
  const Tensor dense = teacher.dense(image.reshape({1, 24, 24, 3}), models::DenseTokens::naclip, 3);
  ASSERT_EQ(a.targets[0].teacher.shape(), (Shape{3, 3}));
  EXPECT_EQ(a.targets[0].teacher.to_vector(),
            patch_cosines(dense.reshape({9, 16}), targets[0].embedding).to_vector());
  const ActivationRow row = activation_row(a, ActivationStyle::cosine, false);
  ASSERT_EQ(row.panels.size(), 3U);
  EXPECT_EQ(row.panels[2].label, "teacher: one");
  EXPECT_TRUE(row.panels[2].kind == PanelKind::scores && row.panels[2].box);
  EXPECT_EQ(activation_row(a, ActivationStyle::softmax, false).panels.size(), 2U);
  // Another family has attention alone.
  const models::ImageEncoder other = models::ImageEncoder::load("tests/golden/siglip");
  EXPECT_FALSE(activations_of(encoder, image, "", targets, &other).targets[0].teacher.defined());
}

TEST(Activations, RowsFollowTheStyle) {
  const models::Encoder encoder = models::Encoder::load(weights);
  const std::vector<PatchTarget> targets{{"a", ramp(16, 1), {}}, {"b", ramp(16, 2), {}}};
  const ImageActivations a = activations_of(encoder, picture(20, 20), "t", targets);
  const auto kinds = [&](ActivationStyle style, bool with_weights) {
    std::string out;
    for (const auto& p : activation_row(a, style, with_weights).panels)
      out += p.label.substr(0, 1) + (p.kind == PanelKind::scores ? "s " : "w ");
    return out;
  };
  EXPECT_EQ(kinds(ActivationStyle::cosine, false), "as bs ");
  EXPECT_EQ(kinds(ActivationStyle::softmax, false), "aw bw ");
  EXPECT_EQ(kinds(ActivationStyle::both, true), "sw as aw bs bw ");
}

TEST(Activations, TextsAreBroughtToTheLengthOfClips) {
  TextEmbeddings texts{.texts = {"x", "y"},
                       .embeddings = Tensor::from(std::vector<float>{0.6F, 0.8F, 0, 4}, {2, 2}),
                       .lengths = Tensor::from(std::vector<float>{10, 4}, {2}),
                       .clip = {},
                       .templates = {}};
  const auto targets = targets_of(texts);
  ASSERT_EQ(targets.size(), 2U);
  EXPECT_EQ(targets[1].label, "y");
  EXPECT_NEAR(targets[0].embedding.to_vector()[0], 6, 1e-5);
  EXPECT_NEAR(targets[0].embedding.to_vector()[1], 8, 1e-5);
  EXPECT_EQ(targets[1].embedding.to_vector(), (std::vector<double>{0, 4}));
}

// The golden patch embeddings of a photograph give the same activations.
TEST(Activations, OfAPhotographAsTheOriginal) {
  VITRAL_NEEDS_SHARED(reference, "golden/embed_photos.h5");
  VITRAL_NEEDS_SHARED(init, "golden/run_init.safetensors");
  VITRAL_NEEDS_SHARED(photo, "photos/a_dog_jumping_00.jpg");
  const models::Encoder encoder = models::Encoder::load(init);
  const data::H5File file = data::H5File::open(reference);
  const std::int64_t n = file.shape("/patch_embeddings")[1], width = file.shape("/patch_embeddings")[2];
  const Tensor patches = file.read("/patch_embeddings").rows(0, 1).reshape({n, width}), text = ramp(width, 5);
  const ImageActivations a =
      activations_of(encoder, data::read_image(photo), "", std::vector<PatchTarget>{{"t", text, {}}});
  EXPECT_LT(test::relative_error(a.targets[0].softmax, patch_softmax(patches, text)), 1e-4);
  EXPECT_LT(test::relative_error(a.targets[0].cosines, patch_cosines(patches, text)), 1e-4);
}

}  // namespace
}  // namespace vitral::infer
