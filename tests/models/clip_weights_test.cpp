// CLIP's weights in a folder as Hugging Face has it, with config.json beside them.
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "models/clip/weights.h"
#include "tests/support.h"

namespace vitral::models {
namespace {

using test::message_of;

class ClipFolder : public testing::Test {
 protected:
  ClipFolder() {
    data::write_safetensors(folder_ / "model.safetensors", {{"w", Tensor::full({2}, 3)}}, {{"format", "pt"}});
  }
  void config(const std::string& text) { std::ofstream(folder_ / "config.json") << text; }
  std::map<std::string, std::string> metadata() const { return read_clip_weights(folder_.str()).metadata; }

  test::TempDir folder_;
};

TEST_F(ClipFolder, ConfigurationComesAsDottedNames) {
  config(R"({"model_type": "clip", "projection_dim": 512, "ids": [1, 2], "nothing": null,
             "vision_config": {"num_attention_heads": 12, "hidden_act": "gelu", "dropout": 0.5, "on": true}})");
  const std::map<std::string, std::string> expected{{"format", "pt"},
                                                    {"model_type", "clip"},
                                                    {"projection_dim", "512"},
                                                    {"vision_config.num_attention_heads", "12"},
                                                    {"vision_config.hidden_act", "gelu"},
                                                    {"vision_config.dropout", "0.5"},
                                                    {"vision_config.on", "true"}};
  EXPECT_EQ(metadata(), expected);
  EXPECT_EQ(read_clip_weights(folder_.str()).tensors[0].second.to_vector(), (std::vector<double>{3, 3}));
  EXPECT_EQ(read_clip_weights(folder_ / "model.safetensors").metadata, expected);
}

TEST_F(ClipFolder, ATowerAloneHasItsKeysAtTheTop) {
  config(R"({"model_type": "clip_vision_model", "num_attention_heads": 4, "hidden_act": "gelu"})");
  EXPECT_EQ(metadata().at("vision_config.num_attention_heads"), "4");
  EXPECT_EQ(metadata().at("vision_config.hidden_act"), "gelu");
}

TEST_F(ClipFolder, PixelsAreNormalisedAsThePreprocessorSays) {
  std::ofstream(folder_ / "preprocessor_config.json")
      << R"({"image_mean": [0.5, 0.25, 0], "image_std": null})";
  EXPECT_EQ(metadata().at("image_mean.1"), "0.25");
  EXPECT_FALSE(metadata().contains("image_std.0"));
  std::ofstream(folder_ / "preprocessor_config.json") << R"({"image_std": [0.5, 0.5, 0]})";
  EXPECT_EQ(message_of([&] { metadata(); }), folder_ / "preprocessor_config.json" +
                                                 ": image_std must be three numbers, one a colour, above 0");
}

class OpenClipFolder : public testing::Test {
 protected:
  OpenClipFolder() {
    data::write_safetensors(folder_ / "open_clip_model.safetensors",
                            {{"module.visual.proj", Tensor::full({128, 2}, 3)}});
  }
  std::map<std::string, std::string> metadata(const std::string& model) const {
    std::ofstream(folder_ / "open_clip_config.json")
        << R"({"model_cfg": )" << model
        << R"(, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]}})";
    return read_clip_weights(folder_.str()).metadata;
  }
  test::TempDir folder_;
};

TEST_F(OpenClipFolder, ConfigurationHasHuggingFacesNames) {
  const std::map<std::string, std::string> expected{{"vision_config.hidden_size", "1280"},
                                                    {"vision_config.num_attention_heads", "16"},
                                                    {"vision_config.hidden_act", "gelu"},
                                                    {"text_config.hidden_size", "1024"},
                                                    {"text_config.hidden_act", "gelu"},
                                                    {"text_config.num_attention_heads", "16"},
                                                    {"image_mean.0", "0.5"},
                                                    {"image_mean.1", "0.5"},
                                                    {"image_mean.2", "0.5"},
                                                    {"image_std.0", "1"},
                                                    {"image_std.1", "1"},
                                                    {"image_std.2", "1"}};
  EXPECT_EQ(
      metadata(
          R"({"vision_cfg": {"width": 1280, "head_width": 80}, "text_cfg": {"width": 1024, "heads": 16}})"),
      expected);
  EXPECT_EQ(metadata(R"({"quick_gelu": true, "vision_cfg": {}})").at("vision_config.hidden_act"),
            "quick_gelu");
  EXPECT_EQ(read_clip_weights(folder_.str()).tensors[0].first, "visual.proj");
}

TEST_F(OpenClipFolder, OtherArchitecturesAreRefused) {
  const std::string path = folder_ / "open_clip_config.json";
  for (const auto& [model, what] :
       {std::pair{R"({"vision_cfg": {"pool_type": "avg"}})", R"(vision_cfg.pool_type is "avg")"},
        {R"({"vision_cfg": {"timm_model_name": "eva"}})", R"(vision_cfg.timm_model_name is "eva")"},
        {R"({"vision_cfg": {"layers": [3, 4]}})", "vision_cfg.layers is [3,4]"}})
    EXPECT_EQ(message_of([&] { metadata(model); }),
              path + ": " + what +
                  ", which is not supported; of open_clip's models the plain vision "
                  "transformers of CLIP are (ViT-B-32, ViT-L-14, ViT-H-14, ...)");
}

TEST_F(ClipFolder, NeedsNoConfiguration) { EXPECT_EQ(metadata().size(), 1U); }

TEST_F(ClipFolder, ADamagedConfigurationIsNamed) {
  const std::string path = folder_ / "config.json";
  for (const char* text : {"", "{", "[1]", "{\"a\": 1} x"}) {
    config(text);
    EXPECT_EQ(message_of([&] { metadata(); }), path + ": is no JSON object; copy it again") << text;
  }
  config("{}" + std::string(2 << 20, ' '));
  EXPECT_EQ(message_of([&] { metadata(); }),
            path + ": has 2097154 bytes, which no configuration of a model has");
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  config(deep + "1" + std::string(100000, '}'));
  EXPECT_EQ(metadata().size(), 1U);  // too deep to mean anything
}

}  // namespace
}  // namespace vitral::models
