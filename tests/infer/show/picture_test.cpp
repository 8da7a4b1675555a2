#include "infer/show/picture.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "infer/measure/patch_scores.h"
#include "infer/show/canvas.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using test::message_of;

int brightness(const Tensor& image, std::int64_t x, std::int64_t y) {
  const auto* p = image.data<std::uint8_t>() + (y * image.dim(1) + x) * 3;
  return p[0] + p[1] + p[2];
}

// Where the picture differs from the canvas's ground: x0, y0, x1, y1.
std::vector<std::int64_t> bounds(const Tensor& image, Colour ground) {
  std::int64_t x0 = 1 << 20, y0 = 1 << 20, x1 = -1, y1 = -1;
  for (std::int64_t y = 0; y < image.dim(0); ++y)
    for (std::int64_t x = 0; x < image.dim(1); ++x) {
      const auto* p = image.data<std::uint8_t>() + (y * image.dim(1) + x) * 3;
      if (Colour{p[0], p[1], p[2]} == ground) continue;
      x0 = std::min(x0, x), y0 = std::min(y0, y);
      x1 = std::max(x1, x + 1), y1 = std::max(y1, y + 1);
    }
  return {x0, y0, x1, y1};
}

TEST(Canvas, FillsAndFramesExactly) {
  Canvas canvas(20, 10, {1, 2, 3});
  EXPECT_EQ(canvas.image().shape(), (Shape{10, 20, 3}));
  canvas.fill({4, 5, 6, 2}, {9, 9, 9});
  EXPECT_EQ(bounds(canvas.image(), {1, 2, 3}), (std::vector<std::int64_t>{4, 5, 10, 7}));
  canvas.frame({2, 1, 12, 8}, 2, {7, 7, 7});
  EXPECT_EQ(bounds(canvas.image(), {1, 2, 3}), (std::vector<std::int64_t>{2, 1, 14, 9}));
  EXPECT_EQ(canvas.at(3, 4), (Colour{7, 7, 7}));
  EXPECT_EQ(canvas.at(4, 4), (Colour{1, 2, 3}));  // inside the frame
  EXPECT_EQ(canvas.at(4, 5), (Colour{9, 9, 9}));
}

TEST(Canvas, ClipsWhatIsOutside) {
  Canvas canvas(8, 8, {0, 0, 0});
  canvas.fill({-5, -5, 100, 6}, {1, 1, 1});
  canvas.frame({-2, 3, 30, 30}, 1, {2, 2, 2});
  canvas.text(-3, 5, "clipped text", Font::large, {3, 3, 3});
  EXPECT_EQ(canvas.at(7, 0), (Colour{1, 1, 1}));
  EXPECT_EQ(canvas.at(7, 1), (Colour{0, 0, 0}));
  EXPECT_EQ(message_of([&] { static_cast<void>(canvas.at(8, 0)); }), "canvas: (8, 0) is outside [8, 8, 3]");
}

TEST(Canvas, TextStaysInItsCells) {
  Canvas canvas(60, 30, {0, 0, 0});
  canvas.text(10, 5, "Wg", Font::large, {255, 255, 255});
  const auto b = bounds(canvas.image(), {0, 0, 0});
  EXPECT_GE(b[0], 10);
  EXPECT_GE(b[1], 5);
  EXPECT_LE(b[2], 10 + text_width("Wg", Font::large));
  EXPECT_LE(b[3], 5 + 16);
  EXPECT_GT(b[2] - b[0], 8);
  Canvas other(60, 30, {0, 0, 0});
  other.text(10, 5, "Wy", Font::large, {255, 255, 255});
  EXPECT_NE(canvas.image().to_vector(), other.image().to_vector());
}

TEST(Text, OneByteACharacter) {
  EXPECT_EQ(font_text("red circle"), "red circle");
  EXPECT_EQ(font_text("größe"),
            "gr\xF6\xDF"
            "e");
  EXPECT_EQ(font_text("猫 and кот"), "? and ???");
  EXPECT_EQ(font_text("a\nb\x7F"), "a?b?");
  EXPECT_EQ(font_text("\xFF\xC3"), "??");     // not UTF-8
  EXPECT_EQ(font_text("\xE7\x8C z"), "? z");  // cut off
  EXPECT_EQ(text_width("größe", Font::large), 5 * 8);
}

TEST(Text, IsShortenedToFit) {
  EXPECT_EQ(shortened("red circle", Font::large, 80), "red circle");
  EXPECT_EQ(shortened("red circle", Font::large, 79), "red ci...");
  EXPECT_EQ(shortened("a photo of a cat", Font::large, 8 * 12), "a photo o...");
  EXPECT_EQ(shortened("a photo of a cat", Font::large, 8 * 11), "a photo...");  // no space before the dots
  EXPECT_EQ(shortened("größe und gewicht", Font::large, 8 * 8), "größe...");
  EXPECT_EQ(shortened("cat food", Font::large, 16), "..");
  EXPECT_EQ(shortened("cat", Font::large, -5), "");
}

TEST(HeatColour, GrowsEvenlyBrighter) {
  EXPECT_EQ(heat_colour(0), (Colour{0, 0, 4}));
  EXPECT_EQ(heat_colour(1), (Colour{252, 255, 164}));
  EXPECT_EQ(heat_colour(-3), heat_colour(0));
  EXPECT_EQ(heat_colour(7), heat_colour(1));
  double last = -1;
  for (int i = 0; i <= 50; ++i) {
    const Colour c = heat_colour(static_cast<float>(i) / 50);
    const double luminance = 0.2126 * c.r + 0.7152 * c.g + 0.0722 * c.b;
    EXPECT_GT(luminance, last);
    EXPECT_LT(luminance - last, 9);
    last = luminance;
  }
}

TEST(UpsampleScores, IsBilinearBetweenMiddles) {
  const Tensor fine = upsample_scores(Tensor::from(std::vector<float>{0, 4}, {1, 2}), 2, 8);
  const std::vector<double> row{0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4};
  std::vector<double> both = row;
  both.insert(both.end(), row.begin(), row.end());
  EXPECT_EQ(fine.to_vector(), both);
  const Tensor square = upsample_scores(Tensor::from(std::vector<float>{0, 1, 2, 3}, {2, 2}), 4, 4);
  EXPECT_EQ(square.rows(1, 2).to_vector(), (std::vector<double>{0.5, 0.75, 1.25, 1.5}));
  EXPECT_EQ(upsample_scores(Tensor::full({1, 1}, 7), 3, 2).to_vector(), std::vector<double>(6, 7));
  const Tensor same = Tensor::from(std::vector<float>{5, 1, 2, 8, 3, 4}, {2, 3});
  EXPECT_EQ(upsample_scores(same, 2, 3).to_vector(), same.to_vector());
}

constexpr std::int64_t cell = 96, margin = 24, gap = 14, label = 22;  // the layout that the tests rely on

ActivationOptions small_cells() {
  ActivationOptions options;
  options.cell = cell;
  return options;
}

TEST(DrawActivations, BrightestWhereTheScoreIsHighest) {
  for (std::int64_t hot : {0, 5, 10, 15}) {
    Tensor scores = Tensor::zeros({4, 4});
    scores.data<float>()[hot] = 0.8F;
    const ActivationRow row{Tensor::full({64, 64, 3}, 100, DType::uint8), {{"hot", scores, {}}}, ""};
    const Tensor picture = draw_activations(std::span(&row, 1), small_cells());
    const std::int64_t x0 = margin + cell + gap, y0 = margin + label, patch = cell / 4;
    int best = -1;
    std::int64_t best_patch = -1;
    for (std::int64_t n = 0; n < 16; ++n) {
      const int b = brightness(picture, x0 + n % 4 * patch + patch / 2, y0 + n / 4 * patch + patch / 2);
      if (b > best) best = b, best_patch = n;
    }
    EXPECT_EQ(best_patch, hot);
    // Its white frame lies on the patch's own border.
    EXPECT_EQ(brightness(picture, x0 + hot % 4 * patch, y0 + hot / 4 * patch), 3 * 255);
    EXPECT_EQ(brightness(picture, x0 + (hot % 4 + 1) * patch - 1, y0 + (hot / 4 + 1) * patch - 1), 3 * 255);
  }
}

TEST(DrawActivations, ShowsImageAndBoxInTheirPlaces) {
  Tensor image = Tensor::zeros({8, 8, 3}, DType::uint8);
  for (std::int64_t c = 0; c < 3; ++c)
    image.data<std::uint8_t>()[(2 * 8 + 5) * 3 + c] = 200;  // row 2, column 5
  Tensor scores = Tensor::zeros({2, 2});
  scores.data<float>()[0] = 1;
  const ActivationRow row{image, {{"thing", scores, Box{0.625F, 0.625F, 0.75F, 1.0F}}}, "title"};
  const Tensor picture = draw_activations(std::span(&row, 1), small_cells());
  EXPECT_EQ(picture.dim(1), 2 * margin + 2 * cell + gap);
  EXPECT_EQ(brightness(picture, margin + 5 * 12, margin + label + 2 * 12), 600);
  EXPECT_EQ(brightness(picture, margin + 5 * 12 + 11, margin + label + 2 * 12 + 11), 600);
  EXPECT_EQ(brightness(picture, margin + 4 * 12 + 11, margin + label + 2 * 12), 0);
  EXPECT_EQ(brightness(picture, margin + 6 * 12, margin + label + 2 * 12), 0);
  const auto* corner =
      picture.data<std::uint8_t>() + ((margin + label + 60) * picture.dim(1) + margin + cell + gap + 60) * 3;
  EXPECT_EQ((Colour{corner[0], corner[1], corner[2]}), (Colour{64, 224, 208}));
}

TEST(DrawActivations, RangeIsShared) {
  // The same score looks the same in both panels, whatever else is in them.
  Tensor a = Tensor::full({2, 2}, 0.5), b = Tensor::full({2, 2}, 0.5);
  a.data<float>()[0] = 1;
  b.data<float>()[0] = 0.6F;
  const ActivationRow row{Tensor::full({4, 4, 3}, 50, DType::uint8), {{"a", a, {}}, {"b", b, {}}}, ""};
  const Tensor picture = draw_activations(std::span(&row, 1), small_cells());
  const std::int64_t y = margin + label + cell - 4, x = margin + cell + gap + cell - 4;
  EXPECT_EQ(brightness(picture, x, y), brightness(picture, x + cell + gap, y));
  ActivationOptions wide = small_cells();
  wide.low = 0.0F;
  wide.high = 0.5F;
  EXPECT_GT(brightness(draw_activations(std::span(&row, 1), wide), x, y), brightness(picture, x, y));
}

TEST(Darken, EachPatchByItsShareOfTheLargest) {
  // As numpy: (image * np.kron(w / w.max(), np.ones((2, 2)))[..., None]).astype(np.uint8)
  Tensor image({2, 4, 3}, DType::uint8);
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(10 * i + 9);
  const Tensor dark = darken(image, Tensor::from(std::vector<float>{0.1F, 0.4F}, {1, 2}));
  for (std::int64_t i = 0; i < image.numel(); ++i) {
    const int pixel = image.data<std::uint8_t>()[i];
    EXPECT_EQ(dark.data<std::uint8_t>()[i], i / 3 % 4 < 2 ? pixel / 4 : pixel) << i;
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor odd = darken(image, Tensor::from(std::vector<float>{nan, -3, 0, 2}, {2, 2}));
  EXPECT_EQ(odd.to_vector()[0], 0);
  EXPECT_EQ(odd.to_vector()[9], 0);
  EXPECT_EQ(odd.to_vector()[12], 0);
  EXPECT_EQ(odd.to_vector()[23], image.to_vector()[23]);
  for (const double x : darken(image, Tensor::zeros({2, 2})).to_vector()) EXPECT_EQ(x, 0);
  EXPECT_EQ(message_of([&] { darken(image, Tensor::zeros({4})); }),
            "darken: weights float32 [4] must be float32 [rows, columns]");
}

TEST(DrawActivations, WeightsDarkenTheImageAndLeaveTheScaleAlone) {
  const Tensor image = Tensor::full({64, 64, 3}, 100, DType::uint8);
  Tensor scores = Tensor::zeros({2, 2}), weights = Tensor::full({2, 2}, 0.2);
  scores.data<float>()[0] = 0.5F;
  weights.data<float>()[3] = 0.4F;
  const ActivationRow row{image, {{"a", scores, {}}, {"a", weights, {}, PanelKind::weights}}, ""};
  const Tensor picture = draw_activations(std::span(&row, 1), small_cells());
  const std::int64_t x = margin + 2 * (cell + gap) + cell / 4, y = margin + label + cell / 4;
  EXPECT_EQ(brightness(picture, x, y), 3 * 50);
  EXPECT_EQ(brightness(picture, x + cell / 2, y + cell / 2), 3 * 100);
  EXPECT_EQ(brightness(picture, x + cell / 4, y + cell / 4), 3 * 100);  // no blend between patches
  // The heat map is drawn as if it were alone.
  const ActivationRow alone{image, {{"a", scores, {}}}, ""};
  const Tensor other = draw_activations(std::span(&alone, 1), small_cells());
  for (std::int64_t i = 0; i < cell; ++i)
    EXPECT_EQ(brightness(picture, margin + cell + gap + i, margin + label + i),
              brightness(other, margin + cell + gap + i, margin + label + i));
  // Without a heat map there is no scale bar.
  const ActivationRow bare{image, {{"a", weights, {}, PanelKind::weights}}, ""};
  const Tensor plain = draw_activations(std::span(&bare, 1), small_cells());
  const std::int64_t bar_y = margin + label + cell + gap + 6 + 8;
  int brightest = 0, brightest_with = 0;
  for (std::int64_t i = margin + 40; i < margin + 100; ++i) {
    brightest = std::max(brightest, brightness(plain, i, bar_y + 3) > 600 ? 1 : 0);
    brightest_with = std::max(brightest_with, brightness(other, i, bar_y + 3));
  }
  EXPECT_GT(brightest_with, 300);
  EXPECT_NE(plain.to_vector(), other.to_vector());
  EXPECT_EQ(brightest, 0);
}

TEST(DrawActivations, OddInputsAreDrawn) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<ActivationRow> rows{
      {Tensor::full({30, 10, 3}, 9, DType::uint8), {{"upright", Tensor::full({3, 1}, nan), {}}}, "no score"},
      {Tensor::full({500, 700, 3}, 9, DType::uint8),
       {{"", Tensor::full({2, 2}, -0.25), Box{-1, 0.5F, 2, nan}}, {"second", Tensor::zeros({1, 1}), {}}},
       "reduced"},
      {Tensor::full({1, 1, 3}, 9, DType::uint8), {}, "no panel"}};
  const Tensor picture = draw_activations(rows, small_cells());
  EXPECT_EQ(picture.dim(1), 2 * margin + 3 * cell + 2 * gap);
  EXPECT_EQ(picture.to_vector(), draw_activations(rows, small_cells()).to_vector());
  const ActivationRow bare{Tensor::zeros({4, 4, 3}, DType::uint8), {}, ""};
  EXPECT_EQ(draw_activations(std::span(&bare, 1), small_cells()).dim(1), 2 * margin + cell);
}

TEST(DrawActivations, ErrorsAreOneLine) {
  const auto draw = [](const ActivationRow& row, const ActivationOptions& options = small_cells()) {
    return message_of([&] { draw_activations(std::span(&row, 1), options); });
  };
  const Tensor image = Tensor::zeros({4, 4, 3}, DType::uint8);
  EXPECT_EQ(message_of([] { draw_activations({}); }), "draw_activations: no images to draw");
  EXPECT_EQ(draw({Tensor::zeros({4, 4, 3}), {}, ""}),
            "draw_activations: image float32 [4, 4, 3] must be uint8 [H, W, 3]");
  EXPECT_EQ(draw({Tensor::zeros({4, 4}, DType::uint8), {}, ""}),
            "draw_activations: image uint8 [4, 4] must be uint8 [H, W, 3]");
  EXPECT_EQ(draw({image, {{"cat", Tensor::zeros({64}), {}}}, ""}),
            "draw_activations: scores float32 [64] of \"cat\" must be float32 [rows, columns]");
  ActivationOptions options = small_cells();
  options.low = 0.5F;
  options.high = 0.5F;
  EXPECT_EQ(draw({image, {}, ""}, options), "draw_activations: low 0.5 must be below high 0.5");
  options.cell = 3;
  EXPECT_EQ(draw({image, {}, ""}, options), "draw_activations: cell is 3, it must be in 32..4096");
  const std::vector<ActivationRow> many(
      20, {image, std::vector<ActivationPanel>(10, {"", Tensor::zeros({1, 1}), {}}), ""});
  options = {};
  options.cell = 4096;
  EXPECT_EQ(message_of([&] { draw_activations(many, options); }),
            "draw_activations: 20 rows of 10 panels are too large for one picture, draw fewer");
}

}  // namespace
}  // namespace vitral::infer
