// What transformers' and open_clip's files say of the images, read.
#include "models/pretrained/preprocessing.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/golden.h"
#include "tests/support.h"

namespace vitral::models {
namespace {

using data::Filter;
using data::OddMargin;
using data::ResizeCrop;
using nlohmann::json;
using test::message_of;

Preprocessing processor(const char* text) { return parse_image_processor(json::parse(text), "p.json"); }
Preprocessing open_clip(const char* text) { return parse_preprocess_cfg(json::parse(text), "p.json"); }

constexpr auto edge = ResizeCrop::Mode::shorter_edge, stretch = ResizeCrop::Mode::stretch;

struct Case {
  const char* text;
  ResizeCrop expected;
  int size;
};

TEST(Preprocessing, OfTransformers) {
  const OddMargin down = OddMargin::down;
  for (const auto& [text, expected, size] : {
           Case{R"({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3,
                    "do_center_crop": true, "image_processor_type": "BitImageProcessor"})",
                {edge, 256, Filter::bicubic, down},
                224},
           // As transformers 4.20 and before wrote it.
           Case{R"({"size": 336, "crop_size": 224, "do_center_crop": true, "resample": 2,
                    "feature_extractor_type": "CLIPFeatureExtractor"})",
                {edge, 336, Filter::bilinear, down},
                224},
           Case{R"({"size": 64, "feature_extractor_type": "ViTFeatureExtractor"})",
                {stretch, 64, Filter::bilinear, down},
                64},
           Case{R"({"size": {"height": 64, "width": 64}, "image_processor_type": "SiglipImageProcessor"})",
                {stretch, 64, Filter::bicubic, down},
                64},
           Case{R"({"size": [96, 96], "do_center_crop": true, "crop_size": 64})",
                {stretch, 96, Filter::bicubic, down},
                64},
           Case{R"({"image_processor_type": "SiglipImageProcessorFast"})",
                {stretch, 0, Filter::bicubic, down},
                0},
           Case{"{}", {edge, 0, Filter::bicubic, down}, 0},
       }) {
    const Preprocessing got = processor(text);
    EXPECT_EQ(got.resize_crop, expected) << text;
    EXPECT_EQ(got.size, size) << text;
    EXPECT_EQ(got.problem, "") << text;
    EXPECT_EQ(resize_crop_for(got, size == 0 ? 32 : size), expected) << text;
  }
}

TEST(Preprocessing, OfOpenClip) {
  const OddMargin even = OddMargin::to_even;
  for (const auto& [text, expected, size] : {
           Case{R"({"size": [3, 224, 224], "resize_mode": "shortest"})", {edge, 0, Filter::bicubic, even}, 0},
           Case{R"({"resize_mode": "squash", "interpolation": "bilinear"})",
                {stretch, 0, Filter::bilinear, even},
                0},
           Case{R"({"interpolation": "random"})", {}, 0},
       }) {
    EXPECT_EQ(open_clip(text).resize_crop, expected) << text;
    EXPECT_EQ(open_clip(text).size, size) << text;
  }
  const ChannelStatistics s = open_clip(R"({"mean": 0.5, "std": [1, 2, 3]})").statistics;
  EXPECT_EQ(s.mean, (std::array{0.5F, 0.5F, 0.5F}));
  EXPECT_EQ(s.std, (std::array{1.0F, 2.0F, 3.0F}));
}

TEST(Preprocessing, Statistics) {
  EXPECT_EQ(processor("{}").statistics.mean, clip_statistics.mean);
  EXPECT_EQ(processor(R"({"image_processor_type": "ViTImageProcessor"})").statistics.std,
            (std::array{0.5F, 0.5F, 0.5F}));
  const ChannelStatistics plain = processor(R"({"do_normalize": false, "image_mean": [1, 1, 1]})").statistics;
  EXPECT_EQ(plain.mean, (std::array{0.0F, 0.0F, 0.0F}));
  EXPECT_EQ(plain.std, (std::array{1.0F, 1.0F, 1.0F}));
  // (255 - 127.5) / 51 of bytes is (1 - 0.5) / 0.2.
  const ChannelStatistics bytes =
      processor(R"({"do_rescale": false, "image_mean": 127.5, "image_std": 51})").statistics;
  EXPECT_EQ(bytes.mean, (std::array{0.5F, 0.5F, 0.5F}));
  EXPECT_EQ(bytes.std, (std::array{0.2F, 0.2F, 0.2F}));
  const ChannelStatistics same = processor(R"({"rescale_factor": 0.00392156862745098})").statistics;
  EXPECT_EQ(same.mean, clip_statistics.mean);
}

TEST(Preprocessing, WhatItCannotDoIsNamedWhereItMatters) {
  const auto problem = [](const Preprocessing& p) { return message_of([&] { resize_crop_for(p, 224); }); };
  const auto cannot = [](const std::string& what) {
    return "p.json: " + what + ", which the transform 'clip' cannot do; take 'resize'";
  };
  EXPECT_EQ(problem(processor(R"({"resample": 1})")), cannot("resample is 1 (lanczos)"));
  EXPECT_EQ(problem(processor(R"({"resample": 9})")), cannot("resample is 9"));
  EXPECT_EQ(problem(processor(R"({"do_resize": false})")), cannot("do_resize is false"));
  EXPECT_EQ(problem(processor(R"({"do_center_crop": false})")), cannot("do_center_crop is false"));
  EXPECT_EQ(problem(processor(R"({"size": {"height": 64, "width": 32}})")),
            cannot(R"(size is {"height":64,"width":32})"));
  EXPECT_EQ(problem(processor(R"({"size": {"shortest_edge": 64, "longest_edge": 99}})")),
            cannot(R"(size is {"longest_edge":99,"shortest_edge":64})"));
  EXPECT_EQ(problem(processor(R"({"crop_pct": 0.9})")), cannot("crop_pct is 0.9"));
  EXPECT_EQ(problem(open_clip(R"({"resize_mode": "longest"})")),
            cannot("preprocess_cfg.resize_mode is longest"));
  EXPECT_EQ(problem(open_clip(R"({"interpolation": "lanczos"})")),
            cannot("preprocess_cfg.interpolation is lanczos"));
  EXPECT_EQ(
      problem(processor(R"({"crop_size": 256})")),
      "p.json: makes images of 256 x 256 pixels, the image tower reads 224 x 224; take the preprocessor "
      "that belongs to the weights, or the transform 'resize'");
  EXPECT_EQ(message_of([] { processor(R"({"size": {"shortest_edge": "big"}})"); }),
            "p.json: size.shortest_edge is \"big\"; it must be a whole number of pixels, at most 16384");
  EXPECT_EQ(message_of([] { processor(R"({"rescale_factor": 0})"); }),
            "p.json: rescale_factor must be a number above 0");
}

// tests/reference/make_preprocessing.py: the processors of transformers on Pillow, open_clip's transform.
TEST(Preprocessing, PixelsOfTransformersAndOpenClip) {
  const std::string golden = "tests/golden/preprocessing.h5";
  const auto file = data::H5File::open(golden);
  const auto cases = file.list("cases"), images = file.list("images");
  EXPECT_EQ(cases.size(), 14U);
  EXPECT_EQ(images.size(), 11U);
  for (const std::string& name : cases) {
    const std::string group = "cases/" + name;
    const auto config = json::parse(file.attribute("config", group).value());
    const Preprocessing own = file.attribute("library", group) == "open_clip"
                                  ? parse_preprocess_cfg(config, name)
                                  : parse_image_processor(config, name);
    for (const std::string& image : images) {
      const Tensor expected = file.read(group + "/" + image);
      const int size = static_cast<int>(expected.dim(0));
      const Tensor actual = data::resize_crop(file.read("images/" + image), size, resize_crop_for(own, size));
      EXPECT_EQ(test::max_difference(actual, expected), 0) << name << " " << image;
    }
  }
}

}  // namespace
}  // namespace vitral::models
