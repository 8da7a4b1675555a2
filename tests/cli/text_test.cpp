// Texts and images together, as a user asks for them: embed --text, activate, search.
#include <algorithm>

#include "data/hdf5/file.h"
#include "data/images/image.h"
#include "infer/activations.h"
#include "infer/search.h"
#include "tests/cli/small_run.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::json_of;
using test::run;

const std::string weights = "tests/golden/run_init.safetensors";  // 16x16 pixels, 4x4 patches, width 16

// A folder with CLIP (`clip`), five images (`in`) and the name of an output.
class Texts : public testing::Test {
 protected:
  Texts() {
    test::write_tiny_clip(clip_);
    std::filesystem::create_directory(images_);
    for (int i = 0; i < 5; ++i)
      data::write_png(fmt::format("{}/{}.png", images_, i),
                      test::noise({30, 20 + i, 3}, static_cast<std::uint64_t>(i), DType::uint8));
  }

  test::TempDir dir_;
  std::string clip_ = dir_ / "clip", images_ = dir_ / "in", out_ = dir_ / "out.h5",
              picture_ = dir_ / "out.png";
};

using EmbedText = Texts;
using ActivateText = Texts;
using SearchText = Texts;

TEST_F(EmbedText, IsTheEncoderOnEachText) {
  const auto clip = models::TextEncoder::load(clip_);
  std::ofstream(dir_ / "more.txt") << "camera\r\n\n  \nthe dog\n";
  const json summary = json_of(run({"embed", "--text", "a cat", "東京", "--text-file", dir_ / "more.txt",
                                    "--clip", clip_, "-o", out_, "--json"}));
  EXPECT_EQ(summary["texts"], 4);
  EXPECT_EQ(summary["width"], 16);
  const std::vector<std::string> expected{"a cat", "東京", "camera", "the dog"};
  {
    const data::H5File file = data::H5File::open(out_);
    EXPECT_EQ(file.read_strings("/texts"), expected);
    EXPECT_LT(test::relative_error(file.read("/embeddings"), clip.embed(expected)), 1e-6);
    EXPECT_EQ(file.attribute("clip"), clip_);
    EXPECT_EQ(file.attribute("clip_tower"), "CLIP, 1 heads, quick_gelu");
  }
  std::ofstream(dir_ / "templates.txt") << "the {}\n";
  expect_done(run({"embed", "--text", "cat", "--template", "a {}", "--templates", dir_ / "templates.txt",
                   "--clip", clip_ + "/model.safetensors", "--vocab", test::small_merges, "-o", out_}));
  const data::H5File file = data::H5File::open(out_);
  EXPECT_LT(
      test::relative_error(file.read("/embeddings"), clip.embed_prompts({"cat"}, {"a {}", "the {}"}).units),
      1e-6);
  EXPECT_EQ(file.attribute("templates"), "a {}\nthe {}");
}

TEST_F(EmbedText, ErrorsAreOneLine) {
  const auto before = test::contents_of(dir_.str());
  expect_failure(run({"embed", "-o", out_}), 2,
                 "embed needs WEIGHTS and IMAGES, or --text; see vitral embed --help");
  expect_failure(run({"embed", weights, "-o", out_}), 2,
                 "embed needs WEIGHTS and IMAGES, or --text; see vitral embed --help");
  expect_failure(run({"embed", "--text", "a", "-o", out_}), 2,
                 "texts need CLIP's weights; name them with --clip");
  expect_failure(run({"embed", weights, images_, "--text", "a", "--clip", clip_, "-o", out_}), 2,
                 weights + ": texts are embedded by CLIP alone; leave out WEIGHTS and IMAGES, or --text");
  expect_failure(run({"embed", weights, images_, "--clip", clip_, "-o", out_}), 2,
                 clip_ + ": belongs to --text, and no text is given");
  expect_failure(run({"embed", "--text", "a", "--patches", "--clip", clip_, "-o", out_}), 2,
                 "--patches: texts have no patches; leave it out");
  expect_failure(
      run({"embed", "--text", "a", "--clip", clip_, "--template", "photo", "-o", out_}), 2,
      "template 'photo': has no {}, the place of the prompt; write one, as in \"a photo of a {}\"");
  expect_failure(run({"embed", "--text-file", images_, "--clip", clip_, "-o", out_}), 2,
                 images_ + ": is a directory, not a file; give a regular file");
  expect_failure(run({"embed", "--text", "a", "--clip", clip_, "-o", clip_ + "/merges.txt", "--vocab",
                      clip_ + "/merges.txt"}),
                 2, clip_ + "/merges.txt: is one of the inputs; name another file for the output");
  EXPECT_EQ(run({"embed", "--text", "a", "--clip", weights, "-o", out_}).status, 2);  // no CLIP
  EXPECT_EQ(test::contents_of(dir_.str()), before);
}

TEST_F(ActivateText, DrawsAndTellsWhatTheLibraryComputes) {
  const std::string image = images_ + "/1.png";
  const json told = json_of(run({"activate", weights, image, "--text", "a cat", "the dog", "--clip", clip_,
                                 "--teacher", clip_, "-o", picture_, "--json"}));
  const auto encoder = models::Encoder::load(weights);
  const auto texts = infer::embed_texts(models::TextEncoder::load(clip_), {"a cat", "the dog"});
  const auto teacher = models::ImageEncoder::load(clip_);
  const auto a =
      infer::activations_of(encoder, data::read_image(image), "1.png", infer::targets_of(texts), &teacher);
  const json& one = told["images"][0];
  EXPECT_EQ(one["name"], "1.png");
  const auto expect_grid = [](const json& grid, const Tensor& expected) {
    ASSERT_EQ(grid.size(), static_cast<std::size_t>(expected.dim(0)));
    for (std::size_t r = 0; r < grid.size(); ++r)
      for (std::size_t c = 0; c < grid[r].size(); ++c)
        EXPECT_NEAR(grid[r][c].get<double>(),
                    expected.to_vector()[r * static_cast<std::size_t>(expected.dim(1)) + c], 1e-5);
  };
  expect_grid(one["weights"], a.probs);
  expect_grid(one["teacher_attention"], a.attention);
  ASSERT_EQ(one["texts"].size(), 2U);
  EXPECT_EQ(one["texts"][1]["text"], "the dog");
  for (std::size_t t = 0; t < 2; ++t) {
    expect_grid(one["texts"][t]["cosines"], a.targets[t].cosines);
    expect_grid(one["texts"][t]["softmax"], a.targets[t].softmax);
  }
  infer::ActivationOptions options;
  options.caption = "cosine of patch and text";
  const auto row = infer::activation_row(a, infer::ActivationStyle::both, true);
  EXPECT_TRUE(data::read_image(picture_).to_vector() ==
              infer::draw_activations(std::span(&row, 1), options).to_vector());
}

TEST_F(ActivateText, RowsColumnsAndFormats) {
  const auto size_of = [&](std::vector<std::string> arguments, const std::string& output) {
    arguments.insert(arguments.begin(), {"activate", weights});
    for (const std::string more : {"--clip", clip_.c_str(), "--cell", "64", "-o", output.c_str()})
      arguments.push_back(more);
    expect_done(run(arguments));
    const Tensor t = data::read_image(output);
    return std::pair(t.dim(1), t.dim(0));
  };
  const std::string one = images_ + "/1.png";
  const auto cosine = size_of({one, "--text", "a", "--style", "cosine"}, picture_);
  const auto both = size_of({one, "--text", "a"}, dir_ / "b.jpg");
  const auto weighted = size_of({one, "--text", "a", "--weights", "--style", "softmax"}, dir_ / "c.jpeg");
  const auto many = size_of({images_, "--text", "a", "--style", "cosine"}, picture_);
  EXPECT_EQ(both.first, cosine.first + 64 + 14);
  EXPECT_EQ(weighted.first, both.first);
  EXPECT_EQ(both.second, cosine.second);
  EXPECT_EQ(many.first, cosine.first);
  EXPECT_EQ(many.second, cosine.second + 4 * (64 + 22 + 14));
  EXPECT_EQ(test::bytes_of_file(dir_ / "b.jpg").substr(0, 2), "\xFF\xD8");
  // Stored texts need no CLIP; a dataset's images may be asked about texts, too.
  expect_done(run({"embed", "--text", "a", "b", "--clip", clip_, "-o", dir_ / "texts.h5"}));
  test::write_dataset(dir_ / "data.h5", 3);
  for (const auto& [input, rows] : {std::pair(one, 1U), std::pair(dir_ / "data.h5", 3U)}) {
    const json told = json_of(run(
        {"activate", weights, input, "--texts", dir_ / "texts.h5", "--text", "b", "--count", "3", "--json"}));
    ASSERT_EQ(told["images"].size(), rows);
    ASSERT_EQ(told["images"][0]["texts"].size(), 1U);
    EXPECT_EQ(told["images"][0]["texts"][0]["text"], "b");
  }
}

TEST_F(ActivateText, ErrorsAreOneLine) {
  const std::string one = images_ + "/1.png", wide = dir_ / "wide";
  test::write_tiny_clip(wide, 20);
  test::write_dataset(dir_ / "data.h5", 3);
  const auto before = test::contents_of(dir_.str());
  const auto fails = [&](std::vector<std::string> arguments, int status, const std::string& message) {
    arguments.insert(arguments.begin(), {"activate", weights});
    expect_failure(run(arguments), status, message);
  };
  fails({one, "--text", "a", "--clip", clip_}, 2, "--output is required, or --json for the numbers alone");
  fails({one, "--text", "a", "--clip", clip_, "-o", dir_ / "a.gif"}, 2,
        (dir_ / "a.gif") + ": pictures are PNG or JPEG, name a .png, .jpg or .jpeg file");
  fails({one, "-o", picture_}, 2,
        one + ": is no dataset with concepts; give --text and --clip, --teacher or --weights");
  fails({one, "--text", "a", "--clip", clip_, "--concept", "b", "-o", picture_}, 2,
        one + ": --concept and --image choose from datasets; give --text for images");
  fails({dir_ / "data.h5", "--text", "a", "--clip", clip_, "--concept", "b", "-o", picture_}, 2,
        "--concept and --text exclude each other");
  fails({dir_ / "data.h5", one, "--text", "a", "--clip", clip_, "-o", picture_}, 2,
        (dir_ / "data.h5") + ": is a dataset beside images; give either datasets or images");
  fails({one, "--text", "a", "--clip", wide, "-o", picture_}, 2,
        "the texts' embeddings are 20 wide, those of the student 16; they must share a teacher");
  fails({clip_ + "/merges.txt", "--text", "a", "--clip", clip_, "-o", picture_}, 1,
        clip_ + "/merges.txt: not an image of a known format");
  EXPECT_EQ(test::contents_of(dir_.str()), before);
}

TEST_F(SearchText, ImagesAndStoredEmbeddingsAgree) {
  expect_done(run({"embed", weights, images_, "-o", out_}));
  const json live = json_of(run({"search", weights, images_, "--text", "a cat", "dog", "--clip", clip_, "-k",
                                 "3", "--json", "-o", picture_, "--cell", "64"}));
  const json stored = json_of(run({"search", out_, "--text", "a cat", "dog", "--clip", clip_, "-k", "3",
                                   "--json", "--root", images_, "-o", dir_ / "s.png", "--cell", "64"}));
  EXPECT_EQ(live["images"], 5);
  ASSERT_EQ(live["queries"].size(), 2U);
  const auto texts = models::TextEncoder::load(clip_).embed({"a cat", "dog"});
  infer::Search search(texts, 3);
  search.add(data::H5File::open(out_).read("/embeddings"), 0);
  for (std::size_t q = 0; q < 2; ++q) {
    EXPECT_EQ(live["queries"][q]["kind"], "text");
    const auto expected = search.hits(static_cast<std::int64_t>(q));
    ASSERT_EQ(live["queries"][q]["hits"].size(), 3U);
    for (std::size_t k = 0; k < 3; ++k)
      for (const json& told : {live["queries"][q]["hits"][k], stored["queries"][q]["hits"][k]}) {
        EXPECT_EQ(told["index"], expected[k].index);
        EXPECT_EQ(told["name"], fmt::format("{}.png", expected[k].index));
        EXPECT_NEAR(told["score"].get<double>(), expected[k].score, 1e-5);
      }
  }
  EXPECT_TRUE(data::read_image(picture_).to_vector() == data::read_image(dir_ / "s.png").to_vector());
}

TEST_F(SearchText, StudentBesideTeacherAndImageQueries) {
  const std::string query = images_ + "/2.png";
  const json told =
      json_of(run({"search", weights, images_, "--query-image", query, "--teacher", clip_, "--json"}));
  const json& found = told["queries"][0];
  EXPECT_EQ(found["kind"], "image");
  EXPECT_EQ(found["hits"].size(), 5U);  // there are no more
  for (const char* who : {"hits", "teacher_hits"}) {
    EXPECT_EQ(found[who][0]["name"], "2.png");
    EXPECT_NEAR(found[who][0]["score"].get<double>(), 1, 1e-5);
    EXPECT_LT(found[who][1]["score"].get<double>(), 0.99999);
  }
  const test::Result table =
      run({"search", weights, images_, "--query-image", query, "--teacher", clip_, "-k", "1"});
  expect_done(table);
  EXPECT_EQ(table.out, query +
                           "\n  rank   cosine  student    cosine  teacher\n"
                           "     1   1.0000  2.png      1.0000  2.png\n");
  expect_done(run({"embed", weights, images_, "-o", out_}));
  const json stored =
      json_of(run({"search", out_, "--query-image", query, "--student", weights, "-k", "1", "--json"}));
  EXPECT_EQ(stored["queries"][0]["hits"][0]["name"], "2.png");
  // Two files of embeddings of the same images, one the teacher's.
  const json pair =
      json_of(run({"search", out_, "--teacher", out_, "--text", "a", "--clip", clip_, "--json"}));
  EXPECT_EQ(pair["queries"][0]["hits"], pair["queries"][0]["teacher_hits"]);
}

TEST_F(SearchText, WhatDoesNotDecodeIsToldAndLeftOut) {
  std::ofstream(images_ + "/1.png") << "no image";
  const test::Result r = run({"search", weights, images_, "--text", "a", "--clip", clip_, "--json"});
  expect_done(r);
  EXPECT_EQ(r.err, "skipped 1 of 5 images: " + images_ + "/1.png: not an image of a known format\n");
  const json told = json::parse(r.out);
  EXPECT_EQ(told["images"], 4);
  EXPECT_EQ(told["skipped"][0]["name"], "1.png");
  for (const auto& hit : told["queries"][0]["hits"]) EXPECT_NE(hit["name"], "1.png");
}

TEST_F(SearchText, ErrorsAreOneLine) {
  expect_done(run({"embed", weights, images_, "-o", out_}));
  const std::string wide = dir_ / "wide", none = dir_ / "none";
  test::write_tiny_clip(wide, 20);
  const auto before = test::contents_of(dir_.str());
  const auto fails = [&](std::vector<std::string> arguments, const std::string& message) {
    arguments.insert(arguments.begin(), "search");
    expect_failure(run(arguments), 2, message);
  };
  fails({weights, images_}, "nothing to search for; give --text or --query-image");
  fails({weights, "--text", "a", "--clip", clip_},
        weights + ": is no file of embeddings; as weights of a student it needs IMAGES to search in");
  fails({out_, images_, "--text", "a", "--clip", clip_},
        out_ + ": holds embeddings, so there is nothing to embed; leave out " + images_);
  fails({out_, "--text", "a", "--clip", clip_, "-o", picture_},
        out_ + ": holds no images for " + picture_ + "; name the folder of its /names with --root");
  fails({out_, "--query-image", images_ + "/1.png"},
        "--query-image: name the weights that embed it with --student");
  fails({out_, "--text", "a", "--clip", clip_, "--teacher", clip_},
        clip_ + ": beside stored embeddings the teacher's must be stored, too; give an HDF5 file");
  fails({weights, images_, "--text", "a", "--clip", clip_, "--root", images_},
        "--student and --root belong to stored embeddings, " + weights + " are weights");
  fails({out_, "--text", "a", "--clip", wide},
        "the texts' embeddings are 20 wide, those of " + out_ + " 16; they must share a teacher");
  fails({weights, none, "--text", "a", "--clip", clip_}, none + ": no such file or folder");
  fails({out_, "--texts", out_}, out_ + ": has no /texts; give a file that `vitral embed --text` wrote");
  fails({out_, "--text", "a", "--clip", clip_, "--texts", out_},
        "--texts holds embeddings already; leave out --clip, --vocab and templates");
  fails({out_, "--text", "a", "-k", "0"}, "-k: Value 0 not in range 1 to 10000; see vitral --help");
  EXPECT_EQ(test::contents_of(dir_.str()), before);
}

}  // namespace
}  // namespace vitral
