// Pretrained weights, and what the files beside them say.
#include "models/pretrained/checkpoint.h"

#include <array>
#include <fstream>

#include <gtest/gtest.h>

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
  Checkpoint read() const { return read_checkpoint(folder_.str()); }

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
  EXPECT_EQ(read().config, expected);
  EXPECT_EQ(read().model_type, "clip");
  EXPECT_EQ(read().tensors[0].second.to_vector(), (std::vector<double>{3, 3}));
  EXPECT_EQ(read_checkpoint(folder_ / "model.safetensors").config, expected);
}

TEST_F(ClipFolder, ATowerAloneHasItsKeysAtTheTop) {
  config(R"({"model_type": "clip_vision_model", "num_attention_heads": 4, "hidden_act": "gelu"})");
  EXPECT_EQ(read().config.at("vision_config.num_attention_heads"), "4");
  EXPECT_EQ(read().config.at("vision_config.hidden_act"), "gelu");
}

TEST_F(ClipFolder, PixelsAreNormalisedAsThePreprocessorSays) {
  EXPECT_FALSE(read().preprocessing.statistics_given);
  std::ofstream(folder_ / "preprocessor_config.json")
      << R"({"image_mean": [0.5, 0.25, 0], "image_std": null})";
  EXPECT_TRUE(read().preprocessing.statistics_given);
  EXPECT_EQ(read().preprocessing.statistics.mean, (std::array{0.5F, 0.25F, 0.0F}));
  EXPECT_EQ(read().preprocessing.statistics.std, clip_statistics.std);
  std::ofstream(folder_ / "preprocessor_config.json") << R"({"image_std": [0.5, 0.5, 0]})";
  EXPECT_EQ(message_of([&] { read(); }), folder_ / "preprocessor_config.json" +
                                             ": image_std must be three numbers, one a colour, above 0");
}

TEST_F(ClipFolder, PrefixesOfTrainersAndOfCompositeModelsAreLeftOut) {
  const Tensor w = Tensor::full({1}, 1);
  const std::string file = folder_ / "model.safetensors";
  data::write_safetensors(file, {{"model._orig_mod.visual.proj", w},
                                 {"module.text.text_projection", w},
                                 {"clip.text_model.final_layer_norm.bias", w},
                                 {"decoder.w", w},
                                 {"model.", w}});
  std::vector<std::string> names;
  for (const auto& [name, tensor] : read().tensors) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"visual.proj", "text_projection",
                                             "text_model.final_layer_norm.bias", "decoder.w", "model."}));
  data::write_safetensors(file, {{"visual.proj", w}, {"model.visual.proj", w}});
  EXPECT_EQ(message_of([&] { read(); }),
            folder_.str() +
                ": 'visual.proj' and 'model.visual.proj' are the same weights of two models; save "
                "one of them alone");
}

class OpenClipFolder : public testing::Test {
 protected:
  OpenClipFolder() {
    data::write_safetensors(folder_ / "open_clip_model.safetensors",
                            {{"module.visual.proj", Tensor::full({128, 2}, 3)}});
  }
  Checkpoint read(const std::string& model) const {
    std::ofstream(folder_ / "open_clip_config.json")
        << R"({"model_cfg": )" << model
        << R"(, "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [1, 1, 1]}})";
    return read_checkpoint(folder_.str());
  }
  test::TempDir folder_;
};

TEST_F(OpenClipFolder, ConfigurationHasHuggingFacesNames) {
  const std::map<std::string, std::string> expected{
      {"vision_config.hidden_size", "1280"}, {"vision_config.num_attention_heads", "16"},
      {"vision_config.hidden_act", "gelu"},  {"text_config.hidden_size", "1024"},
      {"text_config.hidden_act", "gelu"},    {"text_config.num_attention_heads", "16"}};
  const Checkpoint big =
      read(R"({"vision_cfg": {"width": 1280, "head_width": 80}, "text_cfg": {"width": 1024, "heads": 16}})");
  EXPECT_EQ(big.config, expected);
  EXPECT_EQ(big.model_type, "open_clip");
  EXPECT_EQ(big.folder, folder_.str());
  EXPECT_EQ(big.tensors[0].first, "visual.proj");
  EXPECT_EQ(big.preprocessing.statistics.mean, (std::array{0.5F, 0.5F, 0.5F}));
  EXPECT_EQ(read(R"({"quick_gelu": true, "vision_cfg": {}})").config.at("vision_config.hidden_act"),
            "quick_gelu");
}

TEST_F(OpenClipFolder, WhatActivationsAndNormsAreGivenCounts) {
  const auto both = [](const std::string& more, const std::string& top = "") {
    return "{" + top + R"("vision_cfg": {)" + more + R"(}, "text_cfg": {)" + more + "}}";
  };
  const Checkpoint told =
      read(both(R"("act_kwargs": {"approximate": "tanh"}, "norm_kwargs": {"eps": 1e-6})"));
  for (const std::string group : {"vision_config", "text_config"}) {
    EXPECT_EQ(told.config.at(group + ".hidden_act"), "gelu_pytorch_tanh");
    EXPECT_EQ(told.config.at(group + ".layer_norm_eps"), "1e-06");
  }
  const Checkpoint usual = read(both(R"("act_kwargs": null, "norm_kwargs": {})"));
  EXPECT_EQ(usual.config.at("text_config.hidden_act"), "gelu");
  EXPECT_FALSE(usual.config.contains("text_config.layer_norm_eps"));
  const auto refused = [&](const std::string& model, const std::string& what) {
    EXPECT_TRUE(
        message_of([&] {
          read(model);
        }).starts_with(folder_ / "open_clip_config.json: vision_cfg." + what + ", which is not supported; "))
        << message_of([&] { read(model); });
  };
  refused(both(R"("act_kwargs": {"negative_slope": 0.1})"), R"(act_kwargs is {"negative_slope":0.1})");
  refused(both(R"("act_kwargs": {"approximate": "tanh"})", R"("quick_gelu": true, )"),
          R"(act_kwargs is {"approximate":"tanh"})");
  refused(both(R"("norm_kwargs": {"elementwise_affine": false})"),
          R"(norm_kwargs is {"elementwise_affine":false})");
}

// MetaCLIP 2 (ViT-H-14-worldwide), towers of transformers beside CLIP's, and others.
TEST_F(OpenClipFolder, AnotherTextTowerLeavesTheImages) {
  const std::string path = folder_ / "open_clip_config.json";
  for (const auto& [text, what] :
       {std::pair{R"("pool_type": "eos", "eos_id": 2)", R"(pool_type is "eos")"},
        {R"("hf_model_name": "roberta-base", "embed_cls": true)", R"(hf_model_name is "roberta-base")"},
        {R"("hf_tokenizer_name": "facebook/xlm-v-base")", R"(hf_tokenizer_name is "facebook/xlm-v-base")"},
        {R"("tokenizer_kwargs": {"clean": "canonicalize"})",
         R"(tokenizer_kwargs is {"clean":"canonicalize"})"},
        {R"("norm_kwargs": {"bias": false})", R"(norm_kwargs is {"bias":false})"}}) {
    const Checkpoint checkpoint = read(R"({"vision_cfg": {}, "text_cfg": {)" + std::string(text) + "}}");
    EXPECT_EQ(checkpoint.text_problem,
              path + ": text_cfg." + what +
                  ", which is not supported; its images can be embedded, its texts cannot");
    EXPECT_EQ(checkpoint.config.at("vision_config.num_attention_heads"), "12");
  }
  EXPECT_EQ(read(R"({"vision_cfg": {}, "text_cfg": {"tokenizer_kwargs": {}}})").text_problem, "");
}

TEST_F(OpenClipFolder, OtherArchitecturesAreRefused) {
  const std::string path = folder_ / "open_clip_config.json";
  for (const auto& [model, what] :
       {std::pair{R"({"vision_cfg": {"pool_type": "avg"}})", R"(vision_cfg.pool_type is "avg")"},
        {R"({"vision_cfg": {"timm_model_name": "eva"}})", R"(vision_cfg.timm_model_name is "eva")"},
        {R"({"vision_cfg": {"layers": [3, 4]}})", "vision_cfg.layers is [3,4]"}})
    EXPECT_EQ(message_of([&] { read(model); }),
              path + ": " + what +
                  ", which is not supported; of open_clip's models the plain vision "
                  "transformers of CLIP are (ViT-B-32, ViT-L-14, ViT-H-14, ...)");
}

TEST_F(ClipFolder, NeedsNoConfiguration) { EXPECT_EQ(read().config.size(), 1U); }

TEST_F(ClipFolder, ADamagedConfigurationIsNamed) {
  const std::string path = folder_ / "config.json";
  for (const char* text : {"", "{", "[1]", "{\"a\": 1} x"}) {
    config(text);
    EXPECT_EQ(message_of([&] { read(); }), path + ": is no JSON object; copy it again") << text;
  }
  config("{}" + std::string(2 << 20, ' '));
  EXPECT_EQ(message_of([&] { read(); }),
            path + ": 2097154 bytes, at most 1048576 are expected; the file is damaged or of another kind");
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  config(deep + "1" + std::string(100000, '}'));
  EXPECT_EQ(read().config.size(), 1U);  // too deep to mean anything
}

}  // namespace
}  // namespace vitral::models
