// The bytes are an image file of any format.
#include "data/images/image.h"

#include <algorithm>

#include "data/images/codec.h"
#include "data/images/png_samples.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  // Compressed pixels take more room than their file: of JPEG and PNG at most 2,048 pixels a byte or a
  // million pixels, twice over while CMYK becomes RGB and in the decoders' own buffers (data/images/jpeg.cpp,
  // data/images/png.cpp). The others bound their size alone; most inputs claim less.
  const data::Bytes bytes{data, size};
  const bool bounded = data::is_jpeg(bytes) || data::is_png(bytes);
  const std::size_t pixels =
      bounded ? std::max<std::size_t>(1 << 20, size * 2048) : std::size_t{data::max_image_pixels};
  fuzz::check(
      size, 16,
      [&] {
        data::looks_like_image(bytes);
        data::decode_image(bytes, "image");
        data::decode_image(bytes, "image", {.min_side = 1});
        if (data::is_png(bytes)) data::decode_png_samples(bytes, "image");
      },
      pixels * 16);
  return 0;
}
