// Augmentation that the loader leaves to the reader of the pixels.
#include <gtest/gtest.h>

#include "tensor/ops/augment.h"
#include "tests/data/loader_support.h"

namespace vitral::data {
namespace {

using test::TempDir;

// What is left gives, done there, the views that the loader would have made.
void expect_same_views(const Dataset& dataset, LoaderOptions o, bool deferred) {
  o.defer_augmentation = false;
  Loader here(dataset, o);
  o.defer_augmentation = true;
  Loader later(dataset, o);
  std::int64_t batches = 0;
  for (const int epoch : {0, 1}) {
    here.begin_epoch(epoch, epoch);  // the second from its second batch
    later.begin_epoch(epoch, epoch);
    for (auto a = here.next(); a; a = here.next(), ++batches) {
      const auto b = later.next();
      ASSERT_TRUE(b);
      EXPECT_EQ(a->indices, b->indices);
      EXPECT_EQ(a->skipped.size(), b->skipped.size());
      EXPECT_EQ(a->targets.to_vector(), b->targets.to_vector());
      ASSERT_EQ(b->augmentations.defined(), deferred);
      Tensor views = deferred ? Tensor(a->images.shape(), DType::uint8) : b->images;
      if (deferred) kernel::augment(views, b->images, b->augmentations);
      EXPECT_EQ(a->images.to_vector(), views.to_vector());
    }
    EXPECT_FALSE(later.next());
  }
  EXPECT_GT(batches, 2);
}

TEST(DeferredAugmentation, GivesTheSameViews) {
  const TempDir dir;
  const Dataset plain = Dataset::open(write_dataset(dir / "plain.h5", 25, 24)),
                small = Dataset::open(write_dataset(dir / "small.h5", 25, 16)),
                large = Dataset::open(write_dataset(dir / "large.h5", 25, 40)),
                encoded = Dataset::open(write_dataset(dir / "encoded.h5", 25, 24, true, {4, 17})),
                views = Dataset::open(write_views(dir / "views.h5", {100, 0, 300}, transform_name(strong())));
  AugmentConfig as_it_comes = strong(), stretched = strong(), crops, colours = strong();
  as_it_comes.resize = 0;
  stretched.random_crop = colours.random_crop = false;
  colours.resize = 16;
  crops.random_crop = true;
  crops.flip = 0.5F;
  const auto check = [&](const char* what, const Dataset& d, const AugmentConfig& augment, bool deferred) {
    SCOPED_TRACE(what);
    expect_same_views(d, options(2, augment), deferred);
  };
  check("resized to 20 first, then cropped to 16", plain, strong(), true);
  check("of several sizes, resized to 20 first", encoded, strong(), true);
  check("24 pixels that are cropped to 16", plain, as_it_comes, true);
  check("only crops", plain, crops, true);
  check("of the model's size already", small, as_it_comes, true);
  check("stretched to the model's size first, not cropped", encoded, colours, true);
  check("stored views, one of which is plain", views, strong(), true);
  check("several sizes", encoded, as_it_comes, false);
  check("resized last", plain, stretched, false);
  check("more than 4 times what is cut from them", large, crops, false);
  check("nothing drawn", small, {}, false);

  LoaderOptions validation = options(0, strong());
  validation.training = false;
  expect_same_views(plain, validation, false);
}

}  // namespace
}  // namespace vitral::data
