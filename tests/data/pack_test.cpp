#include "data/pack.h"

#include <algorithm>
#include <fstream>
#include <set>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ordered.h"
#include "base/random.h"
#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "data/images/resize.h"
#include "data/loader.h"
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

TEST(Pack, LargeJpegsAreDecodedSmallerWhereAsked) {
  const TempDir dir;
  Tensor image({90, 70, 3}, DType::uint8);
  for (std::int64_t i = 0; i < image.numel(); ++i)
    image.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(splitmix64(static_cast<std::uint64_t>(i)));
  write_image(dir / "a.jpg", image);
  PackOptions o = options(dir);
  o.inputs = {dir / "a.jpg"};
  std::vector<Tensor> packed;
  for (const bool scaled : {false, true}) {
    o.scaled_decode = scaled;
    o.output = dir / (scaled ? "scaled.h5" : "whole.h5");
    EXPECT_EQ(pack(o).train, 1);
    packed.push_back(Dataset::open(o.output).image(0));
    const Tensor read = read_image(dir / "a.jpg", {scaled ? 16 : 0});
    EXPECT_EQ(read.dim(0), scaled ? 23 : 90);
    EXPECT_EQ(packed.back().to_vector(), resize(read, 8, 8, Filter::bilinear).to_vector());
  }
  EXPECT_NE(packed[0].to_vector(), packed[1].to_vector());
}

// Class folders that are links are the usual way to make a subset of ImageNet.
TEST(Pack, LinkedFoldersAreFollowedAndTheRestIsCounted) {
  const TempDir dir;
  write_folder(dir);
  fs::create_directories(dir / "subset");
  fs::create_directory_symlink("../in/cats", dir / "subset/cats");
  fs::create_directory_symlink("../in/dogs", dir / "subset/dogs");
  fs::create_directory_symlink("../in/dogs", dir / "subset/hounds");
  fs::create_directory_symlink("..", dir / "in/dogs/deep/up");  // into itself
  std::ofstream(dir / "subset/clip.MP4") << "a film";
  std::ofstream(dir / "subset/more.tar") << "an archive";
  std::ofstream(dir / "subset/README") << "text";
  write_png(dir / "subset/image_17", picture(17));
  write_png(dir / "subset/18.dat", picture(18));
  PackOptions o = options(dir);
  o.inputs = {dir / "subset"};
  const PackSummary s = pack(o);
  EXPECT_EQ(s.train, 20);
  EXPECT_EQ(s.skipped.size(), 1U);
  EXPECT_EQ(s.left_out, (LeftOut{{".mp4", 1}, {".tar", 1}, {"without suffix", 1}, {"link into a loop", 2}}));
  EXPECT_EQ(describe(s.left_out),
            "left out: 1 .mp4, 1 .tar, 2 link into a loop, 1 without suffix (1 archive: give it by name)");
  EXPECT_EQ(describe({{".zip", 2}}), "left out: 2 .zip (2 archives: give them by name)");
  EXPECT_EQ(describe({}), "");
  const Dataset d = Dataset::open(o.output);
  EXPECT_EQ(d.name(0), "18.dat");
  EXPECT_EQ(d.name(13), "hounds/deep/0.JPG");
  EXPECT_EQ(d.name(19), "image_17");
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

TEST(Pack, EncodedTakesEveryFormat) {
  const TempDir dir;
  const H5File golden = H5File::open("tests/golden/images.h5");
  const std::vector<std::string> names{"avif_444", "bmp_24", "gif", "pnm_6", "tiff_exif", "webp_lossy"};
  for (const std::string& name : names) {
    const Tensor bytes = golden.read("encoded/" + name);
    test::put_file(dir / name, {bytes.data<std::uint8_t>(), bytes.data<std::uint8_t>() + bytes.numel()});
  }
  PackOptions o = options(dir);
  o.encoded = true;
  o.inputs = {dir.str()};
  EXPECT_EQ(pack(o).train, 6);
  const Dataset d = Dataset::open(o.output);
  for (std::size_t i = 0; i < names.size(); ++i)
    EXPECT_EQ(d.image(static_cast<std::int64_t>(i)).to_vector(),
              golden.read("decoded/" + names[i]).to_vector())
        << names[i];
}

TEST(Pack, LimitsAndSplit) {
  const TempDir dir;
  write_folder(dir);
  PackOptions o = options(dir);
  o.limits = {{"cats/*", 2}, {"*.JPG", 3}, {"*0*", 1}};
  pack(o);
  std::vector<std::string> names;
  const Dataset limited = Dataset::open(o.output);
  for (std::int64_t i = 0; i < limited.size(); ++i) names.push_back(limited.name(i));
  EXPECT_EQ(names, (std::vector<std::string>{"cats/0.png", "cats/1.png", "dogs/deep/1.JPG", "dogs/deep/2.JPG",
                                             "dogs/deep/3.JPG"}));
  o.limits = {{"birds/*", 2}};
  o.force = true;
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
  pack(o);
  const Dataset c = Dataset::open(o.val_output);
  for (std::int64_t i = 0; i < c.size(); ++i) EXPECT_TRUE(val.contains(c.name(i)));
}

TEST(Pack, NamesAreUnique) {
  const TempDir dir;
  fs::create_directories(dir / "a");
  fs::create_directories(dir / "b");
  for (const std::string name : {"a/x", "b/x", "b/y"}) write_png(dir / (name + ".png"), picture(1));
  PackOptions o = options(dir);
  const auto names = [&](const std::vector<std::string>& inputs) {
    o.inputs = inputs;
    fs::remove(o.output);
    pack(o);
    return H5File::open(o.output).read_strings("/names");
  };
  EXPECT_EQ(names({dir / "a", dir / "b"}),
            (std::vector<std::string>{dir / "a/x.png", dir / "b/x.png", dir / "b/y.png"}));
  EXPECT_EQ(names({dir / "a", dir / "b/y.png"}), (std::vector<std::string>{"x.png", "y.png"}));
  EXPECT_EQ(names({dir / "b", dir / "b/../b/y.png"}), (std::vector<std::string>{"x.png", "y.png"}));
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
  EXPECT_FALSE(s.written);
  EXPECT_EQ(s.skipped.size(), 2U);
  EXPECT_FALSE(fs::exists(o.output));
  EXPECT_FALSE(fs::exists(o.output + ".partial"));
  fs::create_directories(dir / "empty");
  o.inputs = {dir / "empty"};
  EXPECT_EQ(pack(o).found, 0);
}

TEST(Pack, WhatCannotBeReadIsListedAndTheRestPacked) {
  const TempDir dir;
  write_folder(dir);
  const std::string in = dir / "in";
  fs::create_directories(in + "/private");
  fs::copy(in + "/cats/1.png", in + "/private/1.png");
  fs::create_symlink("loop.jpg", in + "/loop.jpg");
  fs::create_symlink("loop", in + "/loop");
  fs::create_symlink("gone.jpg", in + "/dangling.jpg");
  ASSERT_EQ(mkfifo((in + "/pipe.png").c_str(), 0644), 0);
  ASSERT_EQ(chmod(dir.str().c_str(), 0777), 0);
  ASSERT_EQ(chmod((in + "/private").c_str(), 0), 0);
  const uid_t me = geteuid();  // the superuser may search everything
  ASSERT_TRUE(me != 0 || seteuid(65534) == 0);
  PackSummary s;
  const std::string problem = message_of([&] { s = pack(options(dir)); });
  PackOptions whole = options(dir);
  whole.inputs = {in + "/private"};
  whole.output = dir / "whole.h5";
  const std::string searched = message_of([&] { pack(whole); });
  ASSERT_TRUE(me != 0 || seteuid(me) == 0);
  ASSERT_EQ(chmod((in + "/private").c_str(), 0700), 0);
  EXPECT_EQ(problem, "no error");
  EXPECT_EQ(s.train, 12);
  EXPECT_EQ(s.found, 18);
  std::vector<std::string> reasons;
  for (const auto& file : s.skipped) reasons.push_back(file.name + " | " + file.reason);
  const std::string advice = "; check the path and its permissions";
  const std::string denied = in + "/private: cannot be searched: Permission denied; check its permissions";
  EXPECT_EQ(reasons,
            (std::vector<std::string>{
                "cats/broken.png | cats/broken.png: not an image of a known format",
                "dangling.jpg | " + in + "/dangling.jpg: is a link to gone.jpg, which is not there",
                "loop | " + in + "/loop: cannot be read: Too many levels of symbolic links" + advice,
                "loop.jpg | " + in + "/loop.jpg: cannot be read: Too many levels of symbolic links" + advice,
                "pipe.png | " + in + "/pipe.png: is not a regular file, name one",
                "private | " + denied,
            }));
  EXPECT_EQ(searched, denied);
  EXPECT_EQ(Dataset::open(dir / "out.h5").size(), 12);
  PackOptions o = options(dir);
  o.output = in + "/loop/out.h5";
  EXPECT_EQ(
      message_of([&] { pack(o); }),
      o.output +
          ": cannot be created: Too many levels of symbolic links; check that the folder exists and may "
          "be written");
  o.inputs = {in + "/loop"};
  EXPECT_EQ(message_of([&] { pack(o); }),
            in + "/loop: cannot be read: Too many levels of symbolic links" + advice);
}

TEST(Pack, NamesAreTextOfOneLine) {
  const TempDir dir;
  fs::create_directories(dir / "in");
  const std::string odd = "a\xff\xc3\xa4\xc3.png";  // a, a byte that is no UTF-8, ae, half a letter
  write_png(dir / "in/" + odd, picture(1));
  write_png(dir / "in/two\nlines.png", picture(2));
  std::ofstream(dir / "in/bad\nimage.png") << "no image";
  PackOptions o = options(dir);
  o.encoded = true;
  const PackSummary s = pack(o);
  ASSERT_EQ(s.skipped.size(), 1U);
  EXPECT_EQ(s.skipped[0].reason, "bad\\x0aimage.png: not an image of a known format");
  const Dataset d = Dataset::open(o.output);
  EXPECT_EQ(d.name(0), "a\\xff\xc3\xa4\\xc3.png");
  EXPECT_EQ(d.name(1), "two\nlines.png");

  // The same names in messages about the dataset.
  DatasetWriter w(dir / "bad.h5", std::nullopt);
  w.add_encoded(std::vector<std::uint8_t>{1, 2, 3}, "two\nlines.png", Tensor::zeros({3}));
  w.finish();
  const Dataset bad = Dataset::open(dir / "bad.h5");
  EXPECT_EQ(message_of([&] { bad.image(0); }), "two\\x0alines.png: not an image of a known format");
  LoaderOptions loading;
  loading.training = false;
  const auto batch = Loader(bad, loading).next();
  ASSERT_EQ(batch->skipped.size(), 1U);
  EXPECT_EQ(batch->skipped[0].name, "two\\x0alines.png");
  EXPECT_EQ(batch->skipped[0].reason, "two\\x0alines.png: not an image of a known format");
  Batch zero;
  zero.indices = {0};
  zero.targets = Tensor::zeros({1, 3});
  EXPECT_EQ(target_problem(zero, bad),
            "the embedding of two\\x0alines.png in " + (dir / "bad.h5") + " is zero");
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
