// What all pictures of the program have in common: colours, and the space around things.
#pragma once
#include "infer/show/canvas.h"

namespace vitral::infer::palette {

inline constexpr Colour background{22, 24, 29};
inline constexpr Colour empty{38, 41, 48};  // a place without an image
inline constexpr Colour ink{232, 234, 238};
inline constexpr Colour dim_ink{150, 155, 166};
inline constexpr std::int64_t margin = 24, gap = 14;

}  // namespace vitral::infer::palette
