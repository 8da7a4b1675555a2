// A CLIP that is trained: forward, gradients and twenty steps against PyTorch's, and what must hold for any.
#include <cmath>
#include <filesystem>

#include "data/text/clip_tokenizer.h"
#include "models/clip/contrastive.h"
#include "tests/golden.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"
#include "train/step.h"

namespace vitral::models {
namespace {

using test::message_of;
using test::relative_error;

constexpr const char* golden = "tests/golden/clip_training.h5";

// That of the file, in which a batch has 8 images.
ClipConfig golden_config() {
  ClipConfig c;
  c.image_size = 8;
  c.patch_size = 4;
  c.width = 12;
  c.vision = {.width = 16, .layers = 2, .heads = 2};
  static_cast<ClipTowerShape&>(c.text) = {.width = 12, .layers = 2, .heads = 2};
  c.text.context = 9;
  c.text.vocabulary_size = 40;
  return c;
}

data::Inputs batch_of(const data::H5File& file, std::int64_t i) {
  const Tensor images = file.read("/images"), tokens = file.read("/tokens");
  data::Inputs out;
  out.images = images.rows(i, i + 1).reshape({images.dim(1), images.dim(2), images.dim(3), images.dim(4)});
  out.tokens = tokens.rows(i, i + 1).reshape({tokens.dim(1), tokens.dim(2)});
  return out;
}

std::unique_ptr<Contrastive> golden_objective(const data::H5File& file,
                                              const std::vector<std::string>& freeze = {}) {
  auto out = std::make_unique<Contrastive>(golden_config(), nullptr, 0, freeze);
  out->model().load_state(test::read_group(file, "/state"), golden);
  return out;
}

train::TrainConfig golden_training(const data::H5File& file) {
  train::TrainConfig config;
  config.batch_size = 8;
  config.optimizer.weight_decay = test::number_attribute(file, "weight_decay");
  return config;
}

std::vector<double> train(const data::H5File& file, const train::TrainConfig& config, Device device,
                          int steps, Contrastive& objective) {
  const double lr = test::number_attribute(file, "lr");
  train::TrainStep step(objective, config, device);
  std::vector<double> losses;
  for (int i = 0; i < steps; ++i) {
    const train::StepResult r = step.run(batch_of(file, i % 4), lr, i);
    EXPECT_FALSE(r.skipped);
    losses.push_back(r.loss);
  }
  return losses;
}

class ClipTraining : public testing::TestWithParam<Device::Kind> {
 protected:
  void SetUp() override { VITRAL_NEEDS_DEVICE(device()); }
  Device device() const { return {GetParam(), 0}; }
};

TEST_P(ClipTraining, ForwardAndGradientsOfTheFirstBatch) {
  const data::H5File file = data::H5File::open(golden);
  const auto objective = golden_objective(file);
  objective->model().to(device());
  const data::Inputs batch = batch_of(file, 0).to(device());
  const Variable features = objective->features(batch, DType::float32, {});
  EXPECT_LE(relative_error(slice(features, 1, 0, 12).value(), file.read("/image_embedding")), 1e-5);
  EXPECT_LE(relative_error(slice(features, 1, 12, 24).value(), file.read("/text_embedding")), 1e-5);
  const auto terms = objective->terms(batch, DType::float32, {});
  ASSERT_EQ(terms.size(), 1U);
  EXPECT_EQ(terms[0].name, "info_nce");
  EXPECT_NEAR(terms[0].value.item(), file.read("/losses").to_vector()[0], 1e-5);
  loss_of(terms).backward();
  for (const auto& p : objective->model().parameters())
    EXPECT_LE(relative_error(p.value->grad(), file.read("/gradients/" + p.name)), 1e-4) << p.name;
}

TEST_P(ClipTraining, TwentyStepsOfAdamW) {
  const data::H5File file = data::H5File::open(golden);
  const auto theirs = file.read("/losses").to_vector();
  for (const int accumulate : {1, 4}) {  // micro-batches are compared with each other, too
    SCOPED_TRACE(accumulate);
    train::TrainConfig config = golden_training(file);
    config.accumulate = accumulate;
    const auto objective = golden_objective(file);
    const auto ours = train(file, config, device(), accumulate == 1 ? 20 : 5, *objective);
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_NEAR(ours[i], theirs[i], 1e-3) << i;
  }
}

TEST_P(ClipTraining, Bfloat16StaysNear) {
  const data::H5File file = data::H5File::open(golden);
  train::TrainConfig config = golden_training(file);
  config.precision = "bf16";
  const auto objective = golden_objective(file);
  const auto ours = train(file, config, device(), 5, *objective), theirs = file.read("/losses").to_vector();
  double changed = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    EXPECT_NEAR(ours[i], theirs[i], 0.1) << i;
    changed += std::abs(ours[i] - theirs[i]);
  }
  EXPECT_GT(changed, 1e-4);
}

// The same bits each time; steps with recorded graphs are among them.
TEST_P(ClipTraining, GivesTheSameBitsEachTime) {
  const data::H5File file = data::H5File::open(golden);
  const auto once = golden_objective(file), again = golden_objective(file);
  const train::TrainConfig config = golden_training(file);
  EXPECT_EQ(train(file, config, device(), 4, *once), train(file, config, device(), 4, *again));
  const auto a = once->model().state(), b = again->model().state();
  for (std::size_t i = 0; i < a.size(); ++i)
    EXPECT_EQ(a[i].second.to_vector(), b[i].second.to_vector()) << a[i].first;
}

TEST_P(ClipTraining, AFrozenTowerStaysAsItIs) {
  const data::H5File file = data::H5File::open(golden);
  for (const std::string frozen : {"image", "text"}) {
    const auto objective = golden_objective(file, {frozen});
    const auto before = test::read_group(file, "/state");
    train(file, golden_training(file), device(), 2, *objective);
    const auto after = objective->model().state();
    for (const auto& [name, tensor] : before) {
      const auto now =
          std::find_if(after.begin(), after.end(), [&](const auto& e) { return e.first == name; });
      ASSERT_NE(now, after.end()) << name;
      const bool stays = name != "logit_scale" && name.starts_with("visual.") == (frozen == "image");
      EXPECT_EQ(now->second.to_vector() == tensor.to_vector(), stays) << frozen << ": " << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, ClipTraining, testing::Values(Device::Kind::cpu, Device::Kind::cuda),
                         [](const auto& info) {
                           return std::string(info.param == Device::Kind::cpu ? "OnCpu" : "OnCuda");
                         });

TEST(Clip, NamesAreOpenAis) {
  const Clip clip(golden_config());
  const data::H5File file = data::H5File::open(golden);
  std::set<std::string> ours, theirs;
  for (const auto& p : clip.parameters()) ours.insert(p.name);
  for (const auto& name : file.list("/state")) theirs.insert(name);
  EXPECT_EQ(ours, theirs);
}

double deviation(const Tensor& t) {
  double squares = 0;
  for (const double x : t.to_vector()) squares += x * x;
  return std::sqrt(squares / static_cast<double>(t.numel()));
}

// openai/CLIP, initialize_parameters() and VisionTransformer; PyTorch's own for the image tower's blocks.
TEST(Clip, FreshWeightsAreDrawnAsOpenAiDraws) {
  ClipConfig c = golden_config();
  c.vision = {.width = 128, .layers = 2, .heads = 2};
  static_cast<ClipTowerShape&>(c.text) = {.width = 96, .layers = 3, .heads = 2};
  c.text.vocabulary_size = 500;
  const Clip clip(c, 3), same(c, 3), other(c, 4);
  const auto state = clip.state(), again = same.state(), differs = other.state();
  const auto of = [&](const std::string& name) {
    return std::find_if(state.begin(), state.end(), [&](const auto& e) { return e.first == name; })->second;
  };
  const auto expect = [&](const std::string& name, double std) {
    const Tensor t = of(name);
    EXPECT_NEAR(deviation(t) / std, 1, 5 / std::sqrt(static_cast<double>(t.numel()))) << name;
  };
  const double width = 96, wide = 128;
  expect("token_embedding.weight", 0.02);
  expect("positional_embedding", 0.01);
  expect("text_projection", 1 / std::sqrt(width));
  for (const std::string block : {"transformer.resblocks.0.", "transformer.resblocks.2."}) {
    expect(block + "attn.in_proj_weight", 1 / std::sqrt(width));
    expect(block + "attn.out_proj.weight", 1 / std::sqrt(width * 2 * 3));
    expect(block + "mlp.c_fc.weight", 1 / std::sqrt(2 * width));
    expect(block + "mlp.c_proj.weight", 1 / std::sqrt(width * 2 * 3));
  }
  expect("visual.class_embedding", 1 / std::sqrt(wide));
  expect("visual.positional_embedding", 1 / std::sqrt(wide));
  expect("visual.proj", 1 / std::sqrt(wide));
  expect("visual.transformer.resblocks.0.mlp.c_fc.weight", 1 / std::sqrt(3 * wide));
  EXPECT_FLOAT_EQ(static_cast<float>(of("logit_scale").item()), std::log(1 / 0.07F));
  for (std::size_t i = 0; i < state.size(); ++i) {
    EXPECT_EQ(state[i].second.to_vector(), again[i].second.to_vector()) << state[i].first;
    if (state[i].second.rank() == 2) {
      EXPECT_NE(state[i].second.to_vector(), differs[i].second.to_vector()) << state[i].first;
    }
  }
}

TEST(Clip, StartsFromAPretrainedOne) {
  const test::TempDir dir;
  test::write_tiny_clip(dir.str());
  const std::string path = dir.str();
  ClipConfig c;
  c.image_size = 24;
  c.patch_size = 8;
  c.width = 16;
  c.vision = {.width = 64, .layers = 1, .heads = 1};
  static_cast<ClipTowerShape&>(c.text) = {.width = 64, .layers = 2, .heads = 1};
  c.text.context = 12;
  c.text.vocabulary_size = 614;
  Clip clip(c);
  std::vector<std::string> warnings;
  clip.load_state(pretrained_clip(path, c, warnings), path);
  EXPECT_EQ(warnings, std::vector<std::string>{});
  const auto tensors = data::read_safetensors(path + "/model.safetensors").tensors;
  const auto state = clip.state();
  for (const auto& [name, tensor] : tensors) {
    const auto ours =
        std::find_if(state.begin(), state.end(), [&](const auto& e) { return e.first == name; });
    ASSERT_NE(ours, state.end()) << name;
    EXPECT_EQ(ours->second.to_vector(), tensor.to_vector()) << name;
  }
  EXPECT_EQ(infer_clip_config(tensors, {}, path), c);
  // One that vitral trained says of itself what it is, heads of any size among it.
  Contrastive trained(golden_config(), nullptr, 5);
  const std::string run = dir / "trained.safetensors";
  data::write_safetensors(run, trained.model().state(), trained.metadata());
  Clip next(golden_config());
  next.load_state(pretrained_clip(run, golden_config(), warnings), run);
  EXPECT_EQ(warnings, std::vector<std::string>{});
  EXPECT_EQ(next.state().back().second.to_vector(), trained.model().state().back().second.to_vector());
  ClipConfig other = c;
  other.vision.heads = 4;
  other.text.layers = 3;
  EXPECT_EQ(
      message_of([&] { pretrained_clip(path, other, warnings); }),
      path + ": is another CLIP than the one that is trained: text.layers 2, not 3; vision.heads 1, not 4");
  test::put_file(path + "/config.json",
                 R"({"vision_config": {"num_attention_heads": 1, "hidden_act": "gelu"},
                     "text_config": {"num_attention_heads": 1, "hidden_act": "gelu"}})");
  EXPECT_EQ(message_of([&] { pretrained_clip(path, c, warnings); }),
            path +
                ": the blocks of its image tower have an MLP of 256 with gelu and eps 1e-05; a CLIP that is "
                "trained here has 256 with quick_gelu and 1e-05");
  std::filesystem::remove(path + "/config.json");
  clip.load_state(pretrained_clip(path, c, warnings), path);
  const auto guess = [&](const char* tower) {
    return "model.init_from: " + path + ": neither it nor a configuration beside it says all of its " +
           tower +
           " tower; taken as in OpenAI's models: 1 heads (width / 64) and quick_gelu; put the config.json or "
           "open_clip_config.json of these weights beside them";
  };
  EXPECT_EQ(warnings, (std::vector{guess("image"), guess("text")}));
}

TEST(Contrastive, MetadataTellWhatItIs) {
  const ClipConfig c = golden_config();
  const Contrastive objective(c);
  const auto metadata = objective.metadata();
  EXPECT_EQ(metadata.at("clip.text.vocabulary_size"), "40");
  EXPECT_EQ(objective.metadata_in(metadata, "file"), metadata);
  EXPECT_TRUE(objective.metadata_in({{"model.width", "5"}}, "file").empty());
  std::vector<std::string> warnings;
  EXPECT_EQ(objective.metadata_of(Clip(c).state(), "file", warnings), metadata);
  EXPECT_TRUE(warnings.empty());
  ClipConfig known = c;
  known.text.vocabulary_digest = "00ff00ff00ff00ff";
  auto file = Contrastive(known).metadata();
  EXPECT_EQ(clip_config_from_metadata(file, "file"), known);
  file["clip.text.vocabulary_digest"] = "merges.txt";
  EXPECT_EQ(message_of([&] { clip_config_from_metadata(file, "file"); }),
            "file: metadata clip.text.vocabulary_digest: must be 16 hexadecimal digits, not merges.txt");
}

TEST(Contrastive, LeavesItsVocabularyWithTheWeights) {
  const test::TempDir dir;
  ClipConfig c = golden_config();
  Contrastive(c).write_files(dir.str());
  EXPECT_TRUE(std::filesystem::is_empty(dir.str()));
  c.text.vocabulary = test::small_merges;
  auto tokenizer = std::make_shared<const data::ClipTokenizer>(data::ClipTokenizer::load(c.text.vocabulary));
  EXPECT_EQ(message_of([&] { const Contrastive objective(c, tokenizer); }),
            "CLIP: a vocabulary of 40 does not go with a tokeniser of 614");
  c.text.vocabulary_size = static_cast<int>(tokenizer->size());
  const Contrastive objective(c, tokenizer);
  EXPECT_EQ(objective.captions().context, 9);
  objective.write_files(dir.str());
  const auto copy = data::ClipTokenizer::load(dir.str());
  EXPECT_EQ(copy.encode("a photo of a cat"), tokenizer->encode("a photo of a cat"));
  EXPECT_TRUE(std::filesystem::exists(dir / "vocab.json"));
}

// Columns that no text of the batch needs cost nothing on the CPU, and change nothing.
TEST(Contrastive, ShortTextsAreCut) {
  const Clip clip(golden_config(), 2);
  const std::vector<std::int64_t> row{38, 5, 39, -1, -1, -1, -1, -1, -1};
  std::vector<std::int64_t> alone = row, beside = row, full{38, 1, 2, 3, 4, 5, 6, 7, 39};
  beside.insert(beside.end(), full.begin(), full.end());
  const Tensor x = clip.embed_texts(Tensor::from(alone, {1, 9})).value(),
               y = clip.embed_texts(Tensor::from(beside, {2, 9})).value();
  EXPECT_LE(relative_error(x, y.rows(0, 1)), 1e-6);
}

TEST(Contrastive, NamesWhatIsWrong) {
  ClipConfig c = golden_config();
  const auto message = [&] { return message_of([&] { const Contrastive objective(c); }); };
  EXPECT_EQ(message_of([&] { const Contrastive objective(c, nullptr, 0, {"texts"}); }),
            "CLIP: freeze: texts is none of image and text");
  c.vision.heads = 3;
  EXPECT_EQ(message(), "CLIP: vision.heads 3 must divide width 16");
  c = golden_config();
  c.text.context = 2;
  EXPECT_EQ(message(), "CLIP: text.context must be an integer from 3 to 65536, not 2");
  c = golden_config();
  c.text.vocabulary_size = 0;
  EXPECT_EQ(message(), "CLIP text tower: context 9 and vocabulary 0 must be positive");
  const Contrastive objective(golden_config());
  EXPECT_EQ(message_of([&] {
              data::Inputs inputs;
              inputs.images = Tensor::zeros({2, 8, 8, 3}, DType::uint8);
              objective.features(inputs, DType::float32, {});
            }),
            "CLIP: the batch has no captions");
}

// What is not present is in neither softmax; the sum is divided by the images that the caller counts.
TEST(Contrastive, CountsWhatIsPresent) {
  const Contrastive objective(golden_config());
  const Variable features(test::noise({4, 24}, 7));
  const Tensor present = Tensor::from(std::vector<float>{1, 1, 1, 0}, {4});
  const auto loss = [&](const Variable& f, const Tensor& p, std::int64_t images) {
    return loss_of(objective.terms_of(f, p, images)).item();
  };
  const double three = loss(slice(features, 0, 0, 3), {}, 3);
  EXPECT_NEAR(loss(features, present, 3), three, 1e-6);
  EXPECT_NEAR(loss(features, present, 6), three / 2, 1e-6);
  EXPECT_NEAR(loss(slice(features, 0, 0, 3), {}, 6), three / 2, 1e-6);
}

}  // namespace
}  // namespace vitral::models
