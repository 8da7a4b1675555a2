// The objects of scenes: 140 emoji of one code point each, no two of which look alike or mean the same.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::data {

struct EmojiClass {
  char32_t code;
  std::string_view phrase;  // "an apple"; "corn" has no article

  /// "apple"
  std::string_view name() const;
};

std::span<const EmojiClass> emoji_classes();

/// A picture cut to what can be seen of it.
struct EmojiPicture {
  Tensor colour;  // uint8 [H,W,3], RGB multiplied with alpha
  Tensor alpha;   // uint8 [H,W,3], the same three times: so resize() scales it as it scales the colours
};

/// Noto Color Emoji, where distributions put it. UsageError: it is in none of these places.
std::string find_emoji_font();

/// All classes, in their order, as the largest bitmaps of the font have them (Noto Color Emoji: 136 x 128).
/// UsageError: no such file, no font, one without bitmaps in colour, or without one of the classes.
std::vector<EmojiPicture> draw_emoji(const std::string& font);

}  // namespace vitral::data
