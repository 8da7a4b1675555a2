#include "train/run/reporter.h"

#include <algorithm>
#include <chrono>

namespace vitral::train {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Reporter::Reporter(const TrainConfig& config, RunFolder* folder, std::FILE* out, const Group& group)
    : config_(config),
      folder_(folder),
      out_(out),
      group_(group),
      progress_(config.log_every, Progress::Output::of(out)) {}

void Reporter::message(const std::string& line) {
  if (folder_)
    progress_.message(line);
  else
    std::fprintf(out_, "process %d: %s\n", group_.rank(), line.c_str());
}

void Reporter::start(double data_seconds) {
  start_ = now();
  data_start_ = data_seconds;
}

void Reporter::step(const Position& at, const StepPipeline::Done& step, std::int64_t total_steps,
                    double data_seconds) {
  if (!folder_) return;
  const double time = now(), seconds = std::max(time - start_, 1e-9);
  images_ += step.result.images;
  wait_ += step.result.wait;
  if (at.step % config_.log_every == 0 || at.step == total_steps) {
    rate_ = static_cast<double>(images_) / seconds;
    data_wait_ = std::clamp((data_seconds - data_start_) / seconds, 0.0, 1.0);
    folder_->record(TrainRecord{.step = at.step,
                                .epoch = at.epoch + 1,
                                .loss = step.result.loss,
                                .terms = step.result.terms,
                                .grad_norm = step.result.gradient_norm,
                                .lr = step.lr,
                                .images_per_second = rate_,
                                .data_wait = data_wait_,
                                .processes = group_.size(),
                                .wait = std::clamp(wait_ / seconds, 0.0, 1.0)});
    start_ = time;
    data_start_ = data_seconds;
    images_ = 0;
    wait_ = 0;
  }
  progress_.step({.epoch = at.epoch + 1,
                  .epochs = config_.epochs,
                  .step = at.step,
                  .total_steps = total_steps,
                  .loss = step.result.loss,
                  .lr = step.lr,
                  .images_per_second = rate_ > 0 ? rate_ : static_cast<double>(images_) / seconds,
                  .data_wait = data_wait_});
}

void Reporter::validation(const Position& at, const std::vector<models::NamedValue>& values, double start) {
  if (!folder_) return;
  const std::int64_t epoch = at.epoch + 1;
  folder_->record(ValRecord{.step = at.step, .epoch = epoch, .values = values});
  message(fmt::format("epoch {}/{} validation: {}", epoch, config_.epochs, models::describe(values)));
  start_ += now() - start;
}

}  // namespace vitral::train
