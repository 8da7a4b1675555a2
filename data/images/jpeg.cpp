#include <algorithm>
#include <memory>

#include <turbojpeg.h>

#include "data/images/codec.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

struct Destroy {
  void operator()(void* handle) const { tjDestroy(handle); }
};
using Handle = std::unique_ptr<void, Destroy>;

// One decoder and one encoder a thread: creating them costs as much as decoding a thumbnail.
thread_local Handle decoder;
thread_local Handle encoder;

tjhandle ready(Handle& handle, tjhandle (*create)()) {
  if (!handle) handle.reset(create());
  if (!handle) throw_error("jpeg: libjpeg-turbo cannot start: {}", tjGetErrorStr2(nullptr));
  return handle.get();
}

// After an error a TurboJPEG decoder may stay in the middle of the bad file, so the next image gets a new
// one.
[[noreturn]] void fail(Handle& handle, const std::string& what) {
  const std::string message = tjGetErrorStr2(handle.get());
  handle.reset();
  throw_error("{}: {}", what, message);
}

int multiply_255(int a, int b) {  // a * b / 255, rounded
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

// Files hold inverted CMYK (Adobe's convention, which Pillow takes for granted), so `ink` counts what is
// left. Pillow 9.4 Convert.c, cmyk2rgb.
void cmyk_to_rgb(std::uint8_t* rgb, const std::uint8_t* ink, std::int64_t pixels) {
  for (std::int64_t i = 0; i < pixels; ++i, rgb += 3, ink += 4) {
    const int white = ink[3];
    for (int c = 0; c < 3; ++c)
      rgb[c] = static_cast<std::uint8_t>(std::clamp(white - multiply_255(255 - ink[c], white), 0, 255));
  }
}

// The part of its size at which a JPEG is decoded; these are the parts that libjpeg-turbo has SIMD code for.
tjscalingfactor scale_for(std::int64_t shorter_side, std::int64_t min_side) {
  for (const int part : {8, 4, 2})
    if (min_side > 0 && (shorter_side + part - 1) / part >= min_side) return {1, part};
  return {1, 1};
}

}  // namespace

bool is_jpeg(std::span<const std::uint8_t> bytes) {
  return bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

Tensor decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name, std::int64_t min_side) {
  const tjhandle handle = ready(decoder, tjInitDecompress);
  const auto size = static_cast<unsigned long>(bytes.size());
  int width = 0, height = 0, subsampling = 0, space = 0;
  const int header = tjDecompressHeader3(handle, bytes.data(), size, &width, &height, &subsampling, &space);
  // An unusual chroma layout has no name in TurboJPEG (subsampling -1) but decodes like any other.
  if (header != 0 && !(width > 0 && height > 0 && subsampling < 0)) fail(decoder, name + ": corrupt JPEG");
  // Huffman codes spend at least one bit on an 8 x 8 block, and a sample stands for at most 4 x 4 pixels of
  // which one direction is at full resolution in some component: at most 2,048 pixels a byte.
  check_image_size(name, "JPEG", width, height,
                   std::max<std::int64_t>(1 << 20, static_cast<std::int64_t>(bytes.size()) * 2048));

  const tjscalingfactor scale = scale_for(std::min(width, height), min_side);
  width = TJSCALED(width, scale), height = TJSCALED(height, scale);
  Tensor image({height, width, 3}, DType::uint8);
  const bool cmyk = space == TJCS_CMYK || space == TJCS_YCCK;
  std::vector<std::uint8_t> inks(cmyk ? static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * 4
                                      : 0);
  std::uint8_t* pixels = cmyk ? inks.data() : image.data<std::uint8_t>();
  if (tjDecompress2(handle, bytes.data(), size, pixels, width, 0, height, cmyk ? TJPF_CMYK : TJPF_RGB,
                    TJFLAG_ACCURATEDCT | TJFLAG_STOPONWARNING | TJFLAG_LIMITSCANS) != 0)
    fail(decoder, name + ": corrupt JPEG");
  if (cmyk) cmyk_to_rgb(image.data<std::uint8_t>(), inks.data(), image.numel() / 3);
  return image;
}

std::vector<std::uint8_t> encode_jpeg(const Tensor& image, int quality) {
  check_image("encode_jpeg", image);
  VITRAL_CHECK(quality >= 1 && quality <= 100, "encode_jpeg: quality {} must be 1..100", quality);
  VITRAL_CHECK(image.dim(0) <= 65500 && image.dim(1) <= 65500,
               "encode_jpeg: {} is larger than the 65500 pixels a side that JPEG holds", image.shape());
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const int failed = tjCompress2(ready(encoder, tjInitCompress), image.data<std::uint8_t>(),
                                 static_cast<int>(image.dim(1)), 0, static_cast<int>(image.dim(0)), TJPF_RGB,
                                 &data, &size, TJSAMP_420, quality, TJFLAG_ACCURATEDCT);
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owner(data, tjFree);
  if (failed) fail(encoder, "encode_jpeg");
  return {data, data + size};
}

}  // namespace vitral::data
