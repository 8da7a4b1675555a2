#include "train/run/run_folder.h"

#include <limits>

#include "base/files/atomic.h"

namespace vitral::train {

RunFolder::RunFolder(std::string path, int keep, std::string resume, std::vector<std::string>& warnings)
    : path_(std::move(path)), keep_(keep), resumes_(!resume.empty()) {
  const bool used = holds_run(path_);
  VITRAL_CHECK(resumes_ || !used,
               "{}: holds a run already; continue it with --resume auto, or choose another train.output",
               path_);
  // Locked before the checkpoint is chosen, so that no other process adds one in between.
  if (used) store_.emplace(path_, keep_);
  if (resume == "auto") {
    if (used) source_ = latest_checkpoint(path_, warnings);
  } else if (resumes_) {
    VITRAL_CHECK(!used || lies_in(resume, path_),
                 "{}: holds a run already, and {} is not of it; continue it with --resume auto, or choose "
                 "another train.output",
                 path_, resume);
    source_ = std::move(resume);
  }
}

void RunFolder::open(const std::string& config_yaml, Position& at, bool validation_pending,
                     std::vector<std::string>& warnings) {
  if (source_ && lies_in(*source_, path_)) saved_ = {at.step, at.batch};
  if (!store_) store_.emplace(path_, keep_);
  if (resumes_ && !store_->set_best(at.best_step)) {
    at.best = std::numeric_limits<double>::infinity();
    at.best_step = -1;
  }
  if (saved_) store_->remove_old(at.step);
  write_file_atomic(path_ + "/config.yaml", config_yaml);
  metrics_.emplace(path_ + "/metrics.jsonl",
                   resumes_ ? ResumePoint{at.step, validation_pending} : ResumePoint{}, &warnings);
  tensorboard_.emplace(path_, resumes_ ? at.step : -1);
}

void RunFolder::record(const TrainRecord& record) {
  metrics_->train(record);
  tensorboard_->train(record);
}

void RunFolder::record(const ValRecord& record) {
  metrics_->val(record);
  tensorboard_->val(record);
}

void RunFolder::save(const Checkpoint& checkpoint, const Position& at, bool best) {
  metrics_->sync();
  store_->save(checkpoint, best);
  saved_ = {at.step, at.batch};
}

}  // namespace vitral::train
