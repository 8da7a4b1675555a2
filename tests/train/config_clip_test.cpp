// The configuration of a CLIP: its keys, and those of a student that it does not have.
#include <gtest/gtest.h>

#include "tests/train/config_support.h"

namespace vitral::train {
namespace {

using test::config_error;
using test::config_of;

const std::string small = "model: {kind: clip, text: {vocabulary: v}}\n";

TEST(ClipConfig, ReadsEveryKey) {
  const Config c = config_of(R"(
model: {kind: clip, image_size: 60, patch_size: 6, width: 24, init_from: a, vision: {width: 96, layers: 2, heads: 3},
        text: {width: 64, layers: 4, heads: 8, context: 16, vocabulary: v}}
train: {freeze: [text]}
)");
  models::ClipConfig e{.image_size = 60,
                       .patch_size = 6,
                       .width = 24,
                       .vision = {.width = 96, .layers = 2, .heads = 3},
                       .text = {}};
  static_cast<models::ClipTowerShape&>(e.text) = {.width = 64, .layers = 4, .heads = 8};
  e.text.context = 16;
  e.text.vocabulary = "v";
  EXPECT_EQ(clip_config(c.model), e);
  EXPECT_EQ(c.model.init_from, "a");
  EXPECT_EQ(c.train.freeze, std::vector<std::string>{"text"});
  EXPECT_EQ(config_of(to_yaml(c)), c);
  EXPECT_EQ(config_of(small, {"train.freeze=image"}).train.freeze, std::vector<std::string>{"image"});
}

TEST(ClipConfig, YamlHoldsTheKeysOfItsKindAlone) {
  const std::string yaml = to_yaml(config_of(small, {"model.patch_size=32"}));
  EXPECT_EQ(yaml.substr(0, yaml.find("data:")), R"(model:
  kind: clip
  image_size: 224
  patch_size: 32
  width: 512
  vision:
    width: 768
    layers: 12
    heads: 12
  text:
    width: 512
    layers: 12
    heads: 8
    context: 77
    vocabulary: v
  init_from: null
)");
  EXPECT_NE(yaml.find("  freeze: []\n"), std::string::npos);
  for (const char* key : {"embeddings:", "teacher:", "objective:", "loss_norm:", "texts:"})
    EXPECT_EQ(yaml.find(key), std::string::npos) << key;
}

TEST(ClipConfig, AnotherKindOnTheCommandLineReplacesTheKeysOfTheFile) {
  EXPECT_EQ(config_of("model: {layers: 3, window: 5}\ntrain: {loss_norm: 3}",
                      {"model.kind=clip", "model.text.vocabulary=v"})
                .model.clip,
            config_of(small).model.clip);
  const Config student = config_of(small, {"model.kind=student", "model.layers=3"});
  EXPECT_EQ(student.model.layers, 3);
  EXPECT_EQ(student.model.clip, models::ClipConfig{});
}

TEST(ClipConfig, ErrorsSayWhatWhereAndWhatToDo) {
  struct Case {
    std::string yaml;
    std::vector<std::string> overrides;
    std::string error;
  };
  const std::vector<Case> cases{
      {"model: {kind: clop}", {}, "config.yaml:1: model.kind: must be student or clip, not clop"},
      {"model: {kind: clip}",
       {},
       "config.yaml:1: model.kind: clip needs model.text.vocabulary; vitral vocabulary makes one"},
      {small,
       {"model.text.vocabulary=null"},
       "override model.text.vocabulary=null: must name a vocabulary; vitral vocabulary makes one"},
      {small,
       {"model.text.vocabulary=[v]"},
       "override model.text.vocabulary=[v]: must be null or a path, not [v]"},
      {small,
       {"train.batch_size=1"},
       "override train.batch_size=1: 1 leaves a CLIP nothing to compare; take 2 or more"},
      {"train: {batch_size: 1}\n" + small,
       {},
       "config.yaml:1: train.batch_size: 1 leaves a CLIP nothing to compare; take 2 or more"},
      {small + "train: {freeze: [image, text]}\n",
       {},
       "config.yaml:2: train.freeze: leaves nothing to train; freeze one of the towers"},
      {small,
       {"train.freeze=[texts]"},
       "override train.freeze=[texts]: must be a list of image or text, may be empty, not [texts]"},
      {"train: {freeze: [text]}\n",
       {},
       "config.yaml:1: train.freeze: is no key where model.kind is student, only of clip"},
      {"model: {vision: {width: 3}}\n",
       {},
       "config.yaml:1: model.vision.width: is no key where model.kind is student, only of clip"},
      {small,
       {"model.layers=3"},
       "override model.layers=3: is no key where model.kind is clip, only of student"},
      {small,
       {"teacher.weights=t"},
       "override teacher.weights=t: is no key where model.kind is clip, only of student"},
      {small + "train: {objective: {l1: 1}}\n",
       {},
       "config.yaml:2: train.objective.l1: is no key where model.kind is clip, only of student"},
      {small, {"model.vision.heads=7"}, "override model.vision.heads=7: 7 must divide width 768"},
      {small, {"model.text.width=100"}, "override model.text.width=100: 100 must be divisible by heads 8"},
      {small,
       {"model.text.context=2"},
       "override model.text.context=2: must be an integer from 3 to 65536, not 2"},
      {small,
       {"model.text.contxt=20"},
       "override model.text.contxt=20: unknown key; did you mean context? valid keys of "
       "model.text: width, layers, heads, context, vocabulary"},
      {small,
       {"model.image_size=100"},
       "override model.image_size=100: 100 must be divisible by patch_size 28"},
      {small, {"train.accumulate=3"}, "override train.accumulate=3: 3 must divide batch_size 64"},
  };
  for (const Case& c : cases) EXPECT_EQ(config_error(c.yaml, c.overrides), c.error);
}

}  // namespace
}  // namespace vitral::train
