#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <numeric>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "base/random.h"
#include "tensor/storage.h"
#include "tests/data/loader_support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;

// Everything in the batches of the rest of an epoch, as text that can be compared.
std::vector<std::string> drain(Loader& loader) {
  std::vector<std::string> all;
  while (auto batch = loader.next()) {
    std::string s = fmt::format("{} {} ", batch->images.shape(), batch->targets.shape());
    for (auto i : batch->indices) s += fmt::format("{},", i);
    for (const auto& k : batch->skipped) s += fmt::format(" {} {} {}", k.index, k.name, k.reason);
    s.append(static_cast<const char*>(batch->images.raw()), batch->images.bytes());
    s.append(static_cast<const char*>(batch->targets.raw()), batch->targets.bytes());
    all.push_back(s);
  }
  return all;
}

TEST(Loader, SameBatchesForAnyNumberOfWorkersAndAnyStart) {
  const TempDir dir;
  const Dataset plain = Dataset::open(write_dataset(dir / "plain.h5", 53, 24));
  const Dataset encoded = Dataset::open(write_dataset(dir / "encoded.h5", 53, 24, true, {4, 5, 17, 40}));
  for (const Dataset& d : {plain, encoded}) {
    std::vector<std::string> epochs[3];
    Loader caller(d, options(0, strong()));
    EXPECT_EQ(caller.batches_per_epoch(), 8);
    for (int e = 0; e < 3; ++e) {
      caller.begin_epoch(e);
      epochs[e] = drain(caller);
      ASSERT_EQ(epochs[e].size(), 8U);
      EXPECT_FALSE(caller.next());
    }
    EXPECT_NE(epochs[0], epochs[1]);
    for (int workers : {1, 2, 8}) {
      Loader loader(d, options(workers, strong()));
      for (int e : {0, 1, 2}) {
        if (e > 0) loader.begin_epoch(e);
        EXPECT_EQ(drain(loader), epochs[e]) << workers;
        EXPECT_FALSE(loader.next());
      }
      Loader late(d, options(workers, strong()));
      late.begin_epoch(2, 3);
      const std::vector<std::string> rest(epochs[2].begin() + 3, epochs[2].end());
      EXPECT_EQ(drain(late), rest);
      late.begin_epoch(1, 7);  // and back, dropping what is under way
      late.begin_epoch(1, 6);
      EXPECT_EQ(drain(late).front(), epochs[1][6]);
      late.begin_epoch(1, 8);
      EXPECT_FALSE(late.next());
    }
  }
}

TEST(Loader, ShuffleVisitsEachSampleOnceAndAugmentsBySeed) {
  const TempDir dir;
  const Dataset d = Dataset::open(write_dataset(dir / "a.h5", 53, 24));
  Loader loader(d, options(2, strong()));
  loader.begin_epoch(5);
  std::vector<std::int64_t> seen;
  while (auto batch = loader.next()) {
    for (std::int64_t k = 0; k < batch->size(); ++k) {
      const std::int64_t i = batch->indices[static_cast<std::size_t>(k)];
      seen.push_back(i);
      EXPECT_EQ(batch->targets.rows(k, k + 1).to_vector(), embedding(i).to_vector());
      EXPECT_EQ(batch->images.rows(k, k + 1).to_vector(),
                augment(noise_image(24, 24, i), strong(), 16, random_key(11, 5, i)).to_vector());
    }
  }
  std::vector<std::int64_t> order(53);
  std::iota(order.begin(), order.end(), std::int64_t{0});
  EXPECT_NE(seen, order);
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(seen, order);
}

TEST(Loader, SkippedImagesAreListedAndNeverReplaced) {
  const TempDir dir;
  const std::string path = write_dataset(dir / "a.h5", 10, 16, true, {0, 3, 7, 8, 9});
  LoaderOptions o = options(2);
  o.shuffle = false;
  o.batch_size = 3;
  Loader loader(Dataset::open(path), o);
  auto batch = loader.next();
  EXPECT_EQ(batch->indices, (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(batch->images.shape(), (Shape{2, 16, 16, 3}));
  EXPECT_EQ(batch->targets.to_vector()[0], 10);
  ASSERT_EQ(batch->skipped.size(), 1U);
  EXPECT_EQ(batch->skipped[0].index, 0);
  EXPECT_EQ(batch->skipped[0].name, "0.png");
  EXPECT_TRUE(batch->skipped[0].reason.starts_with("0.png: ")) << batch->skipped[0].reason;
  loader.next();
  batch = loader.next();
  EXPECT_EQ(batch->indices, (std::vector<std::int64_t>{6}));
  batch = loader.next();  // nothing of it decodes
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->size(), 0);
  EXPECT_EQ(batch->images.shape(), (Shape{0, 16, 16, 3}));
  EXPECT_EQ(batch->skipped.size(), 1U);
  EXPECT_FALSE(loader.next());
}

TEST(Loader, ValidationIsPlainAndInOrder) {
  const TempDir dir;
  const Dataset d = Dataset::open(write_dataset(dir / "a.h5", 9, 24));
  LoaderOptions o = options(2, strong());
  o.training = false;
  Loader loader(d, o);
  const auto batch = loader.next();
  EXPECT_EQ(batch->indices, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(batch->images.rows(6, 7).to_vector(), augment(noise_image(24, 24, 6), {}, 16, 0).to_vector());
}

TEST(Loader, LargeJpegsAreDecodedSmallerWhereAsked) {
  const TempDir folder;
  DatasetWriter w(folder / "a.h5", std::nullopt);
  std::vector<std::vector<std::uint8_t>> files;
  for (int i = 0; i < 6; ++i) {
    files.push_back(encode_jpeg(noise_image(130, 100 + i, i), 90));
    w.add_encoded(files.back(), fmt::format("{}.jpg", i), embedding(i));
  }
  w.finish();
  LoaderOptions o{.batch_size = 6, .image_size = 20, .shuffle = false, .workers = 2};
  o.augment.scaled_decode = true;
  o.augment.resize = 24;
  o.augment.brightness = 0.4F;
  o.augment.random_crop = true;
  for (const bool training : {true, false}) {
    o.training = training;
    const auto batch = Loader(Dataset::open(folder / "a.h5"), o).next();
    ASSERT_EQ(batch->size(), 6);
    for (int i = 0; i < 6; ++i) {
      const auto k = static_cast<std::size_t>(i);
      const std::uint64_t seed = training ? random_key(0, 0, i) : 0;
      const Tensor image = decode_image(files[k], "image", {training ? 48 : 0});
      EXPECT_EQ(image.dim(0), training ? 65 : 130);
      EXPECT_EQ(batch->images.rows(i, i + 1).to_vector(), augment(image, o.augment, 20, seed).to_vector());
    }
  }
}

TEST(Loader, StoredViewsAreReplayed) {
  const TempDir dir;
  const std::string path = write_views(dir / "a.h5", {100, 0, 300}, transform_name(strong()));
  Loader training(Dataset::open(path), options(2, strong()));
  std::set<float> chosen;
  for (int epoch = 0; epoch < 4; ++epoch) {
    training.begin_epoch(epoch);
    while (const auto batch = training.next())
      for (std::int64_t k = 0; k < batch->size(); ++k) {
        const std::int64_t i = batch->indices[static_cast<std::size_t>(k)];
        const float* target = batch->targets.data<float>() + 2 * k;
        chosen.insert(target[1]);
        EXPECT_EQ(target[0], static_cast<float>(i));
        EXPECT_EQ(target[1], static_cast<float>(Random(11, epoch, i).below(3)));
        const std::uint64_t seeds[] = {100 + static_cast<std::uint64_t>(i), 0,
                                       300 + static_cast<std::uint64_t>(i)};
        EXPECT_EQ(
            batch->images.rows(k, k + 1).to_vector(),
            augment(noise_image(24, 24, i), strong(), 16, seeds[static_cast<int>(target[1])]).to_vector());
      }
  }
  EXPECT_EQ(chosen.size(), 3U);
  LoaderOptions o = options(1);
  o.training = false;
  Loader validation(Dataset::open(path), o);
  EXPECT_EQ(validation.next()->targets.to_vector()[1], 1);

  EXPECT_EQ(message_of([&] { Loader(Dataset::open(path), options(1)); }),
            path + ": its views were made with transform " + transform_name(strong()) +
                " but data.augment is " + transform_name({}) + "; use the same");
  const std::string other = write_views(dir / "b.h5", {100, 300}, "x");
  EXPECT_EQ(message_of([&] { Loader(Dataset::open(other), o); }),
            other + ": image 0 has no view with seed 0, which validation needs; embed it with one");
}

TEST(Loader, ErrorsReachTheConsumerInOrder) {
  const TempDir dir;
  DatasetWriter w(dir / "a.h5", std::nullopt);
  for (int i = 0; i < 40; ++i) {
    const int side = i == 30 ? 8 : i == 33 ? 9 : 16;  // these two are smaller than the crop
    w.add_encoded(encode_png(noise_image(side, side, i)), "", Tensor::full({3}, 1));
  }
  w.finish();
  AugmentConfig crop;
  crop.random_crop = true;
  for (int workers : {0, 1, 8}) {
    LoaderOptions o = options(workers, crop);
    o.shuffle = false;
    Loader loader(Dataset::open(dir / "a.h5"), o);
    for (int b = 0; b < 4; ++b) EXPECT_EQ(loader.next()->size(), 7);
    EXPECT_EQ(message_of([&] { loader.next(); }),
              "augment: a crop of 16 x 16 pixels does not fit an image of 8 x 8; set resize to 16 or more");
    EXPECT_EQ(loader.next()->size(), 5);
  }
}

TEST(Loader, TargetsWithoutADirectionAreFound) {
  const TempDir dir;
  const auto write = [&](const std::string& name, float value, bool named) {
    DatasetWriter w(dir / name, DatasetWriter::Size{16, 16});
    for (int i = 0; i < 10; ++i)
      w.add_image(noise_image(16, 16, i), named ? fmt::format("{}.jpg", i) : "",
                  Tensor::full({3}, i == 8 ? value : 1));
    w.finish();
    return dir / name;
  };
  const std::string zero = write("zero.h5", 0, true),
                    infinite = write("inf.h5", std::numeric_limits<float>::infinity(), false);
  LoaderOptions o = options(1);
  o.shuffle = false;
  const auto problems = [&](const std::string& path) {
    const Dataset dataset = Dataset::open(path);
    Loader loader(dataset, o);
    std::vector<std::string> out;
    while (const auto batch = loader.next()) out.push_back(target_problem(*batch, dataset));
    return out;
  };
  EXPECT_EQ(problems(zero), (std::vector<std::string>{"", "the embedding of 8.jpg in " + zero + " is zero"}));
  EXPECT_EQ(problems(infinite),
            (std::vector<std::string>{"", "the embedding of image 8 of " + infinite + " is not finite"}));
  // Float32 holds the numbers, but not the sum of their squares, by which they are made one long.
  for (const auto& [value, what] :
       {std::pair(1e25F, "too large for float32"), {1e-30F, "too small for float32"}}) {
    const std::string path = write("extreme.h5", value, true);
    EXPECT_EQ(problems(path),
              (std::vector<std::string>{"", fmt::format("the embedding of 8.jpg in {} is {}", path, what)}));
  }
  for (const float value : {1e18F, 1e-18F})
    EXPECT_EQ(problems(write("fine.h5", value, true)), (std::vector<std::string>(2)));
}

TEST(Loader, WrongOptions) {
  const TempDir dir;
  const Dataset d = Dataset::open(write_dataset(dir / "a.h5", 10, 16));
  const auto error = [&](auto&& change) {
    LoaderOptions o = options(1);
    change(o);
    return message_of([&] { Loader(d, o); });
  };
  EXPECT_EQ(error([](auto& o) { o.batch_size = 0; }), "loader: batch_size 0 must be at least 1");
  EXPECT_EQ(error([](auto& o) { o.image_size = 0; }), "loader: image_size 0 must be in 1..16384");
  EXPECT_EQ(error([](auto& o) { o.workers = -1; }), "loader: workers -1 must be in 0..1024");
  EXPECT_EQ(error([](auto& o) { o.prefetch = 0; }), "loader: prefetch 0 must be at least 1");
  EXPECT_EQ(message_of([&] { Loader(d, options(1)).begin_epoch(0, 3); }),
            "loader: epoch 0 batch 3 is out of range, an epoch has 2 batches");
  {
    DatasetWriter w(dir / "bare.h5", DatasetWriter::Size{4, 4});
    w.finish();
  }
  EXPECT_EQ(message_of([&] { Loader(Dataset::open(dir / "bare.h5"), options(1)); }),
            dir / "bare.h5" + std::string(": has no images"));
  {
    DatasetWriter w(dir / "bare.h5", DatasetWriter::Size{16, 16});
    w.add_image(noise_image(16, 16, 1));
    w.finish();
  }
  EXPECT_EQ(message_of([&] { Loader(Dataset::open(dir / "bare.h5"), options(1)); }),
            dir / "bare.h5" + std::string(": has no /embeddings; write them with vitral teach"));
  LoaderOptions o = options(1);
  o.targets = {};
  Loader images(Dataset::open(dir / "bare.h5"), o);
  EXPECT_EQ(images.next()->images.to_vector(), noise_image(16, 16, 1).to_vector());
}

TEST(Loader, ABatchMayBeLargerThanTheDataset) {
  const TempDir dir;
  const Dataset d = Dataset::open(write_dataset(dir / "a.h5", 10, 16));
  LoaderOptions o = options(2);
  o.batch_size = std::numeric_limits<std::int64_t>::max();
  Loader loader(d, o);
  EXPECT_EQ(loader.batches_per_epoch(), 1);
  EXPECT_EQ(loader.next()->size(), 10);
  EXPECT_FALSE(loader.next());
}

TEST(Loader, EarlyDestructionJoins) {
  const TempDir dir;
  const Dataset d = Dataset::open(write_dataset(dir / "a.h5", 60, 24));
  for (int take = 0; take < 6; ++take)
    for (int workers : {0, 1, 8}) {
      LoaderOptions o = options(workers, strong());
      Loader loader(d, o);
      for (int b = 0; b < take; ++b) loader.next();
      if (take == 3) loader.begin_epoch(1);
      Loader moved = std::move(loader);
    }
}

TEST(Loader, BoundedAheadAndWaitingIsMeasured) {
  const TempDir dir;
  const Dataset d = Dataset::open(write_dataset(dir / "a.h5", 60, 16));
  const auto in_use = [] { return allocator_stats(cpu).bytes_in_use; };
  LoaderOptions o = options(0);
  o.batch_size = 5;
  const auto before = in_use();
  auto batch = Loader(d, o).next();
  const auto one = in_use() - before;
  batch.reset();
  o.workers = 4;
  Loader loader(d, o);
  batch = loader.next();
  const double waited = loader.wait_seconds();
  EXPECT_GT(waited, 0);
  for (int i = 0; i < 500 && in_use() < before + 4 * one; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(in_use(), before + 4 * one);  // the batch taken and three that wait
  loader.next();
  EXPECT_LT(loader.wait_seconds() - waited, 0.5);
}

TEST(Loader, NothingIsAllocatedOnceWarm) {
  const TempDir dir;
  const Dataset d = Dataset::open(write_dataset(dir / "a.h5", 56, 24));
  Loader loader(d, options(0, strong()));
  drain(loader);
  loader.begin_epoch(1);
  drain(loader);
  const auto before = allocator_stats(cpu).system_calls;
  for (int epoch = 2; epoch < 5; ++epoch) {
    loader.begin_epoch(epoch);
    drain(loader);
  }
  EXPECT_EQ(allocator_stats(cpu).system_calls, before);
}

TEST(Loader, ImagesOfTheModelsSizeAreReadInPlace) {
  const TempDir dir;
  const Dataset d = Dataset::open(write_dataset(dir / "a.h5", 14, 16));
  LoaderOptions o = options(0);
  o.shuffle = false;
  Loader loader(d, o);
  const auto in_use = [] { return allocator_stats(cpu).bytes_in_use; };
  reset_peak(cpu);
  const auto before = in_use();
  const auto batch = loader.next();
  EXPECT_EQ(allocator_stats(cpu).peak_in_use, in_use());  // nothing but the batch itself
  EXPECT_GT(in_use(), before);
  EXPECT_EQ(batch->images.rows(2, 3).to_vector(), noise_image(16, 16, 2).to_vector());
}

}  // namespace
}  // namespace vitral::data
