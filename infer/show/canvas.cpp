#include "infer/show/canvas.h"

#include <algorithm>
#include <cmath>

#include <gd.h>
#include <gdfontl.h>
#include <gdfonts.h>

namespace vitral::infer {
namespace {

// libgd's fonts are ISO 8859-2: ASCII, and these of Latin-1 have the same code there.
constexpr std::u32string_view shared_latin = U"§¨°´ÁÂÄÇÉËÍÎÓÔÖ×ÚÜÝßáâäçéëíîóôö÷úüý";

const gdFont& face(Font font) { return *(font == Font::small ? gdFontGetSmall() : gdFontGetLarge()); }

// Decodes one character and moves `at` behind it; U+FFFD for what is not UTF-8.
char32_t next_character(std::string_view s, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = byte(at++);
  if (first < 0x80) return first;
  const int more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : first >= 0xC0 ? 1 : 0;
  char32_t code = first & (0x3FU >> more);
  for (int i = 0; i < more; ++i) {
    if (at >= s.size() || (byte(at) & 0xC0U) != 0x80U) return 0xFFFD;
    code = code << 6 | (byte(at++) & 0x3FU);
  }
  return more == 0 ? 0xFFFD : code;
}

}  // namespace

Colour mix(Colour a, Colour b, float amount) {
  const auto channel = [amount](std::uint8_t from, std::uint8_t to) {
    const float value =
        static_cast<float>(from) + amount * (static_cast<float>(to) - static_cast<float>(from));
    return static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.0F, 255.0F)));
  };
  return {channel(a.r, b.r), channel(a.g, b.g), channel(a.b, b.b)};
}

Canvas::Canvas(std::int64_t width, std::int64_t height, Colour background)
    : image_({height, width, 3}, DType::uint8) {
  fill({0, 0, width, height}, background);
}

void Canvas::set(std::int64_t x, std::int64_t y, Colour colour) {
  if (x < 0 || y < 0 || x >= image_.dim(1) || y >= image_.dim(0)) return;
  std::uint8_t* pixel = image_.data<std::uint8_t>() + (y * image_.dim(1) + x) * 3;
  pixel[0] = colour.r;
  pixel[1] = colour.g;
  pixel[2] = colour.b;
}

Colour Canvas::at(std::int64_t x, std::int64_t y) const {
  VITRAL_CHECK(x >= 0 && y >= 0 && x < image_.dim(1) && y < image_.dim(0), "canvas: ({}, {}) is outside {}",
               x, y, image_.shape());
  const std::uint8_t* pixel = image_.data<std::uint8_t>() + (y * image_.dim(1) + x) * 3;
  return {pixel[0], pixel[1], pixel[2]};
}

void Canvas::fill(const Rect& rect, Colour colour) {
  for (std::int64_t y = std::max<std::int64_t>(rect.y, 0); y < std::min(rect.y + rect.height, image_.dim(0));
       ++y)
    for (std::int64_t x = rect.x; x < rect.x + rect.width; ++x) set(x, y, colour);
}

void Canvas::frame(const Rect& r, std::int64_t thickness, Colour colour) {
  fill({r.x, r.y, r.width, thickness}, colour);
  fill({r.x, r.y + r.height - thickness, r.width, thickness}, colour);
  fill({r.x, r.y, thickness, r.height}, colour);
  fill({r.x + r.width - thickness, r.y, thickness, r.height}, colour);
}

void Canvas::text(std::int64_t x, std::int64_t y, std::string_view utf8, Font font, Colour colour) {
  const gdFont& f = face(font);
  for (const char c : font_text(utf8)) {
    const int index = static_cast<unsigned char>(c) - f.offset;
    if (index >= 0 && index < f.nchars) {
      const char* bits = f.data + static_cast<std::ptrdiff_t>(index) * f.w * f.h;
      for (int row = 0; row < f.h; ++row)
        for (int column = 0; column < f.w; ++column)
          if (bits[row * f.w + column]) set(x + column, y + row, colour);
    }
    x += f.w;
  }
}

std::int64_t character_width(Font font) { return face(font).w; }

std::string font_text(std::string_view utf8) {
  std::string text;
  for (std::size_t at = 0; at < utf8.size();) {
    const char32_t code = next_character(utf8, at);
    const bool known = (code >= 0x20 && code < 0x7F) || shared_latin.find(code) != std::u32string_view::npos;
    text += known ? static_cast<char>(static_cast<unsigned char>(code)) : '?';
  }
  return text;
}

std::int64_t text_width(std::string_view utf8, Font font) {
  return static_cast<std::int64_t>(font_text(utf8).size()) * character_width(font);
}

std::string shortened(std::string_view utf8, Font font, std::int64_t width) {
  const std::int64_t fits = std::max<std::int64_t>(width / character_width(font), 0);
  if (text_width(utf8, font) <= fits * character_width(font)) return std::string(utf8);
  const std::string_view dots =
      std::string_view("...").substr(0, static_cast<std::size_t>(std::min<std::int64_t>(fits, 3)));
  std::size_t end = 0;
  for (std::int64_t i = 0; i < fits - 3; ++i) next_character(utf8, end);
  std::string kept(utf8.substr(0, end));
  while (!kept.empty() && kept.back() == ' ') kept.pop_back();
  return kept.append(dots);
}

}  // namespace vitral::infer
