#include "data/benchmarks/emoji.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <type_traits>

#include <ft2build.h>
#include FT_FREETYPE_H

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/home.h"
#include "base/utf8.h"

namespace vitral::data {
namespace {

constexpr EmojiClass classes[] = {
#include "data/benchmarks/emoji_classes.inc"
};

constexpr const char* package = "the package fonts-noto-color-emoji has one";

constexpr std::array places{
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",      // Debian, Ubuntu
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",               // Arch
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",  // Fedora
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto-emoji/NotoColorEmoji.ttf",  // Alpine
    "/usr/local/share/fonts/NotoColorEmoji.ttf",
    "~/.local/share/fonts/NotoColorEmoji.ttf",
};

using Library = std::unique_ptr<std::remove_pointer_t<FT_Library>, decltype(&FT_Done_FreeType)>;
using Face = std::unique_ptr<std::remove_pointer_t<FT_Face>, decltype(&FT_Done_Face)>;

Face open_font(FT_Library library, const std::string& path) {
  { const InputFile readable(path); }  // says why a file cannot be read
  FT_Face opened = nullptr;
  if (FT_New_Face(library, path.c_str(), 0, &opened) != 0)
    throw_error<UsageError>("{}: cannot be read as a font; name a TrueType or OpenType file", path);
  Face face(opened, FT_Done_Face);
  if (!FT_HAS_COLOR(opened) || opened->num_fixed_sizes < 1)
    throw_error<UsageError>("{}: is a font without bitmaps in colour; {}", path, package);
  FT_Int largest = 0;
  for (FT_Int i = 1; i < opened->num_fixed_sizes; ++i)
    if (opened->available_sizes[i].y_ppem > opened->available_sizes[largest].y_ppem) largest = i;
  if (FT_Select_Size(opened, largest) != 0)
    throw_error<UsageError>("{}: its bitmaps cannot be read, the font is damaged; {}", path, package);
  return face;
}

// The rows and columns that hold anything, as a picture. Undefined colour: nothing does.
EmojiPicture cut_out(const FT_Bitmap& bitmap) {
  constexpr int seen = 16;  // of 255: less is the blurred edge
  const auto width = static_cast<int>(bitmap.width), height = static_cast<int>(bitmap.rows);
  const auto pixel = [&](int x, int y) {
    return bitmap.buffer + std::ptrdiff_t{y} * bitmap.pitch + std::ptrdiff_t{4} * x;
  };
  int x0 = width, x1 = 0, y0 = height, y1 = 0;
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) {
      if (pixel(x, y)[3] < seen) continue;
      x0 = std::min(x0, x), x1 = std::max(x1, x + 1);
      y0 = std::min(y0, y), y1 = std::max(y1, y + 1);
    }
  if (x0 >= x1) return {};
  EmojiPicture out{Tensor({y1 - y0, x1 - x0, 3}, DType::uint8), Tensor({y1 - y0, x1 - x0, 3}, DType::uint8)};
  auto *colour = out.colour.data<std::uint8_t>(), *alpha = out.alpha.data<std::uint8_t>();
  for (int y = y0; y < y1; ++y)
    for (int x = x0; x < x1; ++x)
      for (int c = 0; c < 3; ++c) {
        *colour++ = pixel(x, y)[2 - c];  // stored as blue, green, red
        *alpha++ = pixel(x, y)[3];
      }
  return out;
}

}  // namespace

std::string_view EmojiClass::name() const {
  for (const std::string_view article : {"a ", "an "})
    if (phrase.starts_with(article)) return phrase.substr(article.size());
  return phrase;
}

std::span<const EmojiClass> emoji_classes() { return classes; }

std::string find_emoji_font() {
  std::error_code ignored;
  for (const char* place : places)
    if (const std::string path = expand_home(place); std::filesystem::exists(path, ignored)) return path;
  throw_error<UsageError>(
      "scenes: Noto Color Emoji is not installed; install the package fonts-noto-color-emoji, or name the "
      "font with --font FILE");
}

std::vector<EmojiPicture> draw_emoji(const std::string& font) {
  FT_Library opened = nullptr;
  if (FT_Init_FreeType(&opened) != 0) throw_error("FreeType cannot be started; install it again");
  const Library library(opened, FT_Done_FreeType);
  const Face face = open_font(library.get(), font);
  std::vector<EmojiPicture> out;
  for (const EmojiClass& one : emoji_classes()) {
    const FT_UInt glyph = FT_Get_Char_Index(face.get(), one.code);
    const bool drawn = glyph != 0 && FT_Load_Glyph(face.get(), glyph, FT_LOAD_COLOR) == 0 &&
                       face->glyph->bitmap.pixel_mode == FT_PIXEL_MODE_BGRA;
    if (drawn) out.push_back(cut_out(face->glyph->bitmap));
    if (!drawn || !out.back().colour.defined())
      throw_error<UsageError>("{}: has no picture in colour of {} (U+{:04X}, {}); {}", font, one.phrase,
                              static_cast<std::uint32_t>(one.code), to_utf8({&one.code, 1}), package);
  }
  return out;
}

}  // namespace vitral::data
