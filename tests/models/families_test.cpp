// Which family weights belong to, and what an encoder makes of the files beside them.
#include "models/pretrained/families.h"

#include <filesystem>
#include <fstream>
#include <set>

#include "data/text/sentence_piece.h"
#include "models/dinov2/image_tower.h"
#include "models/pretrained/image_encoder.h"
#include "models/pretrained/text_encoder.h"
#include "models/siglip/text_tower.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"

namespace vitral::models {
namespace {

using test::message_of;
using test::put_file;
using test::relative_error;
using test::TempDir;

Tensor pixels(std::int64_t count, int size) {
  Tensor out({count, size, size, 3}, DType::uint8);
  for (std::int64_t i = 0; i < out.numel(); ++i)
    out.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 37 % 251);
  return out;
}

// A copy without its configuration.
void copy_weights(const std::string& golden, const std::string& folder) {
  std::filesystem::create_directories(folder);
  std::filesystem::copy_file("tests/golden/" + golden + "/model.safetensors", folder + "/model.safetensors",
                             std::filesystem::copy_options::overwrite_existing);
}

TEST(Families, AreKnownByTheConfigurationAndByTheNames) {
  const TempDir folder;
  for (const auto& [golden, family] : {std::pair{"siglip", "SigLIP"},
                                       {"siglip2", "SigLIP"},
                                       {"dinov2", "DINOv2"},
                                       {"dinov2_with_registers", "DINOv2"}}) {
    EXPECT_EQ(family_of(read_checkpoint(std::string("tests/golden/") + golden)).name, family);
    copy_weights(golden, folder.str());
    EXPECT_EQ(family_of(read_checkpoint(folder.str())).name, family);
  }
  test::write_tiny_clip(folder / "clip");
  EXPECT_EQ(family_of(read_checkpoint(folder / "clip")).name, "CLIP");
}

TEST(Families, OthersAreRefusedByTheirName) {
  const TempDir folder;
  copy_weights("siglip", folder.str());
  put_file(folder / "config.json", R"({"model_type": "blip"})");
  EXPECT_EQ(message_of([&] { ImageEncoder::load(folder.str()); }),
            folder.str() +
                ": config.json says model_type 'blip', which is not supported; these are: altclip, "
                "altclip_vision_model, chinese_clip, chinese_clip_vision_model, clip, clip_text_model, "
                "clip_vision_model, clipseg, dinov2, dinov2_with_registers, metaclip_2, "
                "metaclip_2_vision_model, siglip, siglip2, siglip2_text_model, siglip2_vision_model, "
                "siglip_text_model, siglip_vision_model, vision-text-dual-encoder");
  data::write_safetensors(folder / "w.safetensors", {{"w", Tensor::zeros({2})}});
  std::filesystem::remove(folder / "config.json");
  EXPECT_EQ(message_of([&] { ImageEncoder::load(folder / "w.safetensors"); }),
            (folder / "w.safetensors") +
                ": these are the weights of no teacher that vitral knows; give a folder of transformers or "
                "open_clip, or a .safetensors or .pt file, of CLIP, SigLIP or DINOv2");
  data::write_safetensors(folder / "w.safetensors", {{"blocks.0.attn.qkv.weight", Tensor::zeros({2})}});
  const std::string timm =
      " under the names of timm and facebookresearch/dinov2, which are not read; give the same model as "
      "transformers has it, as with: hf download facebook/dinov2-base --local-dir dinov2-base";
  EXPECT_EQ(message_of([&] { ImageEncoder::load(folder / "w.safetensors"); }),
            (folder / "w.safetensors") + ": holds a vision transformer" + timm);
  put_file(folder / "config.json", R"({"architecture": "vit_base_patch32_clip_224", "num_classes": 512})");
  EXPECT_EQ(message_of([&] { ImageEncoder::load(folder / "w.safetensors"); }),
            (folder / "w.safetensors") + ": holds vit_base_patch32_clip_224" + timm);
  EXPECT_EQ(message_of([] { TextEncoder::load("tests/golden/dinov2"); }),
            "tests/golden/dinov2: DINOv2 has no texts that vitral can embed; give the weights of a CLIP or "
            "SigLIP");
}

TEST(Families, StandInTheTableOfTheDocumentation) {
  std::ifstream page("docs/formats.md");
  std::set<std::string> documented;
  bool in_table = false;
  for (std::string line; std::getline(page, line);) {
    in_table = line.starts_with("| `model_type` |") || (in_table && line.starts_with("|"));
    if (!in_table || line.starts_with("| `model_type` |")) continue;
    const std::string types = line.substr(0, line.find('|', 1));
    for (std::size_t from = 0; (from = types.find('`', from)) != std::string::npos;) {
      const std::size_t end = types.find('`', from + 1);
      documented.insert(types.substr(from + 1, end - from - 1));
      from = end + 1;
    }
  }
  Checkpoint other;
  other.path = "x";
  other.model_type = "blip";
  EXPECT_EQ(message_of([&] { family_of(other); }),
            fmt::format("x: config.json says model_type 'blip', which is not supported; these are: {}",
                        fmt::join(documented, ", ")));
}

TEST(ImageEncoder, TakesFromTheFamilyWhatTheFilesLeaveOpen) {
  const ImageEncoder siglip = ImageEncoder::load("tests/golden/siglip"),
                     dinov2 = ImageEncoder::load("tests/golden/dinov2");
  EXPECT_EQ(siglip.preprocessing().statistics.mean[0], 0.5F);
  EXPECT_TRUE(siglip.preprocessing().resize_crop.mode == data::ResizeCrop::Mode::stretch);
  EXPECT_EQ(dinov2.preprocessing().statistics.std[2], 0.225F);
  EXPECT_EQ(siglip.guessed() + dinov2.guessed(), "");
  const TempDir folder;
  copy_weights("siglip", folder.str());
  EXPECT_EQ(message_of([&] { ImageEncoder::load(folder.str()); }),
            folder.str() +
                ": a width of 16 is no multiple of the usual head size 64; say how many heads there "
                "are");
  EXPECT_EQ(ImageEncoder::load(folder.str(), cpu, {.heads = 2}).guessed(),
            "as in SigLIP base: gelu_pytorch_tanh");
  const ImageEncoder told =
      ImageEncoder::load(folder.str(), cpu, {.heads = 2, .activation = "gelu_pytorch_tanh"});
  EXPECT_EQ(told.guessed(), "");
  const Tensor images = pixels(3, 16);
  EXPECT_EQ(told.embed(images).to_vector(), siglip.embed(images).to_vector());
  EXPECT_GT(
      relative_error(ImageEncoder::load(folder.str(), cpu, {.heads = 4}).embed(images), siglip.embed(images)),
      1e-3);
}

// Tokeniser and tower are each tested against transformers; here that they meet.
TEST(TextEncoder, SiglipReadsPieces) {
  for (const auto& [golden, file] : {std::pair{"siglip", "spiece.model"}, {"siglip2", "tokenizer.model"}}) {
    SCOPED_TRACE(golden);
    const TempDir folder;
    const auto tokenizer =
        data::SentencePieceTokenizer::load(std::string("tests/golden/sentence_piece/") + file);
    Checkpoint checkpoint = read_checkpoint(std::string("tests/golden/") + golden);
    for (auto& [name, tensor] : checkpoint.tensors)
      if (name == "text_model.embeddings.token_embedding.weight")
        tensor = test::noise({tokenizer.size(), 16}, 3);
    data::write_safetensors(folder / "model.safetensors", checkpoint.tensors);
    std::filesystem::copy_file(std::string("tests/golden/") + golden + "/config.json",
                               folder / "config.json");
    EXPECT_EQ(message_of([&] { TextEncoder::load(folder.str()); }),
              folder.str() +
                  ": has no vocabulary, neither spiece.model (SigLIP) nor tokenizer.model or tokenizer.json "
                  "(SigLIP 2); fetch it, "
                  "as with: hf download ID spiece.model --local-dir " +
                  folder.str());
    std::filesystem::copy_file(std::string("tests/golden/sentence_piece/") + file, folder / file);
    const TextEncoder text = TextEncoder::load(folder.str());
    EXPECT_EQ(text.description(), "SigLIP, 2 heads, gelu_pytorch_tanh");
    const std::vector<std::string> texts{"A photo of a cat.", "zwei Hunde", ""};
    const NoGrad no_grad;
    const auto tower = load_siglip_text(checkpoint.tensors, checkpoint.config, "s");
    EXPECT_LE(relative_error(text.embed(texts),
                             tower->forward(tokenizer.encode(texts, text.config().context)).value()),
              1e-6);
    EXPECT_GT(relative_error(text.embed({"A photo of a dog."}), text.embed({"A photo of a cat."})), 1e-3);
  }
}

// transformers leaves out of a config.json what has its default.
TEST(ImageEncoder, WhatTransformersLeavesOutHasItsDefault) {
  ImageTowerConfig c = clip_image_config();
  c.image_size = 8;
  c.patch_size = 4;
  c.block.width = 192;
  c.layers = 1;
  c.embedding = 8;
  const TempDir folder;
  data::write_safetensors(folder / "model.safetensors", ClipImageTower(c).state());
  EXPECT_EQ(ImageEncoder::load(folder.str()).config().block.heads, 3);
  put_file(folder / "config.json", R"({"model_type": "clip", "vision_config": {"hidden_size": 192}})");
  const ImageEncoder encoder = ImageEncoder::load(folder.str());
  EXPECT_EQ(encoder.config().block.heads, 12);
  EXPECT_EQ(encoder.guessed(), "");
}

TEST(ImageEncoder, Dinov2ReadsTheSizeThatItsPreprocessorMakes) {
  const TempDir folder;
  copy_weights("dinov2", folder.str());
  std::filesystem::copy_file("tests/golden/dinov2/config.json", folder / "config.json");
  put_file(folder / "preprocessor_config.json",
           R"({"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 20}, "resample": 3,
               "crop_size": {"height": 16, "width": 16}, "do_center_crop": true, "do_resize": true,
               "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]})");
  const ImageEncoder encoder = ImageEncoder::load(folder.str());
  EXPECT_EQ(encoder.config().image_size, 16);
  const Tensor image = encoder.prepare(pixels(1, 40).reshape({40, 40, 3}), data::PlainTransform::clip);
  EXPECT_EQ(image.shape(), (Shape{16, 16, 3}));
  const Checkpoint checkpoint = read_checkpoint(folder.str());
  const NoGrad no_grad;
  const auto tower = load_dinov2(checkpoint.tensors, checkpoint.config, "d", 16);
  const Tensor batch = image.reshape({1, 16, 16, 3});
  const Variable normal = normalize_pixels(batch, {{0.5F, 0.4F, 0.3F}, {0.2F, 0.3F, 0.4F}});
  EXPECT_EQ(encoder.embed(batch).to_vector(), tower->forward(normal).embedding.value().to_vector());
}

}  // namespace
}  // namespace vitral::models
