#include "data/pack.h"

#include <algorithm>
#include <fstream>
#include <set>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "data/dataset.h"
#include "data/image.h"
#include "data/ordered.h"
#include "data/resize.h"
#include "tensor/random.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;
namespace fs = std::filesystem;

Tensor picture(int seed) {
  Tensor image({10 + seed % 3, 12, 3}, DType::uint8);
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.data<std::uint8_t>()[i] =
        static_cast<std::uint8_t>(splitmix64(static_cast<std::uint64_t>(i + 1000 * seed)));
  return image;
}

// cats/{0..5}.png, dogs/deep/{0..5}.JPG, a text file, and one broken PNG: 13 images of which 12 decode.
void write_folder(const TempDir& dir) {
  fs::create_directories(dir / "in/cats");
  fs::create_directories(dir / "in/dogs/deep");
  for (int i = 0; i < 6; ++i) {
    write_png(dir / fmt::format("in/cats/{}.png", i), picture(i));
    const auto jpeg = encode_jpeg(picture(10 + i), 90);
    std::ofstream(dir / fmt::format("in/dogs/deep/{}.JPG", i), std::ios::binary)
        .write(reinterpret_cast<const char*>(jpeg.data()), static_cast<std::streamsize>(jpeg.size()));
  }
  std::ofstream(dir / "in/notes.txt") << "not an image";
  std::ofstream(dir / "in/cats/broken.png") << "not an image either";
}

PackOptions options(const TempDir& dir) {
  PackOptions o;
  o.inputs = {dir / "in"};
  o.output = dir / "out.h5";
  o.size = 8;
  o.workers = 3;
  return o;
}

TEST(Pack, FoldersToPlainImages) {
  const TempDir dir;
  write_folder(dir);
  PackOptions o = options(dir);
  std::int64_t last = 0;
  o.progress = [&](std::int64_t done, std::int64_t total) {
    EXPECT_EQ(done, ++last);
    EXPECT_EQ(total, 13);
  };
  const PackSummary s = pack(o);
  EXPECT_EQ(s.found, 13);
  EXPECT_EQ(s.train, 12);
  EXPECT_EQ(last, 13);
  ASSERT_EQ(s.skipped.size(), 1U);
  EXPECT_EQ(s.skipped[0].name, "cats/broken.png");
  EXPECT_TRUE(s.skipped[0].reason.starts_with("cats/broken.png: ")) << s.skipped[0].reason;
  const Dataset d = Dataset::open(o.output);
  ASSERT_EQ(d.size(), 12);
  EXPECT_EQ(d.name(0), "cats/0.png");
  EXPECT_EQ(d.name(11), "dogs/deep/5.JPG");
  EXPECT_EQ(d.image(3).to_vector(), resize(picture(3), 8, 8, Filter::bilinear).to_vector());
  EXPECT_EQ(d.width(), 0);
}

TEST(Pack, EncodedKeepsTheBytes) {
  const TempDir dir;
  write_folder(dir);
  PackOptions o = options(dir);
  o.encoded = true;
  o.inputs = {dir / "in/dogs/deep/4.JPG", dir / "in/cats"};
  EXPECT_EQ(pack(o).train, 7);
  const Dataset d = Dataset::open(o.output);
  std::vector<std::uint8_t> bytes;
  d.read_encoded(0, bytes);
  EXPECT_EQ(bytes, encode_jpeg(picture(14), 90));
  EXPECT_EQ(d.name(0), "4.JPG");
  EXPECT_EQ(d.name(1), "0.png");
  EXPECT_EQ(d.image(2).to_vector(), picture(1).to_vector());
}

TEST(Pack, LimitsAndSplit) {
  const TempDir dir;
  write_folder(dir);
  PackOptions o = options(dir);
  o.limits = {{"cats/*", 2}, {"*.JPG", 3}, {"*0*", 1}};
  std::vector<std::string> names;
  for (const auto& file : list_images(o)) names.push_back(file.name);
  EXPECT_EQ(names, (std::vector<std::string>{"cats/0.png", "cats/1.png", "dogs/deep/1.JPG", "dogs/deep/2.JPG",
                                             "dogs/deep/3.JPG"}));
  o.limits = {{"birds/*", 2}};
  EXPECT_EQ(message_of([&] { pack(o); }),
            "--limit birds/*=2: no file has such a name; * stands for any text");

  o.limits = {};
  o.val_fraction = 0.4;
  o.val_output = dir / "val.h5";
  const PackSummary s = pack(o);
  EXPECT_EQ(s.train + s.val, 12);
  std::set<std::string> train, val;
  const Dataset a = Dataset::open(o.output), b = Dataset::open(o.val_output);
  for (std::int64_t i = 0; i < a.size(); ++i) train.insert(a.name(i));
  for (std::int64_t i = 0; i < b.size(); ++i) val.insert(b.name(i));
  EXPECT_EQ(static_cast<std::int64_t>(train.size() + val.size()), 12);
  EXPECT_GE(val.size(), 2U);
  fs::remove(dir / "in/cats/0.png");  // moves no other file
  o.force = true;
  pack(o);
  const Dataset c = Dataset::open(o.val_output);
  for (std::int64_t i = 0; i < c.size(); ++i) EXPECT_TRUE(val.contains(c.name(i)));
}

TEST(Pack, WrongRequests) {
  const TempDir dir;
  write_folder(dir);
  const auto error = [&](auto&& change) {
    PackOptions o = options(dir);
    change(o);
    return message_of([&] { pack(o); });
  };
  EXPECT_EQ(error([&](auto& o) { o.inputs = {dir / "nowhere"}; }),
            dir / "nowhere" + std::string(": no such file or folder"));
  EXPECT_EQ(error([](auto& o) { o.size = 0; }), "--size 0: must be in 1..16384");
  EXPECT_EQ(error([](auto& o) { o.val_fraction = 1; }), "--val 1: must be at least 0 and below 1");
  EXPECT_EQ(error([](auto& o) { o.val_fraction = 0.5; }),
            "--val and --val-out belong together: a fraction above 0 and a file for it");
  EXPECT_EQ(error([&](auto& o) { o.output = dir / "in"; }),
            dir / "in" + std::string(": is a directory, name a file"));
  const std::string pipe = dir / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(error([&](auto& o) { o.output = pipe, o.force = true; }),
            pipe + ": is not a regular file, name one");
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(error([&](auto& o) { o.val_fraction = 0.0001, o.val_output = dir / "v.h5"; }),
            "--val 0.0001: puts 0 of 13 images into --val-out; choose another fraction");
  std::ofstream(dir / "out.h5") << "precious";
  EXPECT_EQ(error([](auto&) {}), dir / "out.h5" + std::string(": exists already; use --force to replace it"));
  EXPECT_EQ(fs::file_size(dir / "out.h5"), 8U);
}

TEST(Pack, NothingToPackWritesNothing) {
  const TempDir dir;
  write_folder(dir);
  PackOptions o = options(dir);
  o.inputs = {dir / "in/cats/broken.png", dir / "in/notes.txt"};
  const PackSummary s = pack(o);
  EXPECT_EQ(s.train, 0);
  EXPECT_EQ(s.skipped.size(), 2U);
  EXPECT_FALSE(fs::exists(o.output));
  EXPECT_FALSE(fs::exists(o.output + ".partial"));
  fs::create_directories(dir / "empty");
  o.inputs = {dir / "empty"};
  EXPECT_EQ(pack(o).found, 0);
}

TEST(ParallelOrdered, OrderAndErrors) {
  std::vector<std::int64_t> seen;
  const auto collect = [&](std::int64_t i, std::int64_t x) {
    EXPECT_EQ(x, i * i);
    seen.push_back(i);
  };
  parallel_ordered(
      100, 4, 3, [](std::int64_t i) { return i * i; }, collect);
  ASSERT_EQ(seen.size(), 100U);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
  seen.clear();
  const auto fails_at_9 = [](std::int64_t i) {
    if (i >= 9) throw_error("no {}", i);
    return i * i;
  };
  EXPECT_EQ(message_of([&] { parallel_ordered(100, 4, 8, fails_at_9, collect); }), "no 9");
  EXPECT_EQ(seen.size(), 9U);
  EXPECT_EQ(message_of([&] {
              parallel_ordered(
                  100, 4, 8, [](std::int64_t i) { return i; },
                  [](std::int64_t, std::int64_t) { throw_error("disk full"); });
            }),
            "disk full");
}

}  // namespace
}  // namespace vitral::data
