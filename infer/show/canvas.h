// A small RGB canvas for the program's pictures: rectangles, frames, and text in libgd's bitmap fonts.
// Everything outside the canvas is clipped.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "tensor/tensor.h"

namespace vitral::infer {

struct Colour {
  std::uint8_t r = 0, g = 0, b = 0;
  bool operator==(const Colour&) const = default;
};

/// (1 - amount) a + amount b, amount in 0..1.
Colour mix(Colour a, Colour b, float amount);

enum class Font { small, large };  // 6x13 and 8x16 pixels a character

struct Rect {
  std::int64_t x = 0, y = 0, width = 0, height = 0;
};

class Canvas {
 public:
  Canvas(std::int64_t width, std::int64_t height, Colour background);

  void set(std::int64_t x, std::int64_t y, Colour colour);
  Colour at(std::int64_t x, std::int64_t y) const;
  void fill(const Rect& rect, Colour colour);
  /// A frame of `thickness` pixels along the inside of the rectangle.
  void frame(const Rect& rect, std::int64_t thickness, Colour colour);
  /// `x`, `y`: the top left corner of the first character.
  void text(std::int64_t x, std::int64_t y, std::string_view utf8, Font font, Colour colour);

  const Tensor& image() const { return image_; }  // uint8 [H,W,3]

 private:
  Tensor image_;
};

std::int64_t character_width(Font font);
/// Width in pixels of the text as Canvas::text draws it.
std::int64_t text_width(std::string_view utf8, Font font);
/// One byte a character, in the encoding of libgd's fonts; characters that they lack become '?'.
std::string font_text(std::string_view utf8);
/// The text itself, or its beginning and "..." so that it fits `width` pixels.
std::string shortened(std::string_view utf8, Font font, std::int64_t width);

}  // namespace vitral::infer
