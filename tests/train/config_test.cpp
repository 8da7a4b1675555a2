#include "train/config.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "tests/train/config_support.h"

namespace vitral::train {
namespace {

using test::config_of;

TEST(Config, LeavesWhatAFileDoesNotSayAtItsDefault) {
  EXPECT_EQ(config_of("{}"), Config{});
  Config expected;
  expected.train.epochs = 7;
  EXPECT_EQ(config_of("train:\n  epochs: 7\n"), expected);
}

TEST(Config, ReadsTheContractsExample) {
  const Config config = config_of(R"(
model: {image_size: 224, patch_size: 28, width: 512, layers: 6, heads: 16, attention: neighbourhood, window: 3, same_norm: true, init_from: null}
data:  {train: [train.h5], val: [val.h5], augment: clip, shuffle: true, workers: 2}
train: {batch_size: 64, epochs: 100, max_steps: null, loss_norm: 20, seed: 0, device: auto, precision: fp32,
        optimizer: {name: adamw, lr: 1.0e-3, weight_decay: 0.01, betas: [0.9, 0.999], eps: 1.0e-8},
        scheduler: {name: reduce_on_plateau, patience: 1, factor: 0.5, threshold: 1.0e-3, min_lr: 1.0e-6},
        log_every: 10, checkpoint_every: epoch, keep: 3, output: runs/student}
)");
  EXPECT_EQ(config, Config{});
}

TEST(Config, ReadsEveryKey) {
  const Config c = config_of(R"(
model: {image_size: 60, patch_size: 6, width: 96, layers: 2, heads: 3, attention: [full, neighbourhood], window: 5,
        dilation: [1, 2], registers: 7, position: rope, same_norm: False, mlp: swiglu, mlp_ratio: 2.5,
        norm: rms_norm, last_block: attention, head: query, drop_path: 0.1, init_from: a.pt}
data: {train: one.h5, val: [], augment: {resize: 70, brightness: 0.1, contrast: 0.2, saturation: 0.3, grayscale: 0.4, flip: 0.5,
       blur: 0.6, blur_kernel: 7, blur_sigma_min: 1, blur_sigma_max: 3, posterize: 0.7, posterize_bits: 4, autocontrast: 0.8,
       random_crop: true, scaled_decode: true}, shuffle: false, workers: 8}
train: {batch_size: 12, accumulate: 3, slices: 4, epochs: 5, max_steps: 9, objective: {l1: 0.25, texts: 2}, loss_norm: 2.5, temperature: 0.1, texts: t.h5, seed: 9223372036854775807, device: "cuda:3",
        precision: bf16, products: p.jsonl, recompute: never, clip_norm: 1, ema: 0.999, optimizer: {name: adamw, lr: .01, weight_decay: 0, betas: [0, +0.5], eps: 1e-6, decay_matrices_only: true},
        scheduler: {name: one_cycle, warmup_fraction: 0.1, start_factor: 2, end_factor: 3},
        log_every: 1, checkpoint_every: 50, keep: 1, output: 'runs/a b'}
)");
  Config e;
  static_cast<models::StudentConfig&>(e.model) = {.image_size = 60,
                                                  .patch_size = 6,
                                                  .width = 96,
                                                  .layers = 2,
                                                  .heads = 3,
                                                  .attention = {"full", "neighbourhood"},
                                                  .window = 5,
                                                  .same_norm = false,
                                                  .dilation = {1, 2},
                                                  .registers = 7,
                                                  .position = "rope",
                                                  .mlp = "swiglu",
                                                  .mlp_ratio = 2.5,
                                                  .norm = "rms_norm",
                                                  .last_block = "attention",
                                                  .head = "query",
                                                  .drop_path = 0.1};
  e.model.init_from = "a.pt";
  e.data = {{"one.h5"}, {}, {}, false, 8};
  e.data.augment = {70, 0.1F, 0.2F, 0.3F, 0.4F, 0.5F, 0.6F, 7, 1, 3, 0.7F, 4, 0.8F, true, true};
  e.train.batch_size = 12;
  e.train.accumulate = 3;
  e.train.slices = 4;
  e.train.epochs = 5;
  e.train.max_steps = 9;
  e.train.objective = {{"l1", 0.25}, {"texts", 2}};
  e.train.loss_norm = 2.5;
  e.train.temperature = 0.1;
  e.train.texts = "t.h5";
  e.train.seed = INT64_MAX;
  e.train.device = "cuda:3";
  e.train.precision = "bf16";
  e.train.products = "p.jsonl";
  e.train.recompute = "never";
  e.train.clip_norm = 1;
  e.train.ema = 0.999;
  e.train.optimizer = {"adamw", 0.01, 0, {0, 0.5}, 1e-6, true};
  e.train.scheduler.name = "one_cycle";
  e.train.scheduler.warmup_fraction = 0.1;
  e.train.scheduler.start_factor = 2;
  e.train.scheduler.end_factor = 3;
  e.train.log_every = 1;
  e.train.checkpoint_every = 50;
  e.train.keep = 1;
  e.train.output = "runs/a b";
  EXPECT_EQ(c, e);
  EXPECT_EQ(config_of(to_yaml(c)), c);
}

TEST(Config, AnyFileInConfigsLoads) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator("configs")) {
    if (entry.is_directory()) continue;  // of other files
    ++files;
    EXPECT_EQ(test::message_of([&] { load_config(entry.path()); }), "no error") << entry.path();
  }
  EXPECT_GE(files, 3);
  EXPECT_EQ(load_config("configs/student-21m.yaml"), Config{});
  const Config full = load_config("configs/student-21m-full.yaml");
  EXPECT_EQ(full.model.attention, "full");
  EXPECT_FALSE(full.model.same_norm);
  const Config shapes = load_config("configs/shapes.yaml");
  EXPECT_EQ(shapes.model.width, 64);
  EXPECT_EQ(shapes.train.optimizer.lr, 2e-3);
  EXPECT_TRUE(shapes.data.augment.none());
}

TEST(Config, OverridesApplyInOrderAndTheLastWins) {
  const Config c =
      config_of("train: {epochs: 5}\n",
                {"train.epochs=6", "train.epochs=7", "train.optimizer.lr=2e-3", "data.train=[a.h5, b.h5]",
                 "train.max_steps=30", "model.init_from=runs/x", "train.output=a=b"});
  EXPECT_EQ(c.train.epochs, 7);
  EXPECT_EQ(c.train.optimizer.lr, 2e-3);
  EXPECT_EQ(c.data.train, (std::vector<std::string>{"a.h5", "b.h5"}));
  EXPECT_EQ(c.train.max_steps, 30);
  EXPECT_EQ(c.model.init_from, "runs/x");
  EXPECT_EQ(c.train.output, "a=b");
}

TEST(Config, AMapAsOverrideReplacesTheWholeMap) {
  const Config c = config_of("train: {optimizer: {lr: 0.1, eps: 1e-6}}\n", {"train.optimizer={lr: 0.2}"});
  EXPECT_EQ(c.train.optimizer.lr, 0.2);
  EXPECT_EQ(c.train.optimizer.eps, 1e-8);
  EXPECT_EQ(config_of("model: {image_size: 56}", {"model={patch_size: 14}"}).model.image_size, 224);
  EXPECT_EQ(config_of("data: {workers: 5}", {"data={shuffle: false}"}).data.workers, 2);
  EXPECT_EQ(config_of("train: {epochs: 5}", {"train={seed: 1}"}).train.epochs, 100);
  EXPECT_EQ(config_of("teacher: {weights: a, heads: 4}", {"teacher={weights: b}"}).teacher.heads,
            std::nullopt);
}

// Whatever sections there are: a map that names one key of a section puts all others back.
TEST(Config, AMapResetsEveryOtherKeyOfItsSection) {
  const std::string yaml =
      "model: {image_size: 60, patch_size: 6, width: 96, layers: 2, heads: 3, attention: full, window: 5, "
      "same_norm: false, init_from: a.pt}\n"
      "data: {train: [a.h5], val: [], augment: none, shuffle: false, workers: 7}\n"
      "teacher: {weights: a, heads: 4}\n";
  const Config defaults;
  EXPECT_EQ(config_of(yaml, {"model={layers: 6}"}).model, defaults.model);
  EXPECT_EQ(config_of(yaml, {"data={workers: 2}"}).data, defaults.data);
  EXPECT_EQ(config_of(yaml, {"teacher={weights: null}"}).teacher, defaults.teacher);
}

TEST(Config, AnotherSchedulerOnTheCommandLineReplacesTheOneOfTheFile) {
  const std::string yaml = "train: {scheduler: {name: reduce_on_plateau, patience: 4, min_lr: 1e-5}}\n";
  SchedulerConfig expected;
  expected.name = "cosine";
  expected.warmup_steps = 5;
  EXPECT_EQ(
      config_of(yaml, {"train.scheduler.name=cosine", "train.scheduler.warmup_steps=5"}).train.scheduler,
      expected);
  EXPECT_EQ(
      config_of(yaml, {"train.scheduler.warmup_steps=5", "train.scheduler.name=cosine"}).train.scheduler,
      expected);
  EXPECT_EQ(config_of(yaml, {"train.scheduler={name: cosine, warmup_steps: 5}"}).train.scheduler, expected);
  EXPECT_EQ(config_of(yaml, {"train.scheduler.name=reduce_on_plateau"}).train.scheduler.patience, 4);
}

TEST(Config, ObjectiveIsAMapThatStartsFromNothing) {
  using Terms = std::map<std::string, double>;
  const std::string yaml = "train: {objective: {cosine: 0.5}}";
  EXPECT_EQ(config_of("{}").train.objective, (Terms{{"l1", 1}}));
  EXPECT_EQ(config_of(yaml).train.objective, (Terms{{"cosine", 0.5}}));
  EXPECT_EQ(config_of("{}", {"train.objective.cosine=0.5"}).train.objective,
            (Terms{{"l1", 1}, {"cosine", 0.5}}));
  EXPECT_EQ(config_of(yaml, {"train.objective.cosine=0", "train.objective.l1=2"}).train.objective,
            (Terms{{"l1", 2}}));
  EXPECT_EQ(config_of(yaml, {"train.objective={relational: 3, l1: 0}"}).train.objective,
            (Terms{{"relational", 3}}));
  EXPECT_EQ(
      to_yaml(config_of(yaml)).find("  objective:\n    cosine: 0.5\n  loss_norm: 20\n") == std::string::npos,
      false);
}

TEST(Config, AugmentIsARecipeOrAMapThatStartsFromNothing) {
  EXPECT_TRUE(config_of("data: {augment: none}").data.augment.none());
  EXPECT_EQ(config_of("data: {augment: clip}").data.augment, data::AugmentConfig::clip());
  data::AugmentConfig flip;
  flip.flip = 0.5F;
  EXPECT_EQ(config_of("data: {augment: {flip: 0.5}}").data.augment, flip);
  EXPECT_EQ(config_of("data: {augment: none}", {"data.augment.flip=0.5"}).data.augment, flip);
  EXPECT_EQ(config_of("data: {augment: clip}", {"data.augment={flip: 0.5}"}).data.augment, flip);
  data::AugmentConfig clip = data::AugmentConfig::clip();
  clip.flip = 0.5F;
  EXPECT_EQ(config_of("data: {augment: clip}", {"data.augment.flip=0.5"}).data.augment, clip);
}

TEST(Config, YamlHoldsEveryKeyInAReadableLayout) {
  EXPECT_EQ(to_yaml(Config{}), R"(model:
  kind: student
  image_size: 224
  patch_size: 28
  width: 512
  layers: 6
  heads: 16
  attention: neighbourhood
  window: 3
  dilation: 1
  registers: 0
  position: learned
  same_norm: true
  mlp: quick_gelu
  mlp_ratio: 4
  norm: layer_norm
  last_block: residual
  head: convex
  drop_path: 0
  init_from: null
data:
  train: [train.h5]
  val: [val.h5]
  augment: clip
  shuffle: true
  workers: 2
  exif: apply
  images: null
  embeddings: null
teacher:
  weights: null
  regions: null
  heads: null
  activation: null
train:
  batch_size: 64
  accumulate: 1
  slices: null
  epochs: 100
  max_steps: null
  objective:
    l1: 1
  loss_norm: 20
  temperature: 0.07
  texts: null
  seed: 0
  device: auto
  precision: fp32
  products: null
  recompute: auto
  clip_norm: null
  ema: null
  optimizer:
    name: adamw
    lr: 0.001
    weight_decay: 0.01
    betas: [0.9, 0.999]
    eps: 1.0e-08
    decay_matrices_only: false
  scheduler:
    name: reduce_on_plateau
    patience: 1
    factor: 0.5
    threshold: 0.001
    min_lr: 1.0e-06
  log_every: 10
  checkpoint_every: epoch
  keep: 3
  output: runs/student
)");
}

TEST(Config, YamlReadsBackToTheVeryNumbersAndTexts) {
  Config c;
  c.train.optimizer.lr = 0.1 + 0.2;
  c.train.optimizer.eps = 5e-324;  // the smallest double
  c.train.optimizer.weight_decay = 1.7976931348623157e308;
  c.train.loss_norm = 1.0 / 3;
  c.train.seed = INT64_MAX;
  c.data.augment = {};
  c.data.augment.brightness = 1.0F / 3;
  c.data.augment.blur_sigma_min = 1.17549435e-38F;
  c.data.train = {"a b",  "true", "12",   "it's",  "x, y",
                  "[z]",  "#c",   "a: b", "\"q\"", "\\",
                  "käse", "-",    "./~",  "null",  "line\nbreak\ttab\x01",
                  "1e5",  "@at",  ".5",   "./x",   "%d"};
  c.data.val = {};
  c.model.init_from = "null";
  EXPECT_EQ(config_of(to_yaml(c)), c);

  for (const char* name : {"reduce_on_plateau", "cosine", "one_cycle", "constant"}) {
    Config s;
    s.train.scheduler.name = name;
    EXPECT_EQ(config_of(to_yaml(s)), s) << name;
  }
}

}  // namespace
}  // namespace vitral::train
