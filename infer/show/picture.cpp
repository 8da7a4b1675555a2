#include "infer/show/picture.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "infer/measure/patch_scores.h"
#include "infer/show/palette.h"
#include "infer/show/thumbnail.h"

namespace vitral::infer {
namespace {

using namespace palette;

constexpr Colour dark{10, 11, 14};
constexpr Colour peak_colour{255, 255, 255};
constexpr Colour box_colour{64, 224, 208};

constexpr std::int64_t label_height = 22, footer_height = 44;
constexpr std::int64_t legend_height = 20;

struct Range {
  float low = 0, high = 1;
  float place(float score) const {
    const float t = (score - low) / (high - low);
    return std::isfinite(t) ? std::clamp(t, 0.0F, 1.0F) : 0.0F;  // not finite: as low as can be
  }
};

void check(std::span<const ActivationRow> rows, const ActivationOptions& options) {
  VITRAL_CHECK(!rows.empty(), "draw_activations: no images to draw");
  VITRAL_CHECK(options.cell >= 32 && options.cell <= 4096,
               "draw_activations: cell is {}, it must be in 32..4096", options.cell);
  for (const ActivationRow& row : rows) {
    VITRAL_CHECK(row.image.dtype() == DType::uint8 && row.image.rank() == 3 && row.image.dim(2) == 3 &&
                     row.image.numel() > 0,
                 "draw_activations: image {} {} must be uint8 [H, W, 3]", row.image.dtype(),
                 row.image.shape());
    for (const ActivationPanel& panel : row.panels)
      VITRAL_CHECK(
          panel.scores.dtype() == DType::float32 && panel.scores.rank() == 2 && panel.scores.numel() > 0,
          "draw_activations: scores {} {} of \"{}\" must be float32 [rows, columns]", panel.scores.dtype(),
          panel.scores.shape(), panel.label);
  }
}

Range score_range(std::span<const ActivationRow> rows, const ActivationOptions& options) {
  float low = std::numeric_limits<float>::infinity(), high = -low;
  for (const ActivationRow& row : rows)
    for (const ActivationPanel& panel : row.panels)
      for (const float s :
           panel.kind != PanelKind::scores
               ? std::span<const float>()
               : std::span(panel.scores.data<float>(), static_cast<std::size_t>(panel.scores.numel())))
        if (std::isfinite(s)) low = std::min(low, s), high = std::max(high, s);
  if (low > high) low = 0, high = 1;                 // nothing finite
  if (high > 0) low = std::max(low, 0.0F);           // below 0 a cosine says no more than "something else"
  if (low >= high) low = high - 0.5F, high += 0.5F;  // one value everywhere: the middle of the scale
  const Range range{options.low.value_or(low), options.high.value_or(high)};
  VITRAL_CHECK(range.low < range.high, "draw_activations: low {} must be below high {}", range.low,
               range.high);
  return range;
}

float luminance(Colour c) {
  return (0.299F * static_cast<float>(c.r) + 0.587F * static_cast<float>(c.g) +
          0.114F * static_cast<float>(c.b)) /
         255;
}

void draw_heat(Canvas& canvas, const Rect& at, const Tensor& image, const Tensor& scores,
               const Range& range) {
  const Tensor fine = upsample_scores(scores, at.height, at.width);
  for (std::int64_t y = 0; y < at.height; ++y)
    for (std::int64_t x = 0; x < at.width; ++x) {
      const float grey = 0.08F + 0.6F * luminance(image_colour(image, at, x, y));
      const float t = range.place(fine.data<float>()[y * at.width + x]);
      // Low scores let the image through, high ones stand out.
      canvas.set(at.x + x, at.y + y,
                 mix(mix({0, 0, 0}, {255, 255, 255}, grey), heat_colour(t), 0.45F + 0.4F * t));
    }
}

// A line that shows on any ground: the colour with a dark edge on both sides.
void outline(Canvas& canvas, const Rect& r, std::int64_t thickness, Colour colour) {
  canvas.frame({r.x - 1, r.y - 1, r.width + 2, r.height + 2}, thickness + 2, dark);
  canvas.frame(r, thickness, colour);
}

Rect box_in(const Rect& at, const Box& box) {
  const auto place = [](std::int64_t from, std::int64_t size, float t) {
    const float inside = std::isfinite(t) ? std::clamp(t, 0.0F, 1.0F) : 0.0F;
    return from + static_cast<std::int64_t>(std::lround(inside * static_cast<float>(size)));
  };
  const std::int64_t x0 = place(at.x, at.width, box[0]), x1 = place(at.x, at.width, box[2]);
  const std::int64_t y0 = place(at.y, at.height, box[1]), y1 = place(at.y, at.height, box[3]);
  return {x0, y0, x1 - x0, y1 - y0};
}

float largest_weight(const Tensor& weights) {
  float largest = 0;
  for (const float w : std::span(weights.data<float>(), static_cast<std::size_t>(weights.numel())))
    if (std::isfinite(w)) largest = std::max(largest, w);
  return largest;
}

// At the size of the rectangle first: what is darkened is what is seen.
void draw_weights(Canvas& canvas, const Rect& at, const Tensor& image, const Tensor& weights) {
  Tensor reduced({at.height, at.width, 3}, DType::uint8);
  std::uint8_t* to = reduced.data<std::uint8_t>();
  for (std::int64_t y = 0; y < at.height; ++y)
    for (std::int64_t x = 0; x < at.width; ++x) {
      const Colour c = image_colour(image, at, x, y);
      *to++ = c.r, *to++ = c.g, *to++ = c.b;
    }
  draw_image(canvas, at, darken(reduced, weights));
}

void draw_panel(Canvas& canvas, std::int64_t x, std::int64_t y, const Tensor& image,
                const ActivationPanel& panel, const ActivationOptions& options, const Range& range) {
  const std::int64_t rows = panel.scores.dim(0), columns = panel.scores.dim(1);
  const Rect at = fit(image, x, y + label_height, options.cell);
  const bool heat = panel.kind == PanelKind::scores;
  if (heat)
    draw_heat(canvas, at, image, panel.scores, range);
  else
    draw_weights(canvas, at, image, panel.scores);
  const std::int64_t peak = pointed_patch(panel.scores.reshape({rows * columns}));
  std::int64_t label_width = options.cell;
  const auto value_over = [&](const std::string& value) {
    const std::int64_t value_width = text_width(value, Font::small);
    canvas.text(x + options.cell - value_width, y + 2, value, Font::small, dim_ink);
    label_width -= value_width + 8;
  };
  if (panel.box) outline(canvas, box_in(at, *panel.box), 1, box_colour);
  if (!heat) value_over(fmt::format("{:.0f}%", 100 * largest_weight(panel.scores)));
  if (heat && peak >= 0) {
    const std::int64_t r = peak / columns, c = peak % columns;
    outline(canvas,
            box_in(at, {static_cast<float>(c) / static_cast<float>(columns),
                        static_cast<float>(r) / static_cast<float>(rows),
                        static_cast<float>(c + 1) / static_cast<float>(columns),
                        static_cast<float>(r + 1) / static_cast<float>(rows)}),
            2, peak_colour);
    value_over(fmt::format("{:.2f}", panel.scores.data<float>()[peak]));
  }
  canvas.text(x, y, shortened(panel.label, Font::large, label_width), Font::large, ink);
}

// What the picture holds, for the footer.
struct Contents {
  bool heat = false, weights = false, boxes = false;
};

// The scale bar with its ends.
void draw_scale(Canvas& canvas, std::int64_t y, std::int64_t width, const Range& range,
                const std::string& caption) {
  const std::string low = fmt::format("{:.2f}", range.low), high = fmt::format("{:.2f}", range.high);
  const std::int64_t text_y = y + 2;
  std::int64_t x = margin;
  canvas.text(x, text_y, low, Font::small, dim_ink);
  x += text_width(low, Font::small) + 8;
  const std::int64_t bar = std::min<std::int64_t>(192, width / 3);
  for (std::int64_t i = 0; i < bar; ++i)
    canvas.fill({x + i, y + 2, 1, 13}, heat_colour(static_cast<float>(i) / static_cast<float>(bar - 1)));
  x += bar + 8;
  canvas.text(x, text_y, high, Font::small, dim_ink);
  x += text_width(high, Font::small) + 12;
  canvas.text(x, text_y, shortened(caption, Font::small, width - margin - x), Font::small, dim_ink);
}

// Below the rows: the scale bar, and what frames and dark patches mean.
void draw_footer(Canvas& canvas, std::int64_t y, std::int64_t width, const Range& range, const Contents& has,
                 const std::string& caption) {
  if (has.heat) {
    draw_scale(canvas, y, width, range, caption);
    y += legend_height;
  }
  std::int64_t x = margin;
  const auto entry = [&](Colour colour, std::int64_t thickness, const char* what) {
    if (x + 20 + text_width(what, Font::small) > width - margin) return;  // a narrow picture
    canvas.frame({x, y + 2, 13, 13}, thickness, colour);
    canvas.text(x + 20, y + 2, what, Font::small, dim_ink);
    x += 20 + text_width(what, Font::small) + 24;
  };
  if (has.heat) entry(peak_colour, 2, "highest patch");
  if (has.boxes) entry(box_colour, 1, "labelled object");
  if (has.weights)
    canvas.text(x, y + 2,
                shortened("brightness: weight; over it the largest", Font::small, width - margin - x),
                Font::small, dim_ink);
}

}  // namespace

Colour heat_colour(float t) {
  static constexpr std::array<Colour, 10> stops{{{0, 0, 4},
                                                 {27, 12, 66},
                                                 {75, 12, 107},
                                                 {120, 28, 109},
                                                 {165, 44, 96},
                                                 {207, 68, 70},
                                                 {237, 105, 37},
                                                 {251, 154, 6},
                                                 {247, 208, 60},
                                                 {252, 255, 164}}};
  const float place = std::clamp(t, 0.0F, 1.0F) * static_cast<float>(stops.size() - 1);
  const auto below = std::min(static_cast<std::size_t>(place), stops.size() - 2);
  return mix(stops[below], stops[below + 1], place - static_cast<float>(below));
}

Tensor darken(const Tensor& image, const Tensor& weights) {
  VITRAL_CHECK(weights.dtype() == DType::float32 && weights.rank() == 2 && weights.numel() > 0,
               "darken: weights {} {} must be float32 [rows, columns]", weights.dtype(), weights.shape());
  const std::int64_t height = image.dim(0), width = image.dim(1);
  const float largest = largest_weight(weights);
  Tensor out({height, width, 3}, DType::uint8);
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x) {
      const std::int64_t row = y * weights.dim(0) / height, column = x * weights.dim(1) / width;
      const float w = weights.data<float>()[row * weights.dim(1) + column];
      const float share = largest > 0 && std::isfinite(w) ? std::max(w, 0.0F) / largest : 0.0F;
      for (std::int64_t c = 0; c < 3; ++c) {
        const std::int64_t at = (y * width + x) * 3 + c;
        out.data<std::uint8_t>()[at] =
            static_cast<std::uint8_t>(static_cast<float>(image.data<std::uint8_t>()[at]) * share);
      }
    }
  return out;
}

Tensor draw_activations(std::span<const ActivationRow> rows, const ActivationOptions& options) {
  check(rows, options);
  const Range range = score_range(rows, options);
  std::size_t panels = 0;
  Contents has;
  for (const ActivationRow& row : rows) {
    panels = std::max(panels, row.panels.size());
    for (const ActivationPanel& panel : row.panels) {
      has.boxes = has.boxes || panel.box.has_value();
      (panel.kind == PanelKind::scores ? has.heat : has.weights) = true;
    }
  }
  const std::int64_t cell = options.cell, count = static_cast<std::int64_t>(rows.size());
  const auto columns = static_cast<std::int64_t>(panels) + 1;
  const std::int64_t row_height = label_height + cell + gap;
  const std::int64_t width = 2 * margin + columns * cell + (columns - 1) * gap;
  const std::int64_t height = 2 * margin + count * row_height + footer_height;
  VITRAL_CHECK(count <= 1 << 14 && columns <= 1 << 14 && width * height <= std::int64_t{1} << 27,
               "draw_activations: {} rows of {} panels are too large for one picture, draw fewer", count,
               panels);
  Canvas canvas(width, height, background);
  for (std::int64_t i = 0; i < count; ++i) {
    const ActivationRow& row = rows[static_cast<std::size_t>(i)];
    const std::int64_t y = margin + i * row_height;
    canvas.text(margin, y, shortened(row.title, Font::large, cell), Font::large, dim_ink);
    draw_image(canvas, fit(row.image, margin, y + label_height, cell), row.image);
    std::int64_t x = margin;
    for (const ActivationPanel& panel : row.panels)
      draw_panel(canvas, x += cell + gap, y, row.image, panel, options, range);
  }
  draw_footer(canvas, margin + count * row_height + 6, width, range, has, options.caption);
  return canvas.image();
}

}  // namespace vitral::infer
