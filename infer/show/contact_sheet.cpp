#include "infer/show/contact_sheet.h"

#include <algorithm>

#include "data/images/image.h"
#include "infer/show/canvas.h"
#include "infer/show/palette.h"
#include "infer/show/thumbnail.h"

namespace vitral::infer {
namespace {

using namespace palette;

constexpr std::int64_t heading_height = 24, caption_height = 18;

std::int64_t lines_of(const SheetLine& line, std::int64_t columns) {
  const auto count = static_cast<std::int64_t>(line.images.size());
  return std::max<std::int64_t>(1, (count + columns - 1) / columns);
}

}  // namespace

Tensor draw_contact_sheet(std::span<const SheetLine> lines, const SheetOptions& options) {
  VITRAL_CHECK(!lines.empty(), "contact sheet: nothing to draw");
  VITRAL_CHECK(options.cell >= 32 && options.cell <= 4096 && options.columns >= 1 && options.columns <= 1024,
               "contact sheet: cell {} must be in 32..4096 and columns {} in 1..1024", options.cell,
               options.columns);
  const std::int64_t cell = options.cell, line_height = cell + caption_height + gap;
  std::int64_t columns = 1, height = 2 * margin;
  for (const SheetLine& line : lines) {
    columns = std::max(
        columns, std::min<std::int64_t>(options.columns, static_cast<std::int64_t>(line.images.size())));
    height += heading_height + lines_of(line, options.columns) * line_height;
    for (const SheetImage& image : line.images)
      if (image.image.defined()) data::check_image("contact sheet", image.image);
  }
  const std::int64_t width = 2 * margin + columns * cell + (columns - 1) * gap;
  VITRAL_CHECK(height <= 1 << 20 && width * height <= std::int64_t{1} << 27,
               "contact sheet: {} lines of images of {} pixels are too large for one picture, draw fewer",
               lines.size(), cell);
  Canvas canvas(width, height, background);
  std::int64_t y = margin;
  for (const SheetLine& line : lines) {
    canvas.text(margin, y, shortened(line.heading, Font::large, width - 2 * margin), Font::large, ink);
    y += heading_height;
    for (std::size_t i = 0; i < line.images.size(); ++i) {
      const SheetImage& image = line.images[i];
      const auto place = static_cast<std::int64_t>(i);
      const std::int64_t x = margin + place % options.columns * (cell + gap),
                         top = y + place / options.columns * line_height;
      if (image.image.defined())
        draw_image(canvas, fit(image.image, x, top, cell), image.image);
      else
        canvas.fill({x, top, cell, cell}, empty);
      canvas.text(x, top + cell + 2, shortened(image.caption, Font::small, cell), Font::small, dim_ink);
    }
    y += lines_of(line, options.columns) * line_height;
  }
  return canvas.image();
}

}  // namespace vitral::infer
