#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include <gif_lib.h>

#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

struct Close {
  void operator()(GifFileType* file) const {
    int ignored = 0;
    DGifCloseFile(file, &ignored);
  }
};

int read(GifFileType* file, GifByteType* to, int size) {
  auto& rest = *static_cast<Bytes*>(file->UserData);
  const std::size_t count = std::min(rest.size(), static_cast<std::size_t>(std::max(size, 0)));
  std::memcpy(to, rest.data(), count);
  rest = rest.subspan(count);
  return static_cast<int>(count);
}

}  // namespace

bool is_gif(Bytes bytes) { return holds(bytes, 0, "GIF87a") || holds(bytes, 0, "GIF89a"); }

// The first frame on its canvas, as Pillow: what the frame leaves free has the transparent colour, else the
// first one.
Decoded decode_gif(Bytes bytes, const std::string& name, std::int64_t /*min_side*/) {
  Bytes rest = bytes;
  int error = 0;
  const std::unique_ptr<GifFileType, Close> file(DGifOpen(&rest, read, &error));
  const auto fail = [&](int code) {
    const char* what = GifErrorString(code);
    throw_error("{}: corrupt GIF: {}", name, what ? what : "the file is truncated or damaged");
  };
  if (!file) fail(error);
  const auto check = [&](int status) {
    if (status != GIF_OK) fail(file->Error);
  };
  int background = 0;
  GifRecordType record = UNDEFINED_RECORD_TYPE;
  for (check(DGifGetRecordType(file.get(), &record)); record != IMAGE_DESC_RECORD_TYPE;
       check(DGifGetRecordType(file.get(), &record))) {
    if (record == TERMINATE_RECORD_TYPE) throw_error("{}: corrupt GIF: it has no image", name);
    int code = 0;
    GifByteType* block = nullptr;
    for (check(DGifGetExtension(file.get(), &code, &block)); block;
         check(DGifGetExtensionNext(file.get(), &block)))
      // The block's length, flags (bit 0: there is a transparent colour), delay, the colour.
      if (code == GRAPHICS_EXT_FUNC_CODE && block[0] >= 4 && block[1] & 1) background = block[4];
  }
  check(DGifGetImageDesc(file.get()));
  const GifImageDesc& frame = file->Image;
  if (frame.Width < 1 || frame.Height < 1) throw_error("{}: corrupt GIF: its image has no pixels", name);
  const std::int64_t width = std::max(file->SWidth, frame.Left + frame.Width);
  const std::int64_t height = std::max(file->SHeight, frame.Top + frame.Height);
  check_image_size(name, "GIF", width, height, max_image_pixels);

  // Without a palette, and beyond its end, a number is a grey.
  std::array<std::array<std::uint8_t, 3>, 256> palette{};
  for (std::size_t i = 0; i < palette.size(); ++i) palette[i].fill(static_cast<std::uint8_t>(i));
  if (const ColorMapObject* map = frame.ColorMap ? frame.ColorMap : file->SColorMap)
    for (int i = 0; i < std::min(map->ColorCount, 256); ++i)
      palette[static_cast<std::size_t>(i)] = {map->Colors[i].Red, map->Colors[i].Green, map->Colors[i].Blue};

  // The canvas is made when the whole frame is there: a short file may claim a large one. Lines in stored
  // order.
  const auto frame_width = static_cast<std::size_t>(frame.Width);
  std::vector<GifPixelType> numbers;
  for (int y = 0; y < frame.Height; ++y) {
    numbers.resize(numbers.size() + frame_width);
    check(DGifGetLine(file.get(), numbers.data() + (numbers.size() - frame_width), frame.Width));
  }

  Decoded out{Tensor({height, width, 3}, DType::uint8)};
  auto* pixels = out.pixels.data<std::uint8_t>();
  const auto paint = [&](std::int64_t at, std::size_t number) {
    std::copy_n(palette[number].begin(), 3, pixels + 3 * at);
  };
  for (std::int64_t x = 0; x < width; ++x) paint(x, static_cast<std::size_t>(background));
  for (std::int64_t y = 1; y < height; ++y) std::copy_n(pixels, 3 * width, pixels + 3 * width * y);
  auto next = numbers.begin();
  const auto paint_lines = [&](int first, int step) {
    for (int y = first; y < frame.Height; y += step)
      for (int x = 0; x < frame.Width; ++x) paint((frame.Top + y) * width + frame.Left + x, *next++);
  };
  if (frame.Interlace) {
    paint_lines(0, 8);
    paint_lines(4, 8);
    paint_lines(2, 4);
    paint_lines(1, 2);
  } else {
    paint_lines(0, 1);
  }
  return out;
}

}  // namespace vitral::data
