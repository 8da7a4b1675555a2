// Every way in which a configuration can be wrong, with the text of its error. docs/config.md prints some of
// them; those must be here.
#include <algorithm>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/train/config_support.h"

namespace vitral::train {
namespace {

struct Case {
  std::string yaml;
  std::vector<std::string> overrides;
  std::string error;
};

const std::string plateau_keys = "name, patience, factor, threshold, min_lr";

const std::vector<Case>& cases() {
  static const std::vector<Case> all{
      // YAML itself
      {"", {}, "config.yaml: is empty; a configuration has the sections model, data, teacher, train"},
      {"# nothing\n",
       {},
       "config.yaml: is empty; a configuration has the sections model, data, teacher, train"},
      {"model: {}\ndata:\n  train: [a.h5\n",
       {},
       "config.yaml:4: not valid YAML: end of sequence flow not found"},
      {"data:\n  train: [a.h5\ntrain: {}\n",
       {},
       "config.yaml:3: not valid YAML: end of sequence flow not found"},
      {"train: *x\n", {}, "config.yaml:1: not valid YAML: the referenced anchor is not defined"},
      {"a: 1\n---\nb: 2\n",
       {},
       "config.yaml: more than one YAML document, or something stray behind it; a configuration is one"},
      {",",
       {},
       "config.yaml: more than one YAML document, or something stray behind it; a configuration is one"},
      {"- 1\n", {}, "config.yaml:1: must be a map of the sections model, data, teacher, train, not [1]"},
      {"\n\nhello\n",
       {},
       "config.yaml:3: must be a map of the sections model, data, teacher, train, not hello"},
      {std::string("a\0b", 3),
       {},
       "config.yaml:1: has a NUL byte; it is no text, or UTF-16 without a byte order mark: save it as UTF-8"},
      {std::string((1 << 20) + 1, ' '), {}, "config.yaml: is no configuration: larger than 1024 KiB"},

      // keys
      {"model:\n  patchsize: 8\n",
       {},
       "config.yaml:2: model.patchsize: unknown key; did you mean patch_size? valid keys of model: "
       "kind, image_size, patch_size, width, layers, heads, attention, window, dilation, registers, "
       "position, "
       "same_norm, mlp, mlp_ratio, norm, last_block, head, drop_path, vision, text, init_from"},
      {"\nlr: 0.1\n",
       {},
       "config.yaml:2: lr: unknown key; did you mean train.optimizer.lr? valid keys: model, data, teacher, "
       "train"},
      {"trian: {}\n",
       {},
       "config.yaml:1: trian: unknown key; did you mean train? valid keys: model, data, teacher, train"},
      {"data: {optimizer: {}}\n",
       {},
       "config.yaml:1: data.optimizer: unknown key; did you mean train.optimizer? valid keys of data: train, "
       "val, "
       "augment, shuffle, workers, exif, images, embeddings"},
      {"data: {zzzzzz: 1}\n",
       {},
       "config.yaml:1: data.zzzzzz: unknown key; valid keys of data: train, val, augment, shuffle, workers, "
       "exif, images, embeddings"},
      {"data: {\"a\\nb\": 1}\n",
       {},
       "config.yaml:1: data.a\\x0ab: unknown key; valid keys of data: train, val, augment, shuffle, workers, "
       "exif, images, embeddings"},
      {"data: {augment: {blurr: 1}}\n",
       {},
       "config.yaml:1: data.augment.blurr: unknown key; did you mean blur? valid keys of data.augment: "
       "resize, "
       "brightness, contrast, saturation, grayscale, flip, blur, blur_kernel, blur_sigma_min, "
       "blur_sigma_max, "
       "posterize, posterize_bits, autocontrast, random_crop, scaled_decode"},
      {"data: {[a]: 1}\n", {}, "config.yaml:1: data: a key must be a name, not [a]"},
      {"train:\n  epochs: 3\n  epochs: 4\n", {}, "config.yaml:3: train.epochs: is given twice; keep one"},
      {"train: {epochs: 3}\nmodel: {}\ntrain: {}\n", {}, "config.yaml:3: train: is given twice; keep one"},

      // types and ranges
      {"model:\n  image_size: \"224\"\n",
       {},
       "config.yaml:2: model.image_size: must be an integer from 1 to 8192, not the text \"224\""},
      {"model: {image_size: 64.0}\n",
       {},
       "config.yaml:1: model.image_size: must be an integer from 1 to 8192, not 64.0"},
      {"model: {image_size: 99999999999999999999}\n",
       {},
       "config.yaml:1: model.image_size: must be an integer from 1 to 8192, not 99999999999999999999"},
      {"model: {width: -1}\n", {}, "config.yaml:1: model.width: must be an integer from 1 to 65536, not -1"},
      {"model: {window: 4}\n",
       {},
       "config.yaml:1: model.window: must be an odd integer from 1 to 8191, or a list of one for each layer, "
       "not 4"},
      {"model: {attention: global}\n",
       {},
       "config.yaml:1: model.attention: must be neighbourhood or full, or a list of one for each layer, not "
       "global"},
      {"model: {window: [3, 4]}\n",
       {},
       "config.yaml:1: model.window: number 2 of the list must be an odd integer from 1 to 8191, not 4"},
      {"model: {window: []}\n",
       {},
       "config.yaml:1: model.window: must be an odd integer from 1 to 8191, or a list of one for each layer, "
       "not []"},
      {"model: {attention: [full, [full]]}\n",
       {},
       "config.yaml:1: model.attention: number 2 of the list must be neighbourhood or full, not [full]"},
      {"model:\n  window: [3, 5]\n",
       {},
       "config.yaml:2: model.window: has 2 values, but layers is 6; give one for all, or 6"},
      {"model:\n  dilation: [1, 2]\n",
       {"model.layers=3"},
       "override model.layers=3: is 3, but dilation has 2 values; give one for all, or 3"},
      {"model:\n  attention: full\n",
       {"model.attention=full,neighbourhood"},
       "override model.attention=full,neighbourhood: has 2 values, but layers is 6; give one for "
       "all, "
       "or 6"},
      {"model: {registers: 65}\n",
       {},
       "config.yaml:1: model.registers: must be an integer from 0 to 64, not 65"},
      {"model:\n  heads: 256\n  position: rope\n",
       {},
       "config.yaml:3: model.position: rope needs heads of 4 numbers, these have 3; take fewer heads"},
      {"model: {same_norm: 1}\n", {}, "config.yaml:1: model.same_norm: must be true or false, not 1"},
      {"model: {same_norm: yes}\n", {}, "config.yaml:1: model.same_norm: must be true or false, not yes"},
      {"model: {init_from: [a]}\n", {}, "config.yaml:1: model.init_from: must be null or a path, not [a]"},
      {"data: {train: []}\n", {}, "config.yaml:1: data.train: must be a path or a list of paths, not []"},
      {"data: {train: null}\n", {}, "config.yaml:1: data.train: must be a path or a list of paths, not null"},
      {"data: {train: ['']}\n",
       {},
       "config.yaml:1: data.train: must be a path or a list of paths, not [the text \"\"]"},
      {"data: {train: [a, {b: c}, [d], null, e]}\n",
       {},
       "config.yaml:1: data.train: must be a path or a list of paths, not [a, a map, a list, null, ...]"},
      {"data: {val: {a: b}}\n",
       {},
       "config.yaml:1: data.val: must be a path or a list of paths, may be empty, not a map"},
      {"data: {augment: strong}\n",
       {},
       "config.yaml:1: data.augment: must be none, clip or a map of operations, not strong"},
      {"data: {augment: null}\n",
       {},
       "config.yaml:1: data.augment: must be none, clip or a map of operations, not null"},
      {"data: {augment: {flip: 1.5}}\n",
       {},
       "config.yaml:1: data.augment.flip: must be a number in [0, 1], not 1.5"},
      {"data: {augment: {blur_kernel: 4}}\n",
       {},
       "config.yaml:1: data.augment.blur_kernel: must be an odd integer from 1 to 255, not 4"},
      {"data: {workers: 0}\n", {}, "config.yaml:1: data.workers: must be an integer from 1 to 256, not 0"},
      {"train:\n  - 1\n",
       {},
       "config.yaml:1: train: must be a map of batch_size, accumulate, slices, epochs, max_steps, "
       "objective, loss_norm, temperature, texts, freeze, seed, device, "
       "precision, products, recompute, clip_norm, ema, optimizer, scheduler, log_every, checkpoint_every, "
       "keep, "
       "output, not [1]"},
      {"train:\n  optimizer: adamw\n",
       {},
       "config.yaml:2: train.optimizer: must be a map of name, lr, weight_decay, betas, eps, "
       "decay_matrices_only, not adamw"},
      {"train: {optimizer: {name: adam}}\n",
       {},
       "config.yaml:1: train.optimizer.name: must be adamw, sgd, lion or muon, not adam"},
      {"train: {optimizer: {lr: 0}}\n", {}, "config.yaml:1: train.optimizer.lr: must be a number > 0, not 0"},
      {"train: {optimizer: {lr: .nan}}\n",
       {},
       "config.yaml:1: train.optimizer.lr: must be a number > 0, not .nan"},
      {"train: {optimizer: {lr: inf}}\n",
       {},
       "config.yaml:1: train.optimizer.lr: must be a number > 0, not inf"},
      {"train: {optimizer: {lr: 1e999}}\n",
       {},
       "config.yaml:1: train.optimizer.lr: must be a number > 0, not 1e999"},
      {"train: {optimizer: {lr: 1e-3x}}\n",
       {},
       "config.yaml:1: train.optimizer.lr: must be a number > 0, not 1e-3x"},
      {"train: {optimizer: {betas: [0.9, 1]}}\n",
       {},
       "config.yaml:1: train.optimizer.betas: must be a list of two numbers in [0, 1), not [0.9, 1]"},
      {"train: {optimizer: {betas: [0.9]}}\n",
       {},
       "config.yaml:1: train.optimizer.betas: must be a list of two numbers in [0, 1), not [0.9]"},
      {"train:\n  precision: fp16\n",
       {},
       "config.yaml:2: train.precision: must be fp32, tf32 or bf16, not fp16"},
      {"train:\n  recompute: sometimes\n",
       {},
       "config.yaml:2: train.recompute: must be auto, always or never, not sometimes"},
      {"train: {device: \"cuda:x\"}\n",
       {},
       "config.yaml:1: train.device: must be cpu, cuda, cuda:N or auto, not the text \"cuda:x\""},
      {"train: {ema: 1}\n", {}, "config.yaml:1: train.ema: must be null or a number in (0, 1), not 1"},
      {"train: {clip_norm: 0}\n", {}, "config.yaml:1: train.clip_norm: must be null or a number > 0, not 0"},
      {"train: {max_steps: 0}\n",
       {},
       "config.yaml:1: train.max_steps: must be null or an integer >= 1, not 0"},
      {"train: {checkpoint_every: never}\n",
       {},
       "config.yaml:1: train.checkpoint_every: must be epoch or an integer >= 1, not never"},
      {"train: {checkpoint_every: 0}\n",
       {},
       "config.yaml:1: train.checkpoint_every: must be epoch or an integer >= 1, not 0"},
      {"train: {output: \"\"}\n", {}, "config.yaml:1: train.output: must be a path, not the text \"\""},
      {"train: {output: \"a\\0b\"}\n",
       {},
       "config.yaml:1: train.output: must be a path, not the text \"a\\x00b\""},
      {"train: {scheduler: null}\n",
       {},
       "config.yaml:1: train.scheduler: must be a map of name, patience, factor, threshold, min_lr, "
       "warmup_steps, "
       "warmup_fraction, start_factor, end_factor, not null"},
      {"train: {scheduler: {name: step}}\n",
       {},
       "config.yaml:1: train.scheduler.name: must be reduce_on_plateau, cosine, one_cycle or constant, not "
       "step"},
      {"train: {scheduler: {name: one_cycle, start_factor: 0.04}}\n",
       {},
       "config.yaml:1: train.scheduler.start_factor: must be a number >= 1, not 0.04"},

      // keys that do not fit together
      {"model:\n  image_size: 224\n  patch_size: 30\n",
       {},
       "config.yaml:3: model.patch_size: 30 must divide image_size 224"},
      {"model:\n  image_size: 225\n",
       {},
       "config.yaml:2: model.image_size: 225 must be divisible by patch_size 28"},
      {"model:\n  patch_size: 14\n",
       {"model.image_size=225"},
       "override model.image_size=225: 225 must be divisible by patch_size 14"},
      {"model: {image_size: 225}",
       {"model.patch_size=14"},
       "override model.patch_size=14: 14 must divide image_size 225"},
      {"{}",
       {"model={image_size: 225}"},
       "override model={image_size: 225}: model.image_size: 225 must be divisible by patch_size 28"},
      {"model: {heads: 7}", {}, "config.yaml:1: model.heads: 7 must divide width 512"},
      {"model: {width: 500}", {}, "config.yaml:1: model.width: 500 must be divisible by heads 16"},
      {"train: {accumulate: 3}", {}, "config.yaml:1: train.accumulate: 3 must divide batch_size 64"},
      {"train: {batch_size: 30, accumulate: 4}",
       {},
       "config.yaml:1: train.accumulate: 4 must divide batch_size 30"},
      {"train: {batch_size: 12, slices: 8}", {}, "config.yaml:1: train.slices: 8 must divide batch_size 12"},
      {"train: {slices: 6}",
       {},
       "config.yaml:1: train.slices: must be null or a power of two from 1 to 65536, not 6"},
      {"model:\n  image_size: 336\n",
       {},
       "config.yaml:2: model.image_size: 336 must be at most data.augment.resize 300, from which random_crop "
       "cuts it"},
      {"data:\n  augment: clip\nmodel: {image_size: 336}\n",
       {},
       "config.yaml:3: model.image_size: 336 must be at most data.augment.resize 300, from which random_crop "
       "cuts it"},
      {"data:\n  augment: {resize: 100, random_crop: true}\n",
       {},
       "config.yaml:2: data.augment.resize: 100 must be at least model.image_size 224, which random_crop "
       "cuts from it"},
      {"data:\n  augment: {scaled_decode: true, random_crop: true}\n",
       {},
       "config.yaml:2: data.augment.scaled_decode: needs data.augment.resize, or no random_crop"},
      {"data: {augment: {scaled_decode: true}}",
       {"data.augment.random_crop=true"},
       "override data.augment.random_crop=true: cuts from the whole image, but data.augment.scaled_decode is "
       "set; set resize, too"},
      {"data: {augment: {blur_sigma_min: 3}}",
       {},
       "config.yaml:1: data.augment.blur_sigma_min: 3 must not exceed blur_sigma_max 2"},
      {"data: {augment: {blur_sigma_max: 0.05}}",
       {},
       "config.yaml:1: data.augment.blur_sigma_max: 0.05 must not be below blur_sigma_min 0.1"},
      {"train: {scheduler: {min_lr: 0.01}}",
       {},
       "config.yaml:1: train.scheduler.min_lr: 0.01 must not exceed train.optimizer.lr 0.001"},
      {"train: {scheduler: {min_lr: 1e-5}}",
       {"train.optimizer.lr=1e-6"},
       "override train.optimizer.lr=1e-6: 1.0e-06 must not be below train.scheduler.min_lr 1.0e-05"},
      {"train:\n  scheduler: {patience: 2, name: cosine}\n",
       {},
       "config.yaml:2: train.scheduler.patience: is no key of scheduler cosine; valid keys: name, min_lr, "
       "warmup_steps"},
      {"train: {scheduler: {name: one_cycle, min_lr: 0}}",
       {},
       "config.yaml:1: train.scheduler.min_lr: is no key of scheduler one_cycle; valid keys: name, "
       "warmup_fraction, "
       "start_factor, end_factor"},
      {"train: {objective: l1}",
       {},
       "config.yaml:1: train.objective: must be a map of l1, cosine, relational, contrastive, texts, "
       "regions, patches, not l1"},
      {"train:\n  objective: {}",
       {},
       "config.yaml:2: train.objective: has no term; give one of l1, cosine, relational, contrastive, texts, "
       "regions, patches "
       "a "
       "weight > 0"},
      {"train: {objective: {l2: 1}}",
       {},
       "config.yaml:1: train.objective.l2: unknown key; did you mean l1? valid keys of train.objective: l1, "
       "cosine, relational, contrastive, texts, regions, patches"},
      {"train: {objective: {l1: -1}}",
       {},
       "config.yaml:1: train.objective.l1: must be a number >= 0, not -1"},
      {"train: {objective: {l1: .inf}}",
       {},
       "config.yaml:1: train.objective.l1: must be a number >= 0, not .inf"},
      {"train: {batch_size: 4}",
       {"train.accumulate=4", "train.objective.relational=1"},
       "override train.objective.relational=1: compares images, and train.batch_size 4 in 4 pieces "
       "(train.accumulate) leaves 1 in each"},
      {"train: {batch_size: 4, objective: {contrastive: 1}}",
       {"train.slices=4"},
       "override train.slices=4: 4 pieces of train.batch_size 4 have 1 image each, and "
       "train.objective.contrastive compares images"},
      {"train: {texts: a.h5}", {}, "config.yaml:1: train.texts: needs train.objective.texts"},
      {"train: {optimizer: {name: lion, betas: [0.9, 0.99]}}",
       {},
       "config.yaml:1: train.optimizer.betas: is no key of optimizer lion; valid keys: name, lr, "
       "weight_decay, "
       "decay_matrices_only"},
      {"train: {scheduler: {name: constant, factor: 0.5}}",
       {},
       "config.yaml:1: train.scheduler.factor: is no key of scheduler constant; valid keys: name, "
       "warmup_steps"},
      {"train: {scheduler: {warmup_steps: 5}}",
       {},
       "config.yaml:1: train.scheduler.warmup_steps: is no key of scheduler reduce_on_plateau; valid keys: " +
           plateau_keys},
      {"{}",
       {"train.scheduler.patience=3", "train.scheduler.name=cosine"},
       "override train.scheduler.patience=3: is no key of scheduler cosine; valid keys: name, min_lr, "
       "warmup_steps"},

      // overrides
      {"{}", {"train.epochs=0"}, "override train.epochs=0: must be an integer from 1 to 1073741824, not 0"},
      {"{}",
       {"train.epochs"},
       "override train.epochs: must have the form section.key=value, e.g. train.epochs=20"},
      {"{}", {"=3"}, "override =3: must have the form section.key=value, e.g. train.epochs=20"},
      {"{}", {"a\nb"}, "override a\\x0ab: must have the form section.key=value, e.g. train.epochs=20"},
      {"{}", {"train.epochs="}, "override train.epochs=: must be an integer from 1 to 1073741824, not null"},
      {"{}",
       {"train.optimiser.lr=1"},
       "override train.optimiser.lr=1: train.optimiser: unknown key; did you mean optimizer? valid keys of "
       "train: batch_size, accumulate, slices, epochs, max_steps, objective, loss_norm, temperature, texts, "
       "freeze, seed, device, precision, products, recompute, clip_norm, ema, optimizer, scheduler, "
       "log_every, "
       "checkpoint_every, "
       "keep, output"},
      {"{}",
       {"epochs=3"},
       "override epochs=3: unknown key; did you mean train.epochs? valid keys: model, data, teacher, train"},
      {"{}", {"train.epochs.x=3"}, "override train.epochs.x=3: train.epochs: has no keys of its own"},
      {"{}",
       {"train.optimizer={lr: x}"},
       "override train.optimizer={lr: x}: train.optimizer.lr: must be a number > 0, not x"},
      {"{}", {"data.train=[a"}, "override data.train=[a: not valid YAML: end of sequence flow not found"},
      {"{}",
       {"train.optimizer={lr: 1, lr: 2}"},
       "override train.optimizer={lr: 1, lr: 2}: train.optimizer.lr: is given twice; keep one"},
  };
  return all;
}

TEST(ConfigErrors, EachIsOneLineThatSaysWhatWhereAndWhatToDo) {
  for (const Case& c : cases()) {
    EXPECT_EQ(test::config_error(c.yaml, c.overrides), c.error);
    EXPECT_EQ(c.error.find('\n'), std::string::npos);
  }
}

TEST(ConfigErrors, AreUsageErrors) {
  for (const Case& c : cases()) {
    EXPECT_THROW(test::config_of(c.yaml, c.overrides), UsageError) << c.error;
  }
}

TEST(ConfigErrors, OfFilesThatAreNotThereOrNoFiles) {
  EXPECT_EQ(test::message_of([] { load_config("missing.yaml"); }),
            "missing.yaml: no such configuration file");
  EXPECT_EQ(test::message_of([] { load_config("configs"); }),
            "configs: is a directory, name the configuration file in it");
}

TEST(ConfigErrors, ADeeplyNestedFileDoesNotOverflowTheStack) {
  for (const char* open : {"[", "{a: ", "- "}) {
    std::string yaml;
    for (int i = 0; i < 100000; ++i) yaml += open;
    EXPECT_NE(test::config_error(yaml), "no error");
  }
}

TEST(ConfigErrors, TheDocumentationPrintsThemAsTheyAre) {
  std::ifstream file("docs/config.md");
  std::string line;
  while (std::getline(file, line) && line != "## Errors") {
  }
  while (std::getline(file, line) && line != "```") {
  }
  int printed = 0;
  while (std::getline(file, line) && line != "```") {
    ++printed;
    const bool is_file = line.starts_with("missing.yaml: ") || line.starts_with("configs: ");
    EXPECT_TRUE(is_file ||
                std::any_of(cases().begin(), cases().end(), [&](const Case& c) { return c.error == line; }))
        << line;
  }
  EXPECT_GE(printed, 12);
}

}  // namespace
}  // namespace vitral::train
