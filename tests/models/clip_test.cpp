// CLIP's towers against PyTorch's numbers, and what must hold for any weights.
#include <algorithm>

#include "models/clip/image_tower.h"
#include "models/clip/names.h"
#include "models/clip/text_tower.h"
#include "models/pretrained/checkpoint.h"
#include "tests/golden.h"

namespace vitral::models {
namespace {

using State = data::NamedTensors;
using test::message_of;
using test::relative_error;

ImageTowerConfig small_image() {
  ImageTowerConfig c = clip_image_config();
  c.image_size = 12;
  c.patch_size = 4;
  c.block.width = 128;
  c.layers = 2;
  c.block.heads = 2;
  c.embedding = 10;
  return c;
}

TextTowerConfig small_text() {
  TextTowerConfig c = clip_text_config();
  c.context = 7;
  c.vocabulary = 30;
  c.block.width = 64;
  c.layers = 1;
  c.block.heads = 1;
  c.embedding = 10;
  return c;
}

State with_prefix(const std::string& prefix, const State& state) {
  State out;
  for (const auto& [name, tensor] : state) out.emplace_back(prefix + name, tensor);
  return out;
}

State both_towers() {
  State state = with_prefix("visual.", ClipImageTower(small_image()).state());
  for (const auto& entry : ClipTextTower(small_text()).state()) state.push_back(entry);
  state.emplace_back("logit_scale", Tensor::full({1}, 4.6));
  return state;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  if (const auto at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
  return text;
}

// The same weights as Hugging Face names them.
State as_hugging_face(const State& openai) {
  State out;
  for (const auto& [full, tensor] : openai) {
    const bool image = full.starts_with("visual.");
    const std::string name = image ? full.substr(7) : full;
    const std::string tower = image ? "vision_model." : "text_model.";
    if (name == "proj" || name == "text_projection") {
      out.emplace_back(image ? "visual_projection.weight" : "text_projection.weight",
                       permute(Variable(tensor), {1, 0}).value());
      continue;
    }
    if (name == "logit_scale") {
      out.emplace_back(name, tensor);
      continue;
    }
    if (name.find("in_proj") != std::string::npos) {
      const std::string layer = tower + replaced(name, "transformer.resblocks.", "encoder.layers.");
      const std::int64_t w = tensor.dim(0) / 3;
      for (int part = 0; part < 3; ++part)
        out.emplace_back(
            replaced(replaced(layer, "attn.in_proj_", "self_attn.?_proj."), "?", std::string(1, "qkv"[part])),
            tensor.rows(part * w, (part + 1) * w));
      continue;
    }
    static const std::pair<const char*, const char*> names[] = {
        {"transformer.resblocks.", "encoder.layers."},
        {"attn.out_proj", "self_attn.out_proj"},
        {"ln_1.", "layer_norm1."},
        {"ln_2.", "layer_norm2."},
        {"mlp.c_fc", "mlp.fc1"},
        {"mlp.c_proj", "mlp.fc2"},
        {"class_embedding", "embeddings.class_embedding"},
        {"conv1.weight", "embeddings.patch_embedding.weight"},
        {"positional_embedding", "embeddings.position_embedding.weight"},
        {"token_embedding.weight", "embeddings.token_embedding.weight"},
        {"ln_pre.", "pre_layrnorm."},
        {"ln_post.", "post_layernorm."},
        {"ln_final.", "final_layer_norm."}};
    std::string theirs = name;
    for (const auto& [a, b] : names) theirs = replaced(theirs, a, b);
    out.emplace_back(tower + theirs, tensor);
  }
  out.emplace_back("vision_model.embeddings.position_ids", Tensor::zeros({1, 10}, DType::int64));
  return out;
}

Variable random_images(std::int64_t count, int size) {
  Random random(5);
  return Variable(nn::normal({count, 3, size, size}, 1, random));
}

std::string heads_of(const data::H5File& file, const char* attribute) {
  return std::to_string(static_cast<int>(test::number_attribute(file, attribute)));
}

// What the class token attends to, of weights [B,1+N,1+N].
Tensor of_class(const Tensor& weights) {
  const std::int64_t all = weights.dim(1);
  return slice(slice(Variable(weights), 1, 0, 1), 2, 1, all).value().reshape({weights.dim(0), all - 1});
}

class ClipGolden : public testing::TestWithParam<Device::Kind> {
 protected:
  Device device() const { return {GetParam(), 0}; }
  double tolerance() const { return device().is_cpu() ? 1e-5 : 1e-4; }
};

TEST_P(ClipGolden, BothActivations) {
  VITRAL_NEEDS_DEVICE(device());
  const NoGrad no_grad;
  const std::string path = "tests/golden/clip.h5";
  const data::H5File file = data::H5File::open(path);
  const State state = test::read_group(file, "/state");
  const std::string image_heads = heads_of(file, "image_heads"), text_heads = heads_of(file, "text_heads");
  for (const std::string activation : {"quick_gelu", "gelu"}) {
    SCOPED_TRACE(activation);
    const Metadata config{{"vision_config.hidden_act", activation},
                          {"vision_config.num_attention_heads", image_heads},
                          {"text_config.hidden_act", activation},
                          {"text_config.num_attention_heads", text_heads}};
    const auto image = load_clip_image(state, config, path);
    const auto text = load_clip_text(state, config, path);
    image->to(device());
    text->to(device());
    const auto out = image->forward(Variable(file.read("/image").to(device())), true);
    EXPECT_LE(relative_error(out.embedding.value(), file.read("/" + activation + "/image_embedding")),
              tolerance());
    EXPECT_LE(relative_error(out.attention.value(), of_class(file.read("/" + activation + "/attention"))),
              tolerance());
    EXPECT_LE(relative_error(text->forward(file.read("/tokens")).value(),
                             file.read("/" + activation + "/text_embedding")),
              tolerance());
    for (const auto& [name, way] : {std::pair{"vanilla", DenseTokens::vanilla},
                                    {"value", DenseTokens::value},
                                    {"naclip", DenseTokens::naclip}})
      EXPECT_LE(relative_error(image->dense(Variable(file.read("/image").to(device())), way).value(),
                               file.read("/" + activation + "/dense/" + name)),
                tolerance())
          << name;
    const Variable dense(file.read("/" + activation + "/dense/naclip").to(device()));
    for (const int grid : {3, 4, 6})
      EXPECT_LE(relative_error(OnGrid()(dense, grid).value(),
                               file.read("/" + activation + "/dense/naclip" +
                                         (grid == 4 ? "" : fmt::format("_{}", grid)))),
                tolerance())
          << grid;
  }
}

TEST_P(ClipGolden, TeacherOfTheOriginal) {
  VITRAL_NEEDS_DEVICE(device());
  VITRAL_NEEDS_SHARED(path, "golden/teacher_vit.h5");
  const NoGrad no_grad;
  const data::H5File file = data::H5File::open(path);
  const auto image = load_clip_image(test::read_group(file, "/state"),
                                     {{"vision_config.num_attention_heads", heads_of(file, "heads")}}, path);
  image->to(device());
  const Variable input(file.read("/input").to(device()));
  const auto out = image->forward(input, true);
  EXPECT_LE(relative_error(out.embedding.value(), file.read("/embedding")), tolerance());
  EXPECT_LE(relative_error(out.attention.value(), of_class(file.read("/attention"))), tolerance());
  EXPECT_FALSE(image->forward(input).attention.defined());
}

// 2 * splitmix64(...) * 2^-53 - 1 as the README of the golden files has it.
Tensor stream(std::uint64_t k, const Shape& shape, double factor) {
  Tensor t(shape);
  for (std::int64_t i = 0; i < t.numel(); ++i) {
    std::uint64_t z = (static_cast<std::uint64_t>(i) + (k << 40)) * 0x9E3779B97F4A7C15U;
    z += 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    z ^= z >> 31;
    t.data<float>()[i] = static_cast<float>(factor * (std::ldexp(static_cast<double>(z >> 11), -52) - 1));
  }
  return t;
}

TEST_P(ClipGolden, OpenAiNamesAndHuggingFaceNames) {
  VITRAL_NEEDS_DEVICE(device());
  VITRAL_NEEDS_SHARED(path, "golden/clip_tiny.h5");
  VITRAL_NEEDS_SHARED(theirs, "golden/clip_tiny_hf.safetensors");
  const NoGrad no_grad;
  const data::H5File file = data::H5File::open(path);
  State openai = test::read_group(file, "/state");
  openai.emplace_back("token_embedding.weight", stream(7950, {49408, 128}, 0.5));
  const Checkpoint hugging_face = read_checkpoint(theirs);
  const Tensor images = file.read("/image").to(device()), tokens = file.read("/token_ids");
  for (const bool openai_names : {true, false}) {
    SCOPED_TRACE(openai_names);
    const State& state = openai_names ? openai : hugging_face.tensors;
    const auto image = load_clip_image(state, {}, path);
    const auto text = load_clip_text(state, {}, path);
    image->to(device());
    text->to(device());
    EXPECT_LE(
        relative_error(image->forward(Variable(images)).embedding.value(), file.read("/image_embedding")),
        tolerance());
    EXPECT_LE(relative_error(text->forward(tokens).value(), file.read("/text_embedding")),
              openai_names ? tolerance() : 1e-3);  // their token embedding is float16
  }
}

INSTANTIATE_TEST_SUITE_P(, ClipGolden, testing::Values(Device::Kind::cpu, Device::Kind::cuda),
                         [](const auto& info) {
                           return std::string(info.param == Device::Kind::cpu ? "OnCpu" : "OnCuda");
                         });

TEST(ClipNames, BothNamesGiveTheSameTowers) {
  const State openai = both_towers(), hugging_face = as_hugging_face(openai);
  const auto ours = load_clip_image(openai, {}, "clip")->state(),
             theirs = load_clip_image(hugging_face, {}, "clip")->state();
  const auto our_text = load_clip_text(openai, {}, "clip")->state(),
             their_text = load_clip_text(hugging_face, {}, "clip")->state();
  for (const auto& [a, b] : {std::pair{ours, theirs}, {our_text, their_text}}) {
    ASSERT_EQ(a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_EQ(a[i].first, b[i].first);
      EXPECT_EQ(a[i].second.to_vector(), b[i].second.to_vector()) << a[i].first;
    }
  }
}

TEST(ClipNames, AnImageTowerAloneNeedsNoPrefix) {
  const State state = ClipImageTower(small_image()).state();
  const ImageTowerConfig c = load_clip_image(state, {}, "teacher.pt")->config();
  EXPECT_EQ(c.image_size, 12);
  EXPECT_EQ(c.patch_size, 4);
  EXPECT_EQ(c.block.width, 128);
  EXPECT_EQ(c.layers, 2);
  EXPECT_EQ(c.block.heads, 2);
  EXPECT_EQ(c.embedding, 10);
  EXPECT_EQ(message_of([&] { load_clip_text(state, {}, "teacher.pt"); }),
            "teacher.pt: holds no CLIP text tower: it has no weights 'token_embedding.weight'");
}

TEST(ClipNames, WhatDoesNotFitIsNamed) {
  const State hugging_face = as_hugging_face(both_towers());
  State broken = hugging_face;
  std::erase_if(broken,
                [](const auto& e) { return e.first == "text_model.encoder.layers.0.self_attn.v_proj.bias"; });
  EXPECT_EQ(message_of([&] { load_clip_text(broken, {}, "clip"); }),
            "clip: has no part v of 'transformer.resblocks.0.attn.in_proj_bias'; the file is incomplete");
  // CLIPVisionModel; transformers 5 saves it without the prefix.
  State alone, prefixed;
  for (const auto& [name, tensor] : hugging_face) {
    if (!name.starts_with("vision_model.")) continue;
    prefixed.emplace_back(name, tensor);
    alone.emplace_back(name.substr(13), tensor);
  }
  for (const State& state : {prefixed, alone})
    EXPECT_EQ(message_of([&] { load_clip_image(state, {}, "clip"); }),
              "clip: holds CLIP's image tower without the projection into the space of texts (as "
              "CLIPVisionModel does); save CLIPModel or CLIPVisionModelWithProjection");
  State texts;
  for (const auto& [name, tensor] : hugging_face)
    if (name.starts_with("text_model.")) texts.emplace_back(name, tensor);
  EXPECT_EQ(message_of([&] { load_clip_text(texts, {}, "clip"); }),
            "clip: holds CLIP's text tower without the projection into the space of images (as CLIPTextModel "
            "does); save CLIPModel or CLIPTextModelWithProjection");
  ImageTowerConfig odd = small_image();
  odd.block.width = 48;
  odd.block.heads = 3;
  const State narrow = ClipImageTower(odd).state();
  const auto message = [&](const Metadata& config) {
    return message_of([&] { load_clip_image(narrow, config, "clip"); });
  };
  EXPECT_EQ(message({}),
            "clip: a width of 48 is no multiple of the usual head size 64; say how many heads there are");
  EXPECT_EQ(message({{"vision_config.num_attention_heads", "3"}}), "no error");
  EXPECT_EQ(message({{"vision_config.num_attention_heads", "5"}}),
            "clip: 5 heads do not divide the width 48");
  EXPECT_EQ(message({{"vision_config.num_attention_heads", "x"}}),
            "clip: config.json: num_attention_heads must be a number");
  EXPECT_EQ(message({{"vision_config.num_attention_heads", "3"}, {"vision_config.hidden_act", "relu"}}),
            "clip: config.json: hidden_act is none of gelu_pytorch_tanh, gelu_new, gelu and quick_gelu");
  EXPECT_EQ(
      message({{"vision_config.hidden_size", "64"}}),
      "clip: the configuration beside it says that hidden_size of the CLIP image tower is 64, the tensors "
      "are 48 wide; it belongs to other weights, keep these in a folder of their own");
}

TEST(ClipNames, TheWidthOfTheMlpIsThatOfTheTensors) {  // ViT-g-14, ViT-bigG-14
  ImageTowerConfig wide = small_image();
  wide.block.mlp_ratio = 4.9231;
  const State state = ClipImageTower(wide).state();
  EXPECT_EQ(load_clip_image(state, {}, "clip")->config().block.hidden(), wide.block.hidden());
}

TEST(ClipTextTower, OnlyTheTokensUpToTheEndMatter) {
  const ClipTextTower text(small_text(), 1);
  const std::int64_t end = 29;
  const Tensor padded = Tensor::from<std::int64_t>({28, 3, 4, end, 0, 0, 0}, {1, 7}),
               other = Tensor::from<std::int64_t>({28, 3, 4, end, 7, 8, 9}, {1, 7}),
               cut = Tensor::from<std::int64_t>({28, 3, 4, end}, {1, 4});
  const Tensor y = text.forward(padded).value();
  EXPECT_LE(relative_error(text.forward(other).value(), y), 1e-6);
  EXPECT_LE(relative_error(text.forward(cut).value(), y), 1e-6);
  EXPECT_GT(relative_error(text.forward(Tensor::from<std::int64_t>({28, 3, 5, end}, {1, 4})).value(), y),
            1e-3);
  EXPECT_EQ(message_of([&] {
              text.forward(Tensor::from<std::int64_t>({28, 30}, {1, 2}));
            }),
            "embedding: token 30 is not among the 30 rows of the table [30, 64]");
  EXPECT_EQ(message_of([&] {
              text.forward(Tensor::zeros({1, 8}, DType::int64));
            }),
            "CLIP text tower: tokens int64 [1, 8] must be int64 [T, L] with L up to 7");
}

TEST(ClipImageTower, AttentionLeavesOutWhatTheClassTokenGivesItself) {
  const ClipImageTower image(small_image(), 2);
  const auto out = image.forward(random_images(2, 12), true);
  ASSERT_EQ(out.attention.shape(), (Shape{2, 9}));
  for (const double s : sum(out.attention, 1).value().to_vector()) {
    EXPECT_GT(s, 0.5);
    EXPECT_LT(s, 1);
  }
  EXPECT_EQ(message_of([&] { image.forward(random_images(1, 16)); }),
            "CLIP image tower: images [1, 3, 16, 16] must be [B, 3, 12, 12]");
}

TEST(ClipImageTower, Trains) {
  const ClipImageTower image(small_image(), 2);
  sum(square(image.forward(random_images(2, 12)).embedding)).backward();
  for (const auto& p : image.parameters()) EXPECT_TRUE(p.value->grad().defined()) << p.name;
}

TEST(NoInit, EndsWithItsScope) {
  Random random(1);
  { const nn::NoInit no_init; }
  EXPECT_NE(nn::normal({4}, 1, random).to_vector(), std::vector<double>(4, 0));
}

}  // namespace
}  // namespace vitral::models
