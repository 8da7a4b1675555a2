// A training run: data, model, optimiser, schedule, run folder, from a configuration.
//
// A run is a sequence of positions (epoch, batch); everything that happens at a position is a pure function
// of the configuration, the files and what a checkpoint holds, so a run that resumes continues bit for bit,
// also in mid-epoch. After the last batch of an epoch come its validation and the schedule's on_validation().
#pragma once
#include <cstdio>
#include <string>
#include <vector>

#include "models/objective.h"
#include "processes/group.h"
#include "tensor/profile.h"
#include "train/config.h"

namespace vitral::train {

enum class RunEnd { finished, stopped };  // stopped: by a signal, with a checkpoint written

struct RunSummary {
  RunEnd end = RunEnd::finished;
  int signal = 0;                              // that stopped it
  std::int64_t step = 0;                       // optimiser steps done, over all resumes
  std::int64_t steps_now = 0;                  // in this process
  double seconds = 0;                          // training and validation in this process
  double data_wait = 0;                        // part of it (0 to 1) that waited for training data
  bool validated = false;                      // in this process
  std::vector<models::NamedValue> validation;  // the last one: what the objective measures; else NaN
  std::int64_t skipped_samples = 0;            // images that did not decode
};

/// resume: "" for a new run, "auto" for the newest valid checkpoint of train.output (or a new run where there
/// is none), else a checkpoint, a run folder or a checkpoint of the original PyTorch code. Progress goes to
/// `out`. Throws UsageError for a request that does not fit (files, sizes, a folder that holds a run already)
/// and Error for work that fails: full disk, a file that cannot be read, three steps in a row without a
/// finite loss and gradient. The checkpoints written before stay. `profile` is taken of the training steps,
/// waiting for their data included; validations and checkpoints are not in it. With several processes all do
/// this, and `group`'s first one alone writes; the same bits come out for any number that shares
/// train.slices.
RunSummary train(const Config& config, const std::string& resume, std::FILE* out = stderr,
                 Profile* profile = nullptr, Group& group = alone());

}  // namespace vitral::train
