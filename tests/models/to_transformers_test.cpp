// A CLIP as a folder for transformers, and CLIPs that vitral trained: read as any other.
#include "models/pretrained/to_transformers.h"

#include <algorithm>
#include <fstream>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/hdf5/file.h"
#include "models/clip/names.h"
#include "models/pretrained/image_encoder.h"
#include "models/pretrained/text_encoder.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"

namespace vitral::models {
namespace {

using nlohmann::json;
using test::message_of;

const std::string layouts = "tests/golden/layouts/";  // tests/reference/make_layouts.py

void write(const std::string& folder, const TransformersClip& clip) {
  data::write_safetensors(folder + "/model.safetensors", clip.tensors);
  test::put_file(folder + "/config.json", clip.config);
  test::put_file(folder + "/preprocessor_config.json", clip.preprocessor);
}

std::map<std::string, Tensor> by_name(const data::NamedTensors& tensors) {
  return {tensors.begin(), tensors.end()};
}

// The names and numbers that transformers itself has written, from there and back.
TEST(ToTransformers, GivesTheFileOfTransformers) {
  for (const char* name : {"transformers_clip", "transformers_bin_gelu", "transformers_shards"}) {
    SCOPED_TRACE(name);
    const Checkpoint checkpoint = read_checkpoint(layouts + name);
    auto expected = by_name(checkpoint.tensors);
    std::erase_if(expected, [](const auto& entry) { return entry.first.ends_with("position_ids"); });
    // By way of our names.
    data::NamedTensors own;
    for (auto& [key, tensor] : clip_image_part(checkpoint.tensors, name))
      own.emplace_back("visual." + key, tensor);
    for (auto& entry : clip_text_part(checkpoint.tensors, name)) own.push_back(entry);
    own.emplace_back("logit_scale", expected.at("logit_scale").reshape({1}));
    Checkpoint ours = checkpoint;
    ours.tensors = own;
    for (const auto& from : {checkpoint, ours}) {
      const auto got = by_name(to_transformers(from).tensors);
      EXPECT_EQ(got.size(), expected.size());
      for (const auto& [key, tensor] : expected) {
        ASSERT_TRUE(got.contains(key)) << key;
        EXPECT_EQ(got.at(key).dtype(), tensor.dtype()) << key;
        EXPECT_EQ(got.at(key).shape(), tensor.shape()) << key;
        EXPECT_EQ(got.at(key).to_vector(), tensor.to_vector()) << key;
      }
    }
  }
}

TEST(ToTransformers, SaysWhatTheModelIs) {
  const TransformersClip clip = to_transformers(read_checkpoint(layouts + "transformers_bin_gelu"));
  const json config = json::parse(clip.config),
             theirs = json::parse(std::ifstream(layouts + "transformers_bin_gelu/config.json"));
  EXPECT_EQ(config["architectures"], json{"CLIPModel"});
  EXPECT_EQ(config["model_type"], "clip");
  EXPECT_EQ(config["projection_dim"], 8);
  EXPECT_EQ(config["torch_dtype"], "bfloat16");
  for (const char* tower : {"text_config", "vision_config"}) {
    for (const auto& [key, value] : config[tower].items())
      if (key != "projection_dim" && theirs[tower].contains(key) && !key.ends_with("token_id")) {
        EXPECT_EQ(value, theirs[tower][key]) << key;
      }
    EXPECT_EQ(config[tower]["hidden_act"], "gelu");
    EXPECT_EQ(config[tower]["intermediate_size"], 32);
    EXPECT_EQ(config[tower]["projection_dim"], 8);
  }
  EXPECT_EQ(config["vision_config"]["num_attention_heads"], 4);
  EXPECT_EQ(config["vision_config"]["image_size"], 8);
  EXPECT_EQ(config["vision_config"]["patch_size"], 4);
  EXPECT_EQ(config["text_config"]["num_attention_heads"], 1);
  EXPECT_EQ(config["text_config"]["vocab_size"], 614);
  EXPECT_EQ(config["text_config"]["max_position_embeddings"], 12);
  EXPECT_EQ(config["text_config"]["bos_token_id"], 612);
  EXPECT_EQ(config["text_config"]["eos_token_id"], 613);
}

TEST(ToTransformers, EmbeddingsStayWhatTheyAre) {
  const data::H5File expected = data::H5File::open(layouts + "expected.h5");
  const auto texts = expected.read_strings("texts");
  for (const char* name :
       {"open_clip_gelu", "open_clip_bin", "transformers_clipseg", "transformers_shards"}) {
    SCOPED_TRACE(name);
    const test::TempDir folder;
    write(folder.str(), to_transformers(read_checkpoint(layouts + name)));
    const std::string group = name;
    const auto image = ImageEncoder::load(folder.str()), before = ImageEncoder::load(layouts + name);
    EXPECT_EQ(image.guessed(), "");
    EXPECT_LT(test::relative_error(image.embed(expected.read("images")), expected.read(group + "/image")),
              1e-5);
    EXPECT_LT(test::relative_error(TextEncoder::load(folder.str(), test::small_merges).embed(texts),
                                   expected.read(group + "/text")),
              1e-5);
    // Margins that are odd go as transformers has them, whatever the source.
    data::ResizeCrop as_before = before.preprocessing().resize_crop;
    as_before.odd_margin = data::OddMargin::down;
    if (as_before.mode == data::ResizeCrop::Mode::stretch || as_before.resize == 0) as_before.resize = 8;
    EXPECT_EQ(describe(image.preprocessing().resize_crop), describe(as_before));
    EXPECT_EQ(image.preprocessing().statistics.mean, before.preprocessing().statistics.mean);
    EXPECT_EQ(image.preprocessing().statistics.std, before.preprocessing().statistics.std);
  }
}

TEST(ToTransformers, WhatIsNoWholeClipIsRefused) {
  const test::TempDir dir;
  const auto refused = [&](auto&& remove) {
    data::NamedTensors tensors = test::tiny_clip_state();
    std::erase_if(tensors, [&](const auto& entry) { return remove(entry.first); });
    data::write_safetensors(dir / "clip.safetensors", tensors);
    return message_of([&] { to_transformers(read_checkpoint(dir / "clip.safetensors")); });
  };
  const std::string where = dir / "clip.safetensors",
                    both = "; a folder for transformers is made of both towers of a CLIP";
  EXPECT_EQ(refused([](const std::string&) { return false; }), "no error");
  EXPECT_EQ(refused([](const std::string& name) { return name.starts_with("visual."); }),
            where + ": has no image tower" + both);
  EXPECT_EQ(refused([](const std::string& name) { return !name.starts_with("visual."); }),
            where + ": has no text tower" + both);
  EXPECT_EQ(refused([](const std::string& name) { return name == "logit_scale"; }),
            where + ": has no 'logit_scale' of one number, the temperature that a CLIP learns");
  EXPECT_EQ(message_of([&] { to_transformers(read_checkpoint("tests/golden/siglip")); }),
            "tests/golden/siglip: is SigLIP; a folder for transformers is made of a CLIP");
  data::NamedTensors tensors = test::tiny_clip_state();
  for (auto& [name, tensor] : tensors)
    if (name == "text_projection") tensor = test::noise({64, 20}, 1);
  data::write_safetensors(where, tensors);
  EXPECT_EQ(
      message_of([&] { to_transformers(read_checkpoint(where)); }),
      where + ": the embeddings of its images are 16 wide, those of its texts 20; they must share a space");
}

// --- CLIPs that vitral trained
// ------------------------------------------------------------------------------

class TrainedClip : public testing::Test {
 protected:
  test::TempDir dir_;
  std::string run_ = dir_ / "run", checkpoint_ = test::write_trained_clip(run_),
              file_ = checkpoint_ + "/model.safetensors";
};

TEST_F(TrainedClip, IsReadByEachOfItsPaths) {
  test::write_tiny_clip(dir_ / "folder");
  data::write_safetensors(dir_ / "folder/model.safetensors", test::tiny_clip_state());
  test::put_file(dir_ / "folder/config.json",
                 R"({"vision_config": {"num_attention_heads": 2, "hidden_act": "quick_gelu"},
                     "text_config": {"num_attention_heads": 2, "hidden_act": "quick_gelu"}})");
  const std::vector<std::string> texts{"a photo of a cat", "the dog"};
  const Tensor images = test::noise({2, 24, 24, 3}, 1, DType::uint8),
               image = ImageEncoder::load(dir_ / "folder").embed(images),
               text = TextEncoder::load(dir_ / "folder").embed(texts);
  for (const std::string& path : {run_, run_ + "/", checkpoint_, checkpoint_ + "/", file_,
                                  run_ + "/../run/checkpoints/step-000000005"}) {
    SCOPED_TRACE(path);
    const auto images_of = ImageEncoder::load(path);
    EXPECT_EQ(images_of.family(), "CLIP");
    EXPECT_EQ(images_of.guessed(), "");
    EXPECT_EQ(images_of.config().block.heads, 2);
    EXPECT_EQ(images_of.embed(images).to_vector(), image.to_vector());
    EXPECT_EQ(images_of.preprocessing().statistics.mean, clip_statistics.mean);
    const auto texts_of = TextEncoder::load(path);
    EXPECT_EQ(texts_of.guessed(), "");
    EXPECT_EQ(texts_of.config().block.heads, 2);
    EXPECT_EQ(texts_of.embed(texts).to_vector(), text.to_vector());
  }
  const TransformersClip clip = to_transformers(read_checkpoint(run_));
  EXPECT_EQ(json::parse(clip.config)["vision_config"]["num_attention_heads"], 2);
  EXPECT_EQ(by_name(clip.tensors).at("logit_scale").rank(), 0);
}

TEST_F(TrainedClip, DamageIsOneClearLine) {
  std::filesystem::remove(run_ + "/merges.txt");
  EXPECT_EQ(message_of([&] { TextEncoder::load(checkpoint_); }),
            std::filesystem::path(run_).string() +
                ": has no vocabulary, neither merges.txt, bpe_simple_vocab_16e6.txt.gz nor tokenizer.json; "
                "give CLIP's bpe_simple_vocab_16e6.txt.gz, merges.txt or tokenizer.json (--vocab, "
                "model.text.vocabulary)");
  EXPECT_EQ(TextEncoder::load(file_, test::small_merges).config().vocabulary, 614);
  auto metadata = data::read_safetensors(file_).metadata;
  metadata["clip.vision.width"] = "128";
  data::write_safetensors(file_, test::tiny_clip_state(), metadata);
  EXPECT_EQ(message_of([&] { ImageEncoder::load(file_); }),
            file_ +
                ": the configuration beside it says that hidden_size of the CLIP image tower is 128, the "
                "tensors are 64 wide; it belongs to other weights, keep these in a folder of their own");
  metadata["clip.vision.depth"] = "1";
  data::write_safetensors(file_, test::tiny_clip_state(), metadata);
  EXPECT_TRUE(message_of([&] {
                ImageEncoder::load(file_);
              }).starts_with(file_ + ": metadata clip.vision.depth: unknown key; known are "));
}

}  // namespace
}  // namespace vitral::models
