// Where a run stands between two steps, and how state.json keeps it.
#pragma once
#include <cstdint>
#include <limits>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace vitral::train {

struct Position {
  std::int64_t step = 0;   // optimiser steps done
  std::int64_t epoch = 0;  // the running one, from 0
  std::int64_t batch = 0;  // of the epoch, next to be trained; all of them: validation is pending
  double epoch_loss = 0;   // sum of the losses of this epoch's steps
  std::int64_t epoch_steps = 0;
  double best = std::numeric_limits<double>::infinity();  // lowest validation loss
  std::int64_t best_step = -1;                            // where that was
  std::int64_t skips = 0;                                 // skipped steps in a row
  std::int64_t skipped_samples = 0;
};

/// What decides which images batch number n of an epoch has, and with `threads` and `device` which bits come
/// out.
struct EpochOrder {
  std::int64_t images = 0, batch_size = 0, seed = 0;
  bool shuffle = true;
  int threads = 1;             // compute threads of the CPU
  std::int64_t slices = 1;     // of a batch, train/exchange.h
  std::string device = "cpu";  // or cuda, that computes
};

nlohmann::json to_json(const Position& position, const EpochOrder& order);

/// The position that a checkpoint holds. UsageError, naming `where`, when it stands in mid-epoch and the
/// order of the images is another one now; Error when the state is not one of to_json(). A change that moves
/// no more than the last bits is a line in `warning`.
Position position_from(const nlohmann::json& state, const EpochOrder& now, const std::string& where,
                       std::string& warning);

}  // namespace vitral::train
