// The configuration of a run: plain structs that the rest of the program reads, filled from a YAML file.
//
//   Config c = load_config("configs/student-21m.yaml", {"train.batch_size=16", "train.optimizer.lr=2e-3"});
//
// The members are the keys: train.optimizer.lr is c.train.optimizer.lr. docs/config.md explains every key;
// train/config_keys.cpp holds the one table from which files are read, checked, written and documented.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "data/images/augment_config.h"
#include "models/clip/config.h"
#include "models/student/config.h"

namespace vitral::train {

/// The architecture, and weights to start from. What a student and a CLIP both have (image_size, patch_size,
/// width) are members of the student.
struct ModelConfig : models::StudentConfig {
  ModelConfig();  // out of line: g++ 12 warns about uninitialised strings in copies of the inline one

  std::string kind = "student";  // student | clip
  models::ClipConfig clip;       // see clip_config()
  std::string init_from;         // weights to start from; "" (null in YAML): fresh ones

  bool operator==(const ModelConfig&) const = default;
};

/// That of kind clip.
models::ClipConfig clip_config(const ModelConfig& model);

/// Relative paths are relative to the current directory, not to the configuration file.
struct DataConfig {
  std::vector<std::string> train{"train.h5"};                 // HDF5 files, at least one
  std::vector<std::string> val{"val.h5"};                     // HDF5 files, may be empty
  data::AugmentConfig augment = data::AugmentConfig::clip();  // of training images
  bool shuffle = true;                                        // training images, anew each epoch
  int workers = 2;                                            // loader threads
  std::string exif = "apply";                                 // apply | ignore: of encoded images
  std::string images = {}, embeddings = {};  // names of the datasets in the files; "" (null): data/dataset.h

  bool operator==(const DataConfig&) const = default;
};

/// One flat struct for all optimisers; only the keys of the named one can be set and are written.
struct OptimizerConfig {
  std::string name = "adamw";               // adamw | sgd | lion | muon
  double lr = 1e-3;                         // the peak, where the schedule has one
  double weight_decay = 0.01;               // decoupled
  std::array<double, 2> betas{0.9, 0.999};  // adamw, and muon for what is no matrix of a block
  double eps = 1e-8;                        // likewise
  bool decay_matrices_only = false;         // no decay of parameters of one dimension

  bool operator==(const OptimizerConfig&) const = default;
};

/// One flat struct for all schedules; only the keys of the named one can be set and are written.
struct SchedulerConfig {
  std::string name = "reduce_on_plateau";  // reduce_on_plateau | cosine | one_cycle | constant
  int patience = 1;                        // reduce_on_plateau: epochs without progress that are tolerated
  double factor = 0.5;                     // reduce_on_plateau: lr *= factor
  double threshold = 1e-3;                 // reduce_on_plateau: relative improvement that counts as progress
  double min_lr = 1e-6;                    // reduce_on_plateau, cosine
  std::int64_t warmup_steps = 0;           // cosine, constant: optimiser steps of linear warm-up
  double warmup_fraction = 0.3;            // one_cycle: part of all steps spent rising to the peak
  double start_factor = 25;                // one_cycle: starts at lr / start_factor
  double end_factor = 1e4;                 // one_cycle: ends at lr / start_factor / end_factor

  bool operator==(const SchedulerConfig&) const = default;
};

struct TrainConfig {
  int batch_size = 64;                 // images of one optimiser step
  int accumulate = 1;                  // micro-batches of a step, each batch_size / accumulate images
  std::optional<std::int64_t> slices;  // of a batch, shared by the processes; null: as many as there are
  int epochs = 100;
  std::optional<std::int64_t> max_steps;  // stop after this many optimiser steps, if that is earlier
  std::map<std::string, double> objective{{"l1", 1}};  // terms of the loss and their weights, all above 0
  double loss_norm = 20;                               // factor of the term l1
  double temperature = 0.07;                           // of the terms contrastive and texts
  std::string texts;                                   // of the term texts; "" (null): the data's concepts
  std::vector<std::string> freeze;                     // image | text: towers of a CLIP that stay as they are
  std::int64_t seed = 0;                               // of weights, order and augmentation
  std::string device = "auto";                         // cpu | cuda | cuda:N | auto
  std::string precision = "fp32";                      // fp32 | tf32 | bf16
  std::string products;  // file with the algorithms that multiply on a GPU; "" (null): nothing is measured
  std::string recompute = "auto";   // auto | always | never (train/recompute.h)
  std::optional<double> clip_norm;  // largest norm of all gradients together
  std::optional<double> ema;        // decay of the averaged weights, in (0, 1)
  OptimizerConfig optimizer;
  SchedulerConfig scheduler;
  int log_every = 10;                 // steps
  std::int64_t checkpoint_every = 0;  // steps; 0 (epoch in YAML): at the end of each epoch
  int keep = 3;                       // newest checkpoints that stay; the best one stays, too
  std::string output = "runs/student";

  bool operator==(const TrainConfig&) const = default;
};

/// CLIP's image tower in the loop, which answers to what the student sees, instead of /embeddings of the
/// data.
struct TeacherConfig {
  std::string weights;  // "" (null in YAML): the embeddings that the data stores
  std::optional<int>
      regions;  // of train.objective.regions: cells a side of the grid over what the student sees
  std::optional<int> heads;  // attention heads; null: what its configuration says, else width / 64
  std::optional<std::string> activation;  // as --activation; null: what it says, else that of the family

  bool operator==(const TeacherConfig&) const = default;
};

struct Config {
  ModelConfig model;
  DataConfig data;
  TeacherConfig teacher;
  TrainConfig train;

  bool operator==(const Config&) const = default;
};

enum class CheckFiles {
  none,
  data,  // of a resume, which does not need model.init_from any more
  all
};

/// Reads a YAML file over the defaults, then applies `section.key=value` in order (the value is YAML, the
/// last one wins, and a map replaces the whole map), then checks how the keys fit together. Throws
/// UsageError, one line with file and line, or the override, the key, what is wrong and the valid choices:
///   config.yaml:3: model.patch_size: 30 must divide image_size 224
///   override train.epochs=0: must be an integer >= 1, not 0
/// `check`: also whether the files that it names exist, with the key and line that name them.
Config load_config(const std::string& path, const std::vector<std::string>& overrides = {},
                   CheckFiles check = CheckFiles::none);

/// The whole effective configuration as YAML; load_config reads it back to an equal Config.
std::string to_yaml(const Config& config);

/// The first key in which two configurations differ, "train.epochs: 4, not 8"; "" where they are equal.
std::string first_difference(const Config& is, const Config& should_be);

/// One row of the table of keys, as docs/config.md prints it.
struct KeyInfo {
  std::string name;           // train.optimizer.lr
  std::string value;          // "a number > 0"
  std::string default_value;  // as YAML: 0.001
};
std::vector<KeyInfo> config_keys();

}  // namespace vitral::train
