#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include <tiffio.h>

#include "base/text.h"
#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

constexpr tmsize_t max_allocation = tmsize_t{1} << 30;  // of libtiff, for one strip or table

struct Close {
  void operator()(TIFF* file) const { TIFFClose(file); }
  void operator()(TIFFOpenOptions* options) const { TIFFOpenOptionsFree(options); }
};

// The file in memory, and what libtiff last complained of.
struct Source {
  Bytes bytes;
  std::size_t at = 0;
  std::array<char, 256> problem{};
};

Source& source_of(thandle_t handle) { return *static_cast<Source*>(handle); }

tmsize_t read(thandle_t handle, void* to, tmsize_t size) {
  Source& s = source_of(handle);
  const std::size_t left = s.bytes.size() - std::min(s.at, s.bytes.size());
  const std::size_t count = std::min(left, static_cast<std::size_t>(std::max<tmsize_t>(size, 0)));
  if (count > 0) std::memcpy(to, s.bytes.data() + s.at, count);
  s.at += count;
  return static_cast<tmsize_t>(count);
}

toff_t seek(thandle_t handle, toff_t offset, int from) {
  Source& s = source_of(handle);
  s.at = offset + (from == SEEK_CUR ? s.at : from == SEEK_END ? s.bytes.size() : 0);
  return s.at;
}

int keep_problem(TIFF*, void* source, const char*, const char* format, va_list values) {
  auto& text = static_cast<Source*>(source)->problem;
  std::vsnprintf(text.data(), text.size(), format, values);
  return 1;  // said enough
}

// A palette that is cut off is only warned of; without it the numbers would pass for greys.
int on_warning(TIFF* file, void* source, const char* module, const char* format, va_list values) {
  Source before = *static_cast<Source*>(source);
  keep_problem(file, source, module, format, values);
  auto& text = static_cast<Source*>(source)->problem;
  if (std::string_view(text.data()).find("ColorMap") == std::string_view::npos) text = before.problem;
  return 1;
}

// What the first image of a file is made of.
struct Layout {
  std::uint32_t width = 0, height = 0;
  std::uint16_t photometric = PHOTOMETRIC_MINISWHITE, bits = 1, samples = 1, planar = PLANARCONFIG_CONTIG;
  int channels = 1;            // of `samples`, those that are used
  bool premultiplied = false;  // channel 3 is the alpha that the others are multiplied with
  std::uint16_t* palette[3]{};

  Layout(TIFF* file, std::size_t bytes, const std::string& name) {
    std::uint16_t format = SAMPLEFORMAT_UINT, compression = COMPRESSION_NONE;
    TIFFGetField(file, TIFFTAG_IMAGEWIDTH, &width);
    TIFFGetField(file, TIFFTAG_IMAGELENGTH, &height);
    TIFFGetField(file, TIFFTAG_PHOTOMETRIC, &photometric);
    TIFFGetFieldDefaulted(file, TIFFTAG_BITSPERSAMPLE, &bits);
    TIFFGetFieldDefaulted(file, TIFFTAG_SAMPLESPERPIXEL, &samples);
    TIFFGetFieldDefaulted(file, TIFFTAG_PLANARCONFIG, &planar);
    TIFFGetFieldDefaulted(file, TIFFTAG_SAMPLEFORMAT, &format);
    TIFFGetFieldDefaulted(file, TIFFTAG_COMPRESSION, &compression);
    // libtiff takes pieces that the file does not list for others, and so reads an image of any size.
    const std::int64_t limit =
        compression == COMPRESSION_NONE
            ? static_cast<std::int64_t>(bytes) * 8 / std::max<std::int64_t>(1, std::int64_t{bits} * samples)
            : max_image_pixels;
    check_image_size(name, "TIFF", width, height, limit);
    if (photometric == PHOTOMETRIC_YCBCR && compression == COMPRESSION_JPEG &&
        planar == PLANARCONFIG_CONTIG) {
      TIFFSetField(file, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
      photometric = PHOTOMETRIC_RGB;
    }
    const bool grey = photometric == PHOTOMETRIC_MINISWHITE || photometric == PHOTOMETRIC_MINISBLACK;
    const bool indexed = photometric == PHOTOMETRIC_PALETTE && bits <= 8 &&
                         TIFFGetField(file, TIFFTAG_COLORMAP, &palette[0], &palette[1], &palette[2]);
    channels = photometric == PHOTOMETRIC_RGB ? 3 : photometric == PHOTOMETRIC_SEPARATED ? 4 : 1;
    const bool whole = bits == 8 || bits == 16, part = bits == 1 || bits == 2 || bits == 4;
    if (format != SAMPLEFORMAT_UINT || samples < channels || samples > 8 ||
        !(channels > 1 ? whole : (grey || indexed) && (whole || part)))
      throw_error("{}: a TIFF of {} x {} bits, format {}, photometric {} is not read; store it as PNG", name,
                  samples, bits, format, photometric);
    std::uint16_t extra = 0, *kinds = nullptr;
    if (channels == 3 && samples > 3 && TIFFGetField(file, TIFFTAG_EXTRASAMPLES, &extra, &kinds) && extra > 0)
      premultiplied = kinds[0] == EXTRASAMPLE_ASSOCALPHA;
    if (premultiplied) channels = 4;
  }

  // A sample as Pillow sees it, in 8 bits: grey of 16 bits clipped, colours cut to the high byte, few bits
  // spread over all.
  std::uint8_t sample(const std::uint8_t* row, std::size_t i) const {
    if (bits == 16) {
      std::uint16_t value = 0;
      std::memcpy(&value, row + 2 * i, 2);
      return static_cast<std::uint8_t>(channels == 1 ? std::min<std::uint16_t>(value, 255) : value >> 8);
    }
    if (bits == 8) return inverted() ? 255 - row[i] : row[i];
    const std::size_t bit = i * bits;
    const int top = (1 << bits) - 1, value = row[bit / 8] >> (8 - bits - bit % 8) & top;
    if (palette[0]) return static_cast<std::uint8_t>(value);
    return static_cast<std::uint8_t>((inverted() ? top - value : value) * 255 / top);
  }

  void to_rgb(std::uint8_t* rgb, const std::uint8_t* pixel) const {
    if (palette[0]) {
      for (int c = 0; c < 3; ++c) rgb[c] = static_cast<std::uint8_t>(palette[c][pixel[0]] >> 8);
    } else if (channels == 1) {
      rgb[0] = rgb[1] = rgb[2] = pixel[0];
    } else if (premultiplied) {
      for (int c = 0; c < 3; ++c)
        rgb[c] = static_cast<std::uint8_t>(pixel[3] == 0 ? 0 : std::min(pixel[c] * 255 / pixel[3], 255));
    } else if (channels == 4) {
      const std::array<std::uint8_t, 4> left{
          static_cast<std::uint8_t>(255 - pixel[0]), static_cast<std::uint8_t>(255 - pixel[1]),
          static_cast<std::uint8_t>(255 - pixel[2]), static_cast<std::uint8_t>(255 - pixel[3])};
      cmyk_to_rgb(rgb, left.data(), 1);
    } else {
      std::memcpy(rgb, pixel, 3);
    }
  }

 private:
  bool inverted() const { return photometric == PHOTOMETRIC_MINISWHITE; }
};

}  // namespace

bool is_tiff(Bytes bytes) {
  for (const std::string_view start : {std::string_view("II*\0", 4), std::string_view("MM\0*", 4),
                                       std::string_view("II+\0", 4), std::string_view("MM\0+", 4)})
    if (holds(bytes, 0, start)) return true;
  return false;
}

// The first image of the file.
Decoded decode_tiff(Bytes bytes, const std::string& name, std::int64_t /*min_side*/) {
  Source source{bytes};
  const std::unique_ptr<TIFFOpenOptions, Close> options(TIFFOpenOptionsAlloc());
  TIFFOpenOptionsSetErrorHandlerExtR(options.get(), keep_problem, &source);
  TIFFOpenOptionsSetWarningHandlerExtR(options.get(), on_warning, &source);
  TIFFOpenOptionsSetMaxSingleMemAlloc(options.get(), max_allocation);
  // "m": the file is not mapped.
  const std::unique_ptr<TIFF, Close> file(TIFFClientOpenExt(
      "image", "rm", &source, read, [](thandle_t, void*, tmsize_t) { return tmsize_t{0}; }, seek,
      [](thandle_t) { return 0; }, [](thandle_t s) { return toff_t{source_of(s).bytes.size()}; },
      [](thandle_t, void**, toff_t*) { return 0; }, [](thandle_t, void*, toff_t) {}, options.get()));
  const auto fail = [&] {
    throw_error("{}: corrupt TIFF: {}", name,
                source.problem[0] ? one_line(source.problem.data()) : "the file is truncated or damaged");
  };
  if (!file || source.problem[0]) fail();
  const Layout layout(file.get(), bytes.size(), name);
  const std::int64_t width = layout.width, height = layout.height, channels = layout.channels;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width * height * channels));

  // Pieces: tiles, or strips of whole rows; of all samples, or of one.
  const bool tiled = TIFFIsTiled(file.get()) != 0, joined = layout.planar == PLANARCONFIG_CONTIG;
  std::uint32_t piece_width = layout.width, piece_height = layout.height;
  TIFFGetFieldDefaulted(file.get(), tiled ? TIFFTAG_TILELENGTH : TIFFTAG_ROWSPERSTRIP, &piece_height);
  if (tiled) TIFFGetField(file.get(), TIFFTAG_TILEWIDTH, &piece_width);
  const tmsize_t size = tiled ? TIFFTileSize(file.get()) : TIFFStripSize(file.get());
  const tmsize_t stride = tiled ? TIFFTileRowSize(file.get()) : TIFFScanlineSize(file.get());
  if (size < 1 || size > max_allocation || piece_width < 1 || piece_height < 1) fail();
  if ((tiled ? TIFFNumberOfTiles(file.get()) : TIFFNumberOfStrips(file.get())) > bytes.size()) fail();
  std::vector<std::uint8_t> piece(static_cast<std::size_t>(size));
  const std::int64_t step = joined ? layout.samples : 1;
  for (std::int64_t plane = 0; plane < (joined ? 1 : channels); ++plane)
    for (std::int64_t top = 0; top < height; top += piece_height)
      for (std::int64_t left = 0; left < width; left += piece_width) {
        const auto x = static_cast<std::uint32_t>(left), y = static_cast<std::uint32_t>(top);
        const auto s = static_cast<std::uint16_t>(plane);
        const tmsize_t got =
            tiled
                ? TIFFReadEncodedTile(file.get(), TIFFComputeTile(file.get(), x, y, 0, s), piece.data(), size)
                : TIFFReadEncodedStrip(file.get(), TIFFComputeStrip(file.get(), y, s), piece.data(), size);
        const std::int64_t rows = std::min<std::int64_t>(piece_height, height - top);
        const std::int64_t columns = std::min<std::int64_t>(piece_width, width - left);
        if (got < 0 || got < rows * stride || (columns * step * layout.bits + 7) / 8 > stride) fail();
        for (std::int64_t j = 0; j < rows; ++j)
          for (std::int64_t i = 0; i < columns; ++i)
            for (std::int64_t c = 0; c < (joined ? channels : 1); ++c)
              pixels[static_cast<std::size_t>(((top + j) * width + left + i) * channels + c + plane)] =
                  layout.sample(piece.data() + j * stride, static_cast<std::size_t>(i * step + c));
      }

  Decoded out{Tensor({height, width, 3}, DType::uint8)};
  for (std::int64_t i = 0; i < width * height; ++i)
    layout.to_rgb(out.pixels.data<std::uint8_t>() + 3 * i, pixels.data() + channels * i);
  std::uint16_t orientation = 1;
  if (TIFFGetField(file.get(), TIFFTAG_ORIENTATION, &orientation)) out.orientation = orientation;
  return out;
}

}  // namespace vitral::data
