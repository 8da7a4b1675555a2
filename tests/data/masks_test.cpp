// /masks, the marks of objects and /image_sizes of dataset files: written, read, put together, refused.
#include "data/masks.h"

#include <functional>
#include <numeric>

#include <gtest/gtest.h>

#include "data/dataset.h"
#include "data/dataset_writer.h"
#include "data/images/image.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::noise_image;
using test::TempDir;
constexpr auto ignore = LabelMap::ignore;

LabelMap map_of(std::int64_t height, std::int64_t width, std::vector<std::uint16_t> labels) {
  return {height, width, std::move(labels)};
}

Concepts names_alone(std::vector<std::string> names) {
  return {std::move(names), {}, {}, {}, Tensor({0, 4}), {}, {}};
}

TEST(Masks, OfOneSize) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  DatasetWriter writer(path, DatasetWriter::Size{2, 3});
  for (int i = 0; i < 3; ++i) {
    writer.add_image(noise_image(2, 3, i), fmt::format("{}.png", i));
    writer.add_labels(i == 1 ? LabelMap{} : map_of(2, 3, {0, 1, 2, 2, 1, ignore}));
    writer.add_original_size({20 + i, 30});
  }
  Concepts concepts = names_alone({"cat", "dog"});
  concepts.image = {0, 2, 2};
  concepts.concept_index = {1, 0, 1};
  concepts.boxes = Tensor::full({3, 4}, 0.5);
  concepts.difficult = {0, 1, 0};
  concepts.crowd = {1, 0, 0};
  writer.set_concepts(concepts);
  writer.finish();

  const Dataset d = Dataset::open(path);
  EXPECT_TRUE(d.has_masks());
  const LabelMap first = d.labels(0);
  EXPECT_EQ(first.height, 2);
  EXPECT_EQ(first.width, 3);
  EXPECT_EQ(first.labels, (std::vector<std::uint16_t>{0, 1, 2, 2, 1, ignore}));
  EXPECT_EQ(d.labels(1).labels, std::vector<std::uint16_t>(6, ignore));  // nothing was known of it
  EXPECT_EQ(d.labels(2).labels, first.labels);
  EXPECT_EQ(d.original_size(2), (Dataset::Size{22, 30}));
  EXPECT_EQ(d.concepts()->difficult, concepts.difficult);
  EXPECT_EQ(d.concepts()->crowd, concepts.crowd);
  EXPECT_NE(d.description().find("objects: 1 difficult, 1 crowds\n"
                                 "masks: uint16 [3, 2, 3], chunks of 1 row, read directly\n"),
            std::string::npos)
      << d.description();
}

// Beyond one chunk of flat labels, 2^19.
TEST(Masks, OfManySizes) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  const auto labels_of = [](std::int64_t i) {
    LabelMap map{300 + i, 400, {}};
    map.labels.resize(static_cast<std::size_t>(map.height * map.width));
    for (std::size_t k = 0; k < map.labels.size(); ++k)
      map.labels[k] = static_cast<std::uint16_t>((k * k + static_cast<std::size_t>(i)) % 5);
    return map;
  };
  DatasetWriter writer(path, std::nullopt);
  for (int i = 0; i < 12; ++i) {
    writer.add_encoded(encode_png(noise_image(4, 4, i)), "x");
    writer.add_labels(i == 7 ? LabelMap{} : labels_of(i));
  }
  writer.set_concepts(names_alone({"a", "b", "c", "d"}));
  writer.finish();
  const Dataset d = Dataset::open(path);
  for (const std::int64_t i : {11, 0, 4, 8}) {
    EXPECT_EQ(d.labels(i).height, 300 + i);
    EXPECT_EQ(d.labels(i).labels, labels_of(i).labels);
  }
  EXPECT_TRUE(d.labels(7).empty());
  EXPECT_EQ(d.labels(7).height, 0);
  EXPECT_EQ(d.original_size(0), std::nullopt);
}

std::string write_file(const std::string& path, const std::vector<std::string>& names,
                       const std::vector<std::uint16_t>& labels) {
  DatasetWriter writer(path, DatasetWriter::Size{1, 3});
  writer.add_image(noise_image(1, 3, 1));
  if (!labels.empty()) writer.add_labels(map_of(1, 3, labels));
  writer.set_concepts(names_alone(names));
  writer.finish();
  return path;
}

TEST(Masks, ConceptsOfSeveralFilesAreCountedTogether) {
  const TempDir dir;
  const Dataset d = Dataset::open({write_file(dir / "a.h5", {"cat", "dog"}, {0, 1, 2}),
                                   write_file(dir / "b.h5", {"owl", "dog"}, {1, 2, ignore}),
                                   write_file(dir / "c.h5", {"ant"}, {})});
  EXPECT_EQ(d.concepts()->names, (std::vector<std::string>{"cat", "dog", "owl", "ant"}));
  EXPECT_EQ(d.labels(0).labels, (std::vector<std::uint16_t>{0, 1, 2}));
  EXPECT_EQ(d.labels(1).labels, (std::vector<std::uint16_t>{3, 2, ignore}));
  EXPECT_TRUE(d.labels(2).empty());  // a file without masks
}

// The message of opening, or of reading image 1, without the path.
std::string error_of(const std::function<void(H5File&)>& write, const Shape& images = {2, 2, 3, 3}) {
  const TempDir dir;
  const std::string path = dir / "a.h5";
  {
    H5File f = H5File::create(path);
    f.write("/images", Tensor::zeros(images, DType::uint8));
    f.write_strings("/concepts/names", {"a", "b"});
    write(f);
    f.close();
  }
  const std::string message = message_of([&] { static_cast<void>(Dataset::open(path).labels(1)); });
  return message.starts_with(path + ": ") ? message.substr(path.size() + 2) : message;
}

Tensor integers(const Shape& shape, std::int64_t first = 0) {
  Tensor t = Tensor::zeros(shape, DType::int64);
  for (std::int64_t i = 0; i < t.numel(); ++i) t.data<std::int64_t>()[i] = first;
  return t;
}

TEST(Masks, WhatDoesNotFitIsRefused) {
  EXPECT_EQ(error_of([](H5File& f) { f.write("/masks/labels", integers({2, 2, 3})); }), "no error");
  EXPECT_EQ(error_of([](H5File& f) {
              f.write("/masks/label", integers({2, 2, 3}));
            }),
            "/masks has no labels; write /masks/labels");
  EXPECT_EQ(error_of([](H5File& f) {
              f.write("/masks/labels", integers({2, 2, 4}));
            }),
            "/masks/labels is [2, 2, 4] but the images are [2, 2, 3]; write one label for each pixel");
  EXPECT_EQ(error_of([](H5File& f) {
              f.write("/masks/labels", integers({3, 2, 3}));
            }),
            "/masks/labels is [3, 2, 3] but the images are [2, 2, 3]; write one label for each pixel");
  EXPECT_EQ(error_of([](H5File& f) {
              f.write("/masks/labels", Tensor::zeros({2, 2, 3}));
            }),
            "/masks/labels holds float32 [2, 2, 3]; uint16 [N,H,W] is needed, or [total] with /masks/offsets "
            "and /masks/shape");
  EXPECT_EQ(error_of([](H5File& f) {
              f.write("/masks/labels", integers({2, 2, 3}, 3));
            }),
            "/masks/labels of image 1 holds 3 but there are 2 concepts; write concept + 1, 0 or 65535");
  EXPECT_EQ(error_of([](H5File& f) {
              f.write("/masks/labels", integers({2, 2, 3}, -1));
            }),
            "/masks/labels holds -1; labels are 0..65535");
  EXPECT_EQ(error_of([](H5File& f) {
              f.remove("/concepts");
              f.write("/masks/labels", integers({2, 2, 3}));
            }),
            "labelled regions need /concepts/names, which is missing");
}

TEST(Masks, FlatOnesThatDoNotFitAreRefused) {
  const auto flat = [](const std::vector<std::uint64_t>& offsets, const std::vector<std::uint64_t>& shape) {
    return error_of([&](H5File& f) {
      f.write("/masks/labels", integers({12}));
      f.write_uint64("/masks/offsets", offsets, {static_cast<std::int64_t>(offsets.size())});
      f.write_uint64("/masks/shape", shape, {static_cast<std::int64_t>(shape.size()) / 2, 2});
    });
  };
  EXPECT_EQ(flat({0, 6, 12}, {2, 3, 2, 3}), "no error");
  EXPECT_EQ(flat({0, 6, 6}, {2, 3, 0, 0}), "no error");
  EXPECT_EQ(flat({0, 6}, {2, 3, 2, 3}), "/masks/offsets is [2] but there are 2 images; [3] is needed");
  EXPECT_EQ(flat({0, 6, 12}, {2, 3}), "/masks/shape is [1, 2] but there are 2 images; [2, 2] is needed");
  EXPECT_EQ(flat({0, 6, 13}, {2, 3, 2, 3}),
            "/masks/offsets row 2 is 13; offsets must not fall, nor pass the 12 labels");
  EXPECT_EQ(flat({0, 6, 5}, {2, 3, 2, 3}),
            "/masks/offsets row 2 is 5; offsets must not fall, nor pass the 12 labels");
  EXPECT_EQ(flat({0, 6, 12}, {2, 3, 2, 4}),
            "/masks/shape row 1 is 2 x 4 but /masks/offsets gives it 6 labels");
  EXPECT_EQ(flat({0, 6, 12}, {2, 3, 3, 2}),
            "/masks/shape row 1 is 3 x 2 but the images are 2 x 3; write one label for each pixel");
  EXPECT_EQ(error_of([](H5File& f) { f.write("/masks/labels", integers({12})); }),
            "/masks/labels [total] needs /masks/offsets, which is missing");
}

TEST(Masks, MarksAndSizesThatDoNotFitAreRefused) {
  const auto objects = [](H5File& f) {
    f.write("/objects/image", integers({1}));
    f.write("/objects/concept", integers({1}));
    f.write("/objects/box", Tensor::zeros({1, 4}));
  };
  EXPECT_EQ(error_of([&](H5File& f) {
              objects(f);
              f.write("/objects/difficult", integers({2}));
            }),
            "/objects/difficult is [2] but there are 1 objects; write 0 or 1 for each");
  EXPECT_EQ(error_of([&](H5File& f) {
              objects(f);
              f.write("/objects/crowd", integers({1}, 2));
            }),
            "/objects/crowd row 0 is 2, but there are 2 values, 0 and 1");
  EXPECT_EQ(error_of([](H5File& f) {
              f.write("/image_sizes", integers({2, 3}, 1));
            }),
            "/image_sizes is [2, 3] but there are 2 images; height and width of each, [2, 2], are needed");
  EXPECT_EQ(error_of([](H5File& f) {
              f.write("/image_sizes", integers({2, 2}));
            }),
            "/image_sizes row 0 is 0 x 0; an image has pixels");
}

}  // namespace
}  // namespace vitral::data
