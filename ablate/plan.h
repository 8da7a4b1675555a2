// The runs of a grid: each variant with each seed, an ordinary run in DIR/runs/VARIANT/SEED.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "ablate/grid.h"
#include "train/config.h"

namespace vitral::ablate {

enum class State {
  fresh,  // nothing of it is there
  begun,  // it has trained, and goes on
  done    // trained and measured
};

struct Run {
  std::size_t variant = 0;  // of the grid
  std::int64_t seed = 0;
  std::string name;  // "full attention, seed 1"
  train::Config config;
  std::int64_t epoch_images = 0;  // of data.train
  /// Cosines below which a pixel shows no concept, as numbers in text; of mIoU with background.
  std::vector<std::string> backgrounds = {};

  const std::string& folder() const { return config.train.output; }
  std::string config_file() const { return folder() + "/config.yaml"; }
  std::string evaluation_file() const { return folder() + "/evaluation.json"; }  // of `vitral eval --json`
  std::string log_file() const { return folder() + "/log.txt"; }                 // what its programs said

  /// Optimiser steps of the whole training, and the images that the first `steps` of them see.
  std::int64_t total_steps() const;
  std::int64_t images_of(std::int64_t steps) const;
};

/// All runs, variant by variant. `overrides`: of the command line, over those of the grid and under those of
/// a variant. Everything is checked before anything runs. UsageError, naming the variant where it is to
/// blame: a configuration that load_config() refuses, data without what is to be measured; Error: data that
/// cannot be read.
std::vector<Run> plan_runs(const Grid& grid, const Overrides& overrides, const std::string& output,
                           const std::vector<std::string>& backgrounds = {});

/// What `vitral eval --json` said of a run, with `backgrounds`: the mIoU at each. Error: it is damaged.
nlohmann::json read_evaluation(const Run& run);

/// Done is what has been measured with all its backgrounds. UsageError: its folder holds a run of another
/// configuration.
State state_of(const Run& run);

}  // namespace vitral::ablate
