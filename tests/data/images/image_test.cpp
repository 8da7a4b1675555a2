#include "data/images/image.h"

#include <array>
#include <atomic>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "base/random.h"
#include "data/images/resize.h"
#include "tests/golden.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using namespace test;

const std::string golden = "tests/golden/pixels.h5";

std::vector<std::uint8_t> encoded(const std::string& name) {
  const Tensor bytes = read_golden(golden, "encoded/" + name);
  return {bytes.data<std::uint8_t>(), bytes.data<std::uint8_t>() + bytes.numel()};
}

TEST(Image, DecodesEveryKindAsPillow) {
  const auto names = golden_names(golden, "encoded");
  EXPECT_EQ(names.size(), 25U);
  for (const std::string& name : names) {
    const auto bytes = encoded(name);
    EXPECT_TRUE(looks_like_image(bytes)) << name;
    EXPECT_EQ(max_difference(decode_image(bytes, name), read_golden(golden, "decoded/" + name)), 0) << name;
  }
}

TEST(Image, DecodesPhotographsAsPillow) {
  VITRAL_NEEDS_SHARED(reference, "golden/preprocess.h5");
  VITRAL_NEEDS_SHARED(photos, "photos");
  for (const std::string& name : golden_names(reference, "/")) {
    const Tensor image = read_image(photos + "/" + name);
    EXPECT_EQ(max_difference(image, read_golden(reference, name + "/rgb")), 0) << name;
  }
}

TEST(Image, PngRoundTripIsExact) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_EQ(max_difference(decode_image(encode_png(image), "memory"), image), 0);
  const test::TempDir folder;
  write_png(folder / "a.png", image);
  EXPECT_EQ(max_difference(read_image(folder / "a.png"), image), 0);
}

TEST(Image, JpegEncodesAsPillow) {
  const Tensor image = read_golden(golden, "image");
  EXPECT_EQ(max_difference(decode_image(encode_jpeg(image, 80), "memory"), read_golden(golden, "jpeg_80")),
            0);
  EXPECT_EQ(message_of([&] { encode_jpeg(image, 101); }), "encode_jpeg: quality 101 must be 1..100");
}

// Gentle waves: what is left of them does not depend on how they are scaled down.
Tensor waves(std::int64_t height, std::int64_t width) {
  Tensor image({height, width, 3}, DType::uint8);
  std::uint8_t* to = image.data<std::uint8_t>();
  for (std::int64_t y = 0; y < height; ++y)
    for (std::int64_t x = 0; x < width; ++x)
      for (int c = 0; c < 3; ++c)
        *to++ = static_cast<std::uint8_t>(128 + 100 * std::sin(static_cast<double>(x) / 40 + c) *
                                                    std::cos(static_cast<double>(y) / 30));
  return image;
}

double mean_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.shape(), b.shape());
  double sum = 0;
  for (std::int64_t i = 0; i < a.numel(); ++i)
    sum += std::abs(a.data<std::uint8_t>()[i] - b.data<std::uint8_t>()[i]);
  return sum / static_cast<double>(a.numel());
}

std::array<double, 3> mean_colour(const Tensor& image) {
  std::array<double, 3> sums{};
  for (std::int64_t i = 0; i < image.numel(); ++i)
    sums[static_cast<std::size_t>(i % 3)] += image.data<std::uint8_t>()[i];
  for (double& sum : sums) sum /= static_cast<double>(image.numel() / 3);
  return sums;
}

TEST(Image, AJpegIsDecodedSmallerWhereThatLeavesEnough) {
  const Tensor image = waves(403, 610);
  const auto jpeg = encode_jpeg(image, 95), png = encode_png(image);
  struct Case {
    std::int64_t least, height, width;
  };
  for (const auto& c : {Case{0, 403, 610},
                        {403, 403, 610},
                        {203, 403, 610},
                        {202, 202, 305},
                        {102, 202, 305},
                        {101, 101, 153},
                        {52, 101, 153},
                        {51, 51, 77},
                        {1, 51, 77}}) {
    const Tensor scaled = decode_image(jpeg, "image", {c.least});
    EXPECT_EQ(scaled.shape(), (Shape{c.height, c.width, 3})) << c.least;
    EXPECT_EQ(decode_image(png, "image", {c.least}).shape(), image.shape()) << c.least;
    const Tensor expected = resize(decode_image(jpeg, "image"), 40, 30, Filter::bilinear);
    EXPECT_LT(mean_difference(resize(scaled, 40, 30, Filter::bilinear), expected), c.height < 60 ? 6 : 2)
        << c.least;
  }
  const test::TempDir folder;
  put_file(folder / "a.jpg", jpeg);
  EXPECT_EQ(max_difference(read_image(folder / "a.jpg", {202}), decode_image(jpeg, "image", {202})), 0);
  EXPECT_EQ(min_side_for(101), 202);
}

TEST(Image, EveryKindOfJpegIsDecodedSmaller) {
  for (const std::string& name : golden_names(golden, "encoded")) {
    if (!name.starts_with("jpeg")) continue;
    const Tensor whole = read_golden(golden, "decoded/" + name);
    const Tensor half = decode_image(encoded(name), name, {std::min(whole.dim(0), whole.dim(1)) / 2});
    EXPECT_EQ(half.shape(), (Shape{(whole.dim(0) + 1) / 2, (whole.dim(1) + 1) / 2, 3})) << name;
    const std::array<double, 3> expected = mean_colour(whole), colour = mean_colour(half);
    for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(colour[c], expected[c], 5) << name << c;
  }
}

TEST(Image, RefusesWhatIsNoImage) {
  const test::TempDir folder;
  EXPECT_THROW(read_image(folder / "none.jpg"), UsageError);
  EXPECT_EQ(message_of([&] { read_image(folder / "none.jpg"); }), folder / "none.jpg" + ": no such file");
  EXPECT_EQ(message_of([&] { read_image(folder.str()); }), folder.str() + ": not a file; name an image");
  put_file(folder / "empty.jpg", "");
  EXPECT_EQ(message_of([&] { read_image(folder / "empty.jpg"); }),
            folder / "empty.jpg" + ": empty, not an image");
  put_file(folder / "text.png", "hello");
  EXPECT_EQ(message_of([&] { read_image(folder / "text.png"); }),
            folder / "text.png" + ": not an image of a known format");
  EXPECT_EQ(message_of([] {
              check_image("flip", Tensor({4, 4}, DType::uint8));
            }),
            "flip: an image must be uint8 [H, W, 3] on the CPU, not uint8 [4, 4] on cpu");
}

TEST(Image, TheNameSaysTheFormat) {
  const Tensor image = Tensor::full({20, 30, 3}, 77, DType::uint8);
  const test::TempDir folder;
  for (const std::string name : {"a.png", "b.PNG", "c.jpg", "d.jpeg", "e.JPG"}) {
    write_image(folder / name, image);
    EXPECT_LE(max_difference(read_image(folder / name), image), 1) << name;
    const bool png = name.find("png") != std::string::npos || name.find("PNG") != std::string::npos;
    EXPECT_EQ(test::bytes_of_file(folder / name).substr(1, 3) == "PNG", png) << name;
  }
  for (const std::string name : {"a.gif", "a", "png", "a.png.h5"}) {
    const std::string expected =
        (folder / name) + ": pictures are PNG or JPEG, name a .png, .jpg or .jpeg file";
    EXPECT_EQ(message_of([&] { write_image(folder / name, image); }), expected);
    EXPECT_FALSE(std::filesystem::exists(folder / name));
  }
}

TEST(Image, UnwritablePlacesAreErrors) {
  const Tensor image = read_golden(golden, "image");
  const test::TempDir folder;
  EXPECT_EQ(message_of([&] { write_png(folder / "no/such/a.png", image); }),
            folder / "no/such/a.png" + ": cannot write: No such file or directory; create the folder first");
  if (std::filesystem::exists("/dev/full")) {
    EXPECT_EQ(message_of([&] { write_png("/dev/full", image); }),
              "/dev/full: cannot write: No space left on device; choose another name");
    EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  }
  // A limit on file sizes stands for a full disk: the old file stays.
  write_png(folder / "a.png", image);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  rlimit small = before;
  small.rlim_cur = 100;
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of([&] {
    write_png(folder / "a.png", Tensor::zeros({90, 90, 3}, DType::uint8));
  });
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(message, folder / "a.png" + ": cannot write: File too large; free some space and run it again");
  EXPECT_EQ(max_difference(read_image(folder / "a.png"), image), 0);
}

// A file that is cut off behind its last pixel is whole: only its end mark is missing.
TEST(Image, TruncationIsAnError) {
  for (const std::string name :
       {"jpeg_420", "jpeg_422_progressive", "jpeg_grey", "png_rgb", "png_palette", "png_rgb_16_interlaced"}) {
    const auto bytes = encoded(name);
    const Tensor whole = decode_image(bytes, name);
    const std::string start = name + (name[0] == 'j' ? ": corrupt JPEG: " : ": corrupt PNG: ");
    for (std::size_t size = 10; size < bytes.size(); ++size) {
      Tensor image;
      const std::string message =
          message_of([&] { image = decode_image(std::span(bytes).first(size), name); });
      if (image.defined()) {
        EXPECT_GE(size + (name[0] == 'j' ? 3 : 12), bytes.size()) << name;
        EXPECT_EQ(max_difference(image, whole), 0) << name << " cut to " << size << " of " << bytes.size();
        continue;
      }
      EXPECT_TRUE(message.starts_with(start))
          << name << " cut to " << size << " of " << bytes.size() << ": " << message;
      EXPECT_EQ(message.find('\n'), std::string::npos);
    }
  }
}

TEST(Image, HostileSizesAreRefusedBeforeMemoryIsAskedFor) {
  const std::size_t before = allocator_stats(cpu).bytes_reserved;
  auto jpeg = encoded("jpeg_grey");
  std::size_t frame = 0;
  while (!(jpeg[frame] == 0xFF && jpeg[frame + 1] == 0xC0)) ++frame;
  for (std::size_t i = 0; i < 4; ++i) jpeg[frame + 5 + i] = 0xFF;  // height, width
  EXPECT_TRUE(message_of([&] { decode_image(jpeg, "big"); }).starts_with("big: "));
  jpeg[frame + 5] = jpeg[frame + 7] =
      0x2E;  // 12031 x 12031: below the limit, but far more than the bytes hold
  EXPECT_EQ(message_of([&] { decode_image(jpeg, "big"); }),
            "big: corrupt JPEG: too short for its 12031 x 12031 pixels");

  // The checksum of a PNG header must fit, so whole headers: 20000 x 20000 and 10000 x 10000, with no pixels.
  const std::vector<std::uint8_t> start{0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n',
                                        0,    0,   0,   13,  'I',  'H',  'D',  'R'};
  auto png = start;
  const std::vector<std::uint8_t> huge{0, 0, 0x4E, 0x20, 0,    0,    0x4E, 0x20, 8,
                                       2, 0, 0,    0,    0x6C, 0x12, 0xD1, 0x6E};
  png.insert(png.end(), huge.begin(), huge.end());
  png.resize(png.size() + 50000);
  EXPECT_EQ(message_of([&] { decode_image(png, "big"); }),
            "big: 20000 x 20000 pixels are more than the limit of 178956970; scale the image down");
  png = start;
  const std::vector<std::uint8_t> large{0, 0, 0x27, 0x10, 0,    0,    0x27, 0x10, 8,
                                        2, 0, 0,    0,    0x35, 0x2C, 0xF5, 0x70};
  png.insert(png.end(), large.begin(), large.end());
  png.resize(png.size() + 50000);
  EXPECT_EQ(message_of([&] { decode_image(png, "big"); }),
            "big: corrupt PNG: too short for its 10000 x 10000 pixels");
  EXPECT_LT(allocator_stats(cpu).bytes_reserved, before + (1 << 20));
}

TEST(Image, ThreadsDecodeAtTheSameTime) {
  const auto good = encoded("jpeg_420"), other = encoded("png_palette");
  const auto bad = std::span(good).first(good.size() / 2);
  const Tensor expected = read_golden(golden, "decoded/jpeg_420"),
               expected_png = read_golden(golden, "decoded/png_palette");
  std::atomic<int> right = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        right += max_difference(decode_image(good, "good"), expected) == 0;
        right += message_of([&] { decode_image(bad, "bad"); }).starts_with("bad: corrupt JPEG: ");
        right += max_difference(decode_image(other, "png"), expected_png) == 0;
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(right, 1200);
}

// Damage anywhere either decodes to some image or is one clear error; the sanitizers watch the rest.
TEST(Image, DamagedBytesNeverCrash) {
  Random random(7);
  int refused = 0, total = 0;
  for (const std::string& name : golden_names(golden, "encoded")) {
    const auto whole = encoded(name);
    for (int i = 0; i < 300; ++i, ++total) {
      auto bytes = whole;
      for (auto n = 1 + random.below(4); n > 0; --n)
        bytes[random.below(bytes.size())] = static_cast<std::uint8_t>(random.next());
      if (random.below(4) == 0) bytes.resize(random.below(bytes.size()));
      try {
        const Tensor image = decode_image(bytes, name);
        EXPECT_EQ(image.dim(2), 3);
      } catch (const Error& e) {
        ++refused;
        EXPECT_TRUE(std::string(e.what()).starts_with(name + ": ")) << e.what();
        EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos);
      }
    }
  }
  EXPECT_GT(refused, total / 4);
  // The decoders are still in order afterwards.
  EXPECT_EQ(max_difference(decode_image(encoded("jpeg_420"), "a"), read_golden(golden, "decoded/jpeg_420")),
            0);
}

}  // namespace
}  // namespace vitral::data
