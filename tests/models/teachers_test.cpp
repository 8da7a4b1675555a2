// SigLIP's, SigLIP 2's and DINOv2's towers against transformers (tests/reference/make_teachers.py).
#include "models/dinov2/image_tower.h"
#include "models/pretrained/checkpoint.h"
#include "models/pretrained/image_encoder.h"
#include "models/siglip/image_tower.h"
#include "models/siglip/text_tower.h"
#include "tests/golden.h"

namespace vitral::models {
namespace {

using test::message_of;
using test::read_golden;
using test::relative_error;

struct Golden {
  explicit Golden(const std::string& name)
      : folder("tests/golden/" + name), weights(read_checkpoint(folder)) {}
  Tensor expected(const std::string& name) const { return read_golden(folder + "/expected.h5", "/" + name); }

  std::string folder;
  Checkpoint weights;
};

data::NamedTensors without(data::NamedTensors tensors, std::string_view part) {
  std::erase_if(tensors, [&](const auto& entry) { return entry.first.find(part) != entry.first.npos; });
  return tensors;
}

class TeacherGolden : public testing::TestWithParam<std::string> {};

TEST_P(TeacherGolden, ImagesAndTextsOfSiglip) {
  const NoGrad no_grad;
  const Golden golden(GetParam());
  const auto image = load_siglip_image(golden.weights.tensors, golden.weights.config, golden.folder);
  const auto text = load_siglip_text(golden.weights.tensors, golden.weights.config, golden.folder);
  const ImageTower::Output out = image->forward(Variable(golden.expected("images")), true);
  EXPECT_LE(relative_error(out.embedding.value(), golden.expected("image_embedding")), 2e-6);
  EXPECT_LE(relative_error(out.attention.value(), golden.expected("attention")), 2e-6);
  EXPECT_LE(
      relative_error(text->forward(golden.expected("tokens")).value(), golden.expected("text_embedding")),
      2e-6);
}

INSTANTIATE_TEST_SUITE_P(, TeacherGolden, testing::Values("siglip", "siglip2"),
                         [](const auto& info) { return info.param; });

class Dinov2Golden : public testing::TestWithParam<std::string> {};

TEST_P(Dinov2Golden, AtItsOwnSizeAndAtAnother) {
  const NoGrad no_grad;
  const Golden golden(GetParam());
  const Variable images(golden.expected("images"));
  const auto own = load_dinov2(golden.weights.tensors, golden.weights.config, golden.folder);
  const ImageTower::Output out = own->forward(images, true);
  EXPECT_LE(relative_error(out.embedding.value(), golden.expected("image_embedding")), 2e-6);
  EXPECT_LE(relative_error(out.attention.value(), golden.expected("attention")), 2e-6);
  const auto smaller = load_dinov2(golden.weights.tensors, golden.weights.config, golden.folder, 16);
  const Variable corner = slice(slice(images, 2, 0, 16), 3, 0, 16);
  EXPECT_LE(relative_error(smaller->forward(corner).embedding.value(), golden.expected("at_16")), 5e-6);
}

INSTANTIATE_TEST_SUITE_P(, Dinov2Golden, testing::Values("dinov2", "dinov2_with_registers"),
                         [](const auto& info) { return info.param; });

TEST(Siglip, ATowerSavedAloneHasNoPrefix) {
  const NoGrad no_grad;
  const Golden golden("siglip");
  data::NamedTensors alone;
  for (const auto& [name, tensor] : golden.weights.tensors)
    if (name.starts_with("vision_model.")) alone.emplace_back(name.substr(13), tensor);
  const auto tower = load_siglip_image(alone, {{"num_attention_heads", "2"}}, "alone");
  EXPECT_LE(relative_error(tower->forward(Variable(golden.expected("images"))).embedding.value(),
                           golden.expected("image_embedding")),
            2e-6);
}

TEST(Siglip, WhatDoesNotFitIsNamed) {
  const Golden golden("siglip");
  const auto& tensors = golden.weights.tensors;
  const auto& metadata = golden.weights.config;
  EXPECT_EQ(message_of([&] { load_siglip_image(without(tensors, "head.probe"), metadata, "s"); }),
            "s: holds no SigLIP image tower: it has no weights 'head.probe'");
  EXPECT_EQ(message_of([&] { load_siglip_text(without(tensors, "text_model."), metadata, "s"); }),
            "s: holds no SigLIP text tower: it has no weights 'token_embedding.weight'");
  EXPECT_EQ(message_of([&] {
              load_siglip_text(without(tensors, "text_model.encoder.layers.1.self_attn.v_proj.bias"),
                               metadata, "s");
            }),
            "s: has no part v of 'transformer.resblocks.1.attn.in_proj_bias'; the file is incomplete");
  EXPECT_EQ(message_of([&] {
              load_siglip_image(tensors, {{"vision_config.num_attention_heads", "3"}}, "s");
            }),
            "s: 3 heads do not divide the width 16");
  EXPECT_EQ(
      message_of([&] {
        load_siglip_image(tensors, {{"num_attention_heads", "2"}, {"vision_config.hidden_act", "relu"}}, "s");
      }),
      "s: config.json: hidden_act is none of gelu_pytorch_tanh, gelu_new, gelu and quick_gelu");
  EXPECT_EQ(message_of([&] {
              load_siglip_image(tensors, {{"vision_config.num_attention_heads", "two"}}, "s");
            }),
            "s: config.json: num_attention_heads must be a number");
  const auto text = load_siglip_text(tensors, metadata, "s");
  EXPECT_EQ(message_of([&] {
              text->forward(Tensor::zeros({1, 7}, DType::int64));
            }),
            "SigLIP text tower: tokens int64 [1, 7] must be int64 [T, 8]");
  Tensor tokens = Tensor::zeros({1, 8}, DType::int64);
  tokens.data<std::int64_t>()[3] = 60;
  EXPECT_EQ(message_of([&] { text->forward(tokens); }),
            "embedding: token 60 is not among the 60 rows of the table [60, 16]");
}

TEST(Siglip, HasNoDenseTokens) {
  const auto encoder = ImageEncoder::load("tests/golden/siglip");
  EXPECT_EQ(
      message_of([&] { encoder.require_dense(); }),
      "tests/golden/siglip: SigLIP has no dense tokens (of its patches, in the space of its embeddings); "
      "take a CLIP");
}

TEST(Dinov2, WhatDoesNotFitIsNamed) {
  const Golden golden("dinov2");
  const auto& tensors = golden.weights.tensors;
  const auto& metadata = golden.weights.config;
  EXPECT_EQ(message_of([&] { load_dinov2(tensors, metadata, "d", 18); }),
            "d: images of 18 pixels: DINOv2's patch of 4 must divide the size");
  data::NamedTensors giant = tensors;
  giant.emplace_back("encoder.layer.0.mlp.weights_in.weight", Tensor::zeros({4, 16}));
  EXPECT_EQ(message_of([&] { load_dinov2(giant, metadata, "d"); }),
            "d: DINOv2 with a SwiGLU MLP (giant) is not supported; small, base and large are");
  EXPECT_EQ(message_of([&] { load_dinov2(without(tensors, "cls_token"), metadata, "d"); }),
            "d: holds no DINOv2 image tower: it has no weights 'class_embedding'");
}

}  // namespace
}  // namespace vitral::models
