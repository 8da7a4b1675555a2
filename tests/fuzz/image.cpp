// The bytes are a JPEG or PNG file.
#include "data/images/image.h"

#include <algorithm>

#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  // Compressed pixels take more room than their file: at most 2,048 pixels a byte or a million pixels, twice
  // over while CMYK becomes RGB and in the decoders' own buffers (data/images/jpeg.cpp, data/images/png.cpp).
  const std::size_t pixels = std::max<std::size_t>(1 << 20, size * 2048);
  fuzz::check(
      size, 16,
      [&] {
        const fuzz::Bytes bytes{data, size};
        data::looks_like_image(bytes);
        data::decode_image(bytes, "image");
        data::decode_image(bytes, "image", {.min_side = 1});
      },
      pixels * 16);
  return 0;
}
