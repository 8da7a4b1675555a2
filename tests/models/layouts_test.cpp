// Pretrained models in the layouts in which transformers, open_clip and trainers leave their files: the same
// embeddings of images and texts (tests/reference/make_layouts.py).
#include <charconv>
#include <filesystem>

#include <gtest/gtest.h>

#include "models/pretrained/image_encoder.h"
#include "models/pretrained/text_encoder.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"
#include "tests/support.h"

namespace vitral::models {
namespace {

namespace fs = std::filesystem;

const std::string golden = "tests/golden/layouts/";
constexpr double tolerance = 1e-5;

class Layouts : public testing::Test {
 protected:
  // What the files at `path` give is what those of the layout `name` gave there.
  void expect_as(const std::string& name, const std::string& path, const TowerChoices& choices) {
    const auto names = expected_.list(name);
    const auto has = [&](const char* part) {
      return std::find(names.begin(), names.end(), part) != names.end();
    };
    if (has("image")) {
      const ImageEncoder encoder = ImageEncoder::load(path, cpu, choices);
      EXPECT_LT(
          test::relative_error(encoder.embed(expected_.read("images")), expected_.read(name + "/image")),
          tolerance)
          << path;
      ++images_;
    }
    if (has("text")) {
      const TextEncoder encoder = TextEncoder::load(path, test::small_merges, cpu, choices);
      EXPECT_LT(test::relative_error(encoder.embed(texts_), expected_.read(name + "/text")), tolerance)
          << path;
      ++with_texts_;
    }
  }

  TowerChoices choices(const std::string& name) const {
    return {std::stoi(expected_.attribute("heads", name).value()),
            expected_.attribute("activation", name).value()};
  }
  std::string path(const std::string& name) const {
    return golden + expected_.attribute("path", name).value();
  }

  data::H5File expected_ = data::H5File::open(golden + "expected.h5");
  std::vector<std::string> texts_ = expected_.read_strings("texts");
  int images_ = 0, with_texts_ = 0;
};

TEST_F(Layouts, GiveWhatTheirLibrariesGive) {
  for (const std::string& name : expected_.list("/"))
    if (name != "images" && name != "texts") expect_as(name, path(name), choices(name));
  EXPECT_EQ(images_, 16);
  EXPECT_EQ(with_texts_, 12);
}

TEST_F(Layouts, OfTheHubsCache) {
  const test::TempDir cache;
  const fs::path model = fs::path(cache.str()) / "models--org--clip",
                 snapshot = model / "snapshots" / "0123abcd";
  fs::create_directories(snapshot);
  fs::create_directories(model / "refs");
  fs::create_directories(model / "blobs");
  test::put_file((model / "refs" / "main").string(), "0123abcd");
  for (const auto& entry : fs::directory_iterator(golden + "transformers_shards")) {
    fs::copy_file(entry.path(), model / "blobs" / entry.path().filename());
    fs::create_symlink(fs::path("../../blobs") / entry.path().filename(), snapshot / entry.path().filename());
  }
  expect_as("transformers_shards", model.string(), {});
  expect_as("transformers_shards", snapshot.string(), {});
}

TEST_F(Layouts, AFileInAFolderIsTheFolder) {
  expect_as("transformers_clip", golden + "transformers_clip/model.safetensors", {});
  expect_as("transformers_bin_gelu", golden + "transformers_bin_gelu/pytorch_model.bin", {});
  expect_as("transformers_shards", golden + "transformers_shards/model.safetensors.index.json", {});
  expect_as("transformers_bin_shards", golden + "transformers_bin_shards/pytorch_model.bin.index.json", {});
  expect_as("open_clip_gelu", golden + "open_clip_gelu/open_clip_model.safetensors", {});
  expect_as("open_clip_bin", golden + "open_clip_bin/open_clip_pytorch_model.bin", {});
}

TEST_F(Layouts, PrefixesInAnyOrder) {
  const test::TempDir folder;
  const data::NamedTensors tensors =
      data::read_safetensors(golden + "open_clip_gelu/open_clip_model.safetensors").tensors;
  fs::copy_file(golden + "open_clip_gelu/open_clip_config.json", folder / "open_clip_config.json");
  for (const std::string prefix : {"module.", "_orig_mod.", "model.", "clip.", "module._orig_mod.",
                                   "_orig_mod.module.", "model.module.", "model.clip.model."}) {
    data::NamedTensors wrapped = tensors;
    for (auto& [name, tensor] : wrapped) name.insert(0, prefix);
    data::write_safetensors(folder / "open_clip_model.safetensors", wrapped);
    expect_as("open_clip_gelu", folder.str(), {});
  }
}

}  // namespace
}  // namespace vitral::models
