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
  // The file alone says nothing of the folder.
  EXPECT_EQ(read_clip_weights(folder_ / "model.safetensors").metadata.size(), 1U);
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
