// Every image format against Pillow: tests/reference/make_images.py.
#include <algorithm>
#include <map>
#include <string_view>

#include <gtest/gtest.h>
#include <zlib.h>

#include "base/random.h"
#include "data/images/image.h"
#include "tests/golden.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using namespace std::literals;
using namespace test;

const std::string golden = "tests/golden/images.h5";

std::vector<std::uint8_t> encoded(const std::string& name) {
  const Tensor bytes = read_golden(golden, "encoded/" + name);
  return {bytes.data<std::uint8_t>(), bytes.data<std::uint8_t>() + bytes.numel()};
}

// All samples; those of HEIC only where libheif has its decoder, which Ubuntu keeps in a package of its own.
std::vector<std::string> samples() {
  auto names = golden_names(golden, "encoded");
  const std::string problem = message_of([] { decode_image(encoded("heic_444"), "heic"); });
  if (problem.ends_with("libheif-plugin-libde265 may be missing"))
    std::erase_if(names, [](const std::string& name) { return name.starts_with("heic"); });
  return names;
}

TEST(ImageFormats, DecodeAsPillow) {
  for (const std::string& name : samples()) {
    const auto bytes = encoded(name);
    EXPECT_TRUE(looks_like_image(std::span(bytes).first(std::min(bytes.size(), image_head)))) << name;
    Tensor image;
    EXPECT_EQ(message_of([&] { image = decode_image(bytes, name); }), "no error");
    if (!image.defined()) continue;
    const Tensor expected = read_golden(golden, "decoded/" + name);
    ASSERT_EQ(image.shape(), expected.shape()) << name;
    // libheif spreads chroma otherwise in each of its versions.
    EXPECT_LE(max_difference(image, expected), name == "heic_420" ? 8 : 0) << name;
  }
}

// Cut off anywhere a file is an error or, where only what follows the pixels is missing, whole.
TEST(ImageFormats, TruncationIsAnErrorOrLeavesThePixels) {
  for (const std::string& name : samples()) {
    // 17 KB of texts; and a number in words may lose its last digit.
    if (name == "png_many_texts" || name == "pnm_2" || name == "pnm_3") continue;
    const auto bytes = encoded(name);
    const Tensor whole = decode_image(bytes, name);
    // Without its orientation, which may come last.
    const Tensor ignored = decode_image(bytes, name, {.exif = Exif::ignore});
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      Tensor image;
      const std::string message =
          message_of([&] { image = decode_image(std::span(bytes).first(size), name); });
      if (!image.defined()) {
        EXPECT_TRUE(message.starts_with(name + ": ")) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
        continue;
      }
      EXPECT_TRUE((image.shape() == whole.shape() && max_difference(image, whole) == 0) ||
                  (image.shape() == ignored.shape() && max_difference(image, ignored) == 0))
          << name << " cut to " << size << " of " << bytes.size();
    }
  }
}

TEST(ImageFormats, DamagedBytesNeverCrash) {
  Random random(8);
  for (const std::string& name : samples()) {
    const auto whole = encoded(name);
    for (int i = 0; i < 200; ++i) {
      auto bytes = whole;
      for (auto n = 1 + random.below(4); n > 0; --n)
        bytes[random.below(std::min<std::size_t>(bytes.size(), i % 2 == 0 ? 100 : bytes.size()))] =
            static_cast<std::uint8_t>(random.next());
      try {
        const Tensor image = decode_image(bytes, name);
        EXPECT_EQ(image.dim(2), 3);
      } catch (const Error& e) {
        EXPECT_TRUE(std::string(e.what()).starts_with(name + ": ")) << e.what();
        EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << e.what();
      }
    }
  }
}

TEST(ImageFormats, TheBytesTellTheFormatNotTheName) {
  const TempDir folder;
  for (const std::string name : {"webp_lossy", "gif", "bmp_24", "tiff_rgb", "pnm_6", "avif_444"}) {
    put_file(folder / "photo.jpg", encoded(name));
    EXPECT_EQ(max_difference(read_image(folder / "photo.jpg"), read_golden(golden, "decoded/" + name)), 0)
        << name;
  }
  for (const std::string name : {"a.jpg", "a.JPE", "a.jfif", "a.webp", "a.gif", "a.bmp", "a.tif", "a.TIFF",
                                 "a.ppm", "a.avif", "a.heic"})
    EXPECT_TRUE(has_image_suffix(name)) << name;
  for (const std::string name : {"a.mp4", "jpg", "a", ".jpg/a", "a.jp", "a. jpg"})
    EXPECT_FALSE(has_image_suffix(name)) << name;
}

TEST(ImageFormats, OrientationIsAppliedUnlessItIsToBeIgnored) {
  const Tensor upright = read_golden(golden, "decoded/jpeg_exif_1");
  const Shape lying{upright.dim(0), upright.dim(1), 3}, standing{upright.dim(1), upright.dim(0), 3};
  for (int i = 1; i <= 8; ++i) {
    const std::string name = fmt::format("jpeg_exif_{}", i);
    EXPECT_EQ(max_difference(decode_image(encoded(name), name, {.exif = Exif::ignore}), upright), 0) << name;
    EXPECT_EQ(decode_image(encoded(name), name).shape(), i < 5 ? lying : standing) << name;
  }
  // No such orientation, and a block that ends early.
  for (const std::string name : {"jpeg_exif_9", "jpeg_exif_cut"})
    EXPECT_EQ(max_difference(decode_image(encoded(name), name), upright), 0) << name;
  for (const std::string name : {"png_exif", "webp_exif", "tiff_exif", "avif_exif"}) {
    EXPECT_EQ(decode_image(encoded(name), name).shape(), standing) << name;
    EXPECT_EQ(decode_image(encoded(name), name, {.exif = Exif::ignore}).shape(), lying) << name;
  }
}

// A generator's settings, which it writes into a text chunk: 70 MB of them before the pixels.
TEST(ImageFormats, TextsOfAPngMayBeLong) {
  const Tensor image = noise_image(6, 7, 1);
  const auto number = [](std::uint64_t value) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
    return out;
  };
  const std::string text = "tEXtworkflow" + std::string(1, '\0') + std::string(70U << 20, 'x');
  const auto sum = crc32(0, reinterpret_cast<const Bytef*>(text.data()), static_cast<uInt>(text.size()));
  const auto png = encode_png(image);
  constexpr std::ptrdiff_t behind_header = 8 + 25;
  const std::string bytes = std::string(png.begin(), png.begin() + behind_header) + number(text.size() - 4) +
                            text + number(sum) + std::string(png.begin() + behind_header, png.end());
  EXPECT_EQ(
      decode_image({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, "a.png").to_vector(),
      image.to_vector());
}

// What the code of a scan has lost is no padding.
TEST(ImageFormats, RealDamageOfAJpegStaysAnError) {
  const auto good = encoded("jpeg_no_end_zeros");
  const std::size_t end = good.size() - 96;
  auto cut = good;
  cut.resize(end);
  cut.erase(cut.end() - 10, cut.end());
  EXPECT_EQ(message_of([&] { decode_image(cut, "a.jpg"); }),
            "a.jpg: corrupt JPEG: Premature end of JPEG file");
  cut.insert(cut.end(), {0xFF, 0xD9});
  EXPECT_EQ(message_of([&] { decode_image(cut, "a.jpg"); }),
            "a.jpg: corrupt JPEG: Corrupt JPEG data: premature end of data segment");
  auto more = good;
  more.resize(end);
  more.insert(more.end(), {1, 2, 3, 4, 5, 6, 7, 8, 0xFF, 0xD9});
  EXPECT_TRUE(message_of([&] {
                decode_image(more, "a.jpg");
              }).starts_with("a.jpg: corrupt JPEG: Corrupt JPEG data: "));
}

// A TIFF of one pixel; more: tags over those of a grey one.
std::vector<std::uint8_t> tiff(const std::map<int, int>& more) {
  std::map<int, int> tags{{256, 1}, {257, 1}, {258, 8}, {259, 1}, {262, 1},
                          {273, 8}, {277, 1}, {278, 1}, {279, 8}};
  for (const auto& [tag, value] : more) tags[tag] = value;
  // The pixel, 8 bytes long, then the directory.
  std::vector<std::uint8_t> out{'I', 'I', 42, 0, 16, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
  const auto add = [&](int value, int bytes) {
    for (int k = 0; k < bytes; ++k) out.push_back(static_cast<std::uint8_t>(value >> (8 * k)));
  };
  add(static_cast<int>(tags.size()), 2);
  for (const auto& [tag, value] : tags) {
    add(tag, 2);
    add(3, 2);  // SHORT, one of them
    add(1, 4);
    add(value, 4);
  }
  add(0, 4);
  return out;
}

// The rows of docs/formats.md that say what is not read.
TEST(ImageFormats, KindsThatAreNotReadAreNamed) {
  const auto refused = [](const std::vector<std::uint8_t>& bytes) {
    return message_of([&] { decode_image(bytes, "a"); });
  };
  const auto of_text = [](std::string_view text) {
    return std::vector<std::uint8_t>(text.begin(), text.end());
  };
  // The frame header of a JPEG: FF C0, its length, the bits of a sample.
  const auto jpeg = [&](std::uint8_t marker, std::uint8_t bits) {
    auto bytes = encoded("jpeg_exif_1");
    const std::uint8_t frame[] = {0xFF, 0xC0, 0};
    const auto at = std::search(bytes.begin(), bytes.end(), std::begin(frame), std::end(frame));
    at[1] = marker;
    at[4] = bits;
    return bytes;
  };
  EXPECT_EQ(refused(jpeg(0xC0, 8)), "no error");
  EXPECT_EQ(refused(jpeg(0xC0, 12)), "a: corrupt JPEG: Unsupported JPEG data precision 12");
  EXPECT_EQ(refused(jpeg(0xC3, 8)), "a: corrupt JPEG: Unsupported JPEG process: SOF type 0xc3");
  auto bmp = encoded("bmp_24");
  bmp[30] = 4;  // compression: JPEG
  EXPECT_EQ(refused(bmp), "a: a BMP of 24 bits and compression 4 is not read; store it as PNG");
  EXPECT_EQ(refused(tiff({})), "no error");
  EXPECT_EQ(refused(tiff({{256, 30000}, {257, 4000}})),
            "a: corrupt TIFF: too short for its 30000 x 4000 pixels");
  EXPECT_EQ(refused(tiff({{256, 30000}, {257, 4000}, {259, 32773}})),
            "a: corrupt TIFF: the file is truncated or damaged");
  EXPECT_EQ(refused(tiff({{258, 32}, {339, 3}})),
            "a: a TIFF of 1 x 32 bits, format 3, photometric 1 is not read; store it as PNG");
  EXPECT_EQ(refused(tiff({{258, 16}, {339, 2}})),
            "a: a TIFF of 1 x 16 bits, format 2, photometric 1 is not read; store it as PNG");
  EXPECT_EQ(refused(tiff({{262, 8}, {277, 3}})),
            "a: a TIFF of 3 x 8 bits, format 1, photometric 8 is not read; store it as PNG");
  EXPECT_EQ(refused(tiff({{262, 6}, {277, 3}})),
            "a: a TIFF of 3 x 8 bits, format 1, photometric 6 is not read; store it as PNG");
  EXPECT_EQ(refused(of_text("P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nTUPLTYPE GRAYSCALE\nENDHDR\nx")),
            "a: not an image of a known format");
  EXPECT_EQ(refused(of_text("PF\n1 1\n-1.0\nabcdabcdabcd")), "a: not an image of a known format");
  for (const std::string_view other :
       {"8BPS\0\1"sv, "<svg xmlns="sv, "\0\0\0\x0CjP  \r\n\x87\n"sv, "\xFF\x0A\0\0"sv, "%PDF-1.7\n"sv})
    EXPECT_EQ(refused(of_text(other)), "a: not an image of a known format");
}

TEST(ImageFormats, HostileSizesAreRefusedBeforeMemoryIsAskedFor) {
  const std::size_t before = allocator_stats(cpu).bytes_reserved;
  const auto with = [](std::string name, std::size_t at, std::vector<std::uint8_t> values) {
    auto bytes = encoded(name);
    std::copy(values.begin(), values.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at));
    return message_of([&] { decode_image(bytes, "big"); });
  };
  EXPECT_EQ(with("gif", 6, {0xFF, 0xFF, 0xFF, 0xFF}),
            "big: 65535 x 65535 pixels are more than the limit of 178956970; scale the image down");
  // 18 x 17094 and more for a frame without lines.
  const std::vector<std::uint8_t> empty{'G', 'I', 'F', '8', '7', 'a', 18, 0,    0xC6, 0x42, 5, 0,
                                        0,   ',', 0,   0,   0,   0,   0,  0x10, 0,    0,    0, 2};
  EXPECT_EQ(message_of([&] { decode_image(empty, "big"); }), "big: corrupt GIF: its image has no pixels");
  EXPECT_EQ(with("bmp_24", 18, {0, 0x40, 0, 0, 0, 0x20, 0, 0}),
            "big: corrupt BMP: too short for its 16384 x 8192 pixels");
  EXPECT_EQ(with("pnm_6", 15, {'9', '9', '9', '9', '9'}).substr(0, 5), "big: ");
  const std::string text = "P6 99999 99999 255 ";
  EXPECT_EQ(message_of([&] {
              decode_image({reinterpret_cast<const std::uint8_t*>(text.data()), text.size()}, "big");
            }),
            "big: 99999 x 99999 pixels are more than the limit of 178956970; scale the image down");
  EXPECT_LT(allocator_stats(cpu).bytes_reserved, before + (1 << 20));
}

}  // namespace
}  // namespace vitral::data
