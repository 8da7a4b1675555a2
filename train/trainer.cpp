#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <limits>

#include <nlohmann/json.hpp>

#include "base/atomic.h"
#include "base/signals.h"
#include "data/loader.h"
#include "data/weights/checkpoint_files.h"
#include "data/weights/weights.h"
#include "tensor/ops/reduce.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/position.h"
#include "train/progress.h"
#include "train/schedule.h"
#include "train/setup.h"
#include "train/step.h"
#include "train/teacher.h"
#include "train/tensorboard.h"
#include "train/torch_checkpoint.h"
#include "train/validate.h"

namespace vitral::train {
namespace {

using nlohmann::json;

constexpr int skips_allowed = 2;  // in a row; the third ends the run

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Run {
 public:
  Run(const Config& config, const std::string& resume, std::FILE* out, Profile* profile)
      : config_(config),
        profile_(profile),
        device_(choose_device(config.train, device_note_)),
        train_data_(open_training_data(config.data.train, config)),
        student_(config.model, static_cast<std::uint64_t>(config.train.seed)),
        loader_(train_data_, loader_options(config, device_, true)),
        progress_(config.train.log_every, Progress::Output::of(out)) {
    if (!config.data.val.empty())
      val_loader_.emplace(open_training_data(config.data.val, config),
                          loader_options(config, device_, false));
    batches_ = loader_.batches_per_epoch();
    if (!config.teacher.weights.empty()) teacher_.emplace(config.teacher, config.model, device_);
    student_.to(device_);
    step_.emplace(student_, config_.train, device_);
    open_folder(resume);
  }

  RunSummary run() {
    const StopSignals signals;
    RunSummary summary;
    const double start = now(), wait_before = loader_.wait_seconds();
    const std::int64_t first = at_.step;
    last_time_ = start;
    last_wait_ = wait_before;
    bool stopped = false, worked = false;
    for (;; worked = true) {
      if (signals.requested() || stands_at_boundary()) settle(0);
      if (in_flight_.empty() && worked) {
        if (checkpoint_due()) save(false);
        stopped = signals.requested();
      }
      if (stopped || (in_flight_.empty() && at_.step >= total_steps_ && !validation_pending())) break;
      if (in_flight_.empty() && validation_pending()) {
        stopped = !end_epoch(signals, summary);
        if (stopped) break;
      } else {
        train_batch();
      }
    }
    if (!stopped && final_validation_due()) stopped = !validate_now(signals, summary);
    if (!saved()) save(false);
    progress_.finish();
    const bool validated = !validation_pending() && !(stopped && val_loader_ && final_validation_due());
    summary.end = at_.step >= total_steps_ && validated ? RunEnd::finished : RunEnd::stopped;
    summary.signal = signals.signal();
    summary.step = at_.step;
    summary.steps_now = at_.step - first;
    summary.seconds = now() - start;
    summary.data_wait = summary.seconds > 0 ? (loader_.wait_seconds() - wait_before) / summary.seconds : 0;
    summary.skipped_samples = at_.skipped_samples;
    return summary;
  }

 private:
  bool validation_pending() const { return at_.batch == batches_; }

  // at_ is behind by the steps in flight. Their results are needed where the run does something else next.
  bool stands_at_boundary() const {
    const auto ahead = static_cast<std::int64_t>(in_flight_.size()), step = at_.step + ahead;
    const std::int64_t every = config_.train.checkpoint_every;
    return step >= total_steps_ || at_.batch + ahead == batches_ || (every > 0 && step % every == 0);
  }

  // A run that max_steps ends in mid-epoch is validated, too; nothing depends on it.
  bool final_validation_due() const {
    return at_.step >= total_steps_ && at_.batch > 0 && !validation_pending();
  }

  EpochOrder order() const {
    return {.images = train_data_.size(),
            .batch_size = config_.train.batch_size,
            .seed = config_.train.seed,
            .shuffle = config_.data.shuffle,
            .threads = cpu_threads(),
            .device = device_.is_cpu() ? "cpu" : "cuda"};
  }

  void open_folder(const std::string& resume) {
    const std::string& folder = config_.train.output;
    std::vector<std::string> warnings;
    std::optional<std::string> from;
    // Locked before the checkpoint is chosen, so that no other process adds one in between.
    if (!resume.empty() && holds_run(folder)) store_.emplace(folder, config_.train.keep);
    if (resume == "auto") {
      if (holds_run(folder)) from = latest_checkpoint(folder, warnings);
    } else if (!resume.empty()) {
      from = resume;
      VITRAL_CHECK(!holds_run(folder) || lies_in(resume, folder),
                   "{}: holds a run already, and {} is not of it; continue it with --resume auto, or choose "
                   "another train.output",
                   folder, resume);
    } else {
      VITRAL_CHECK(!holds_run(folder),
                   "{}: holds a run already; continue it with --resume auto, or choose another train.output",
                   folder);
    }
    if (from) {
      load(is_torch_checkpoint(*from) ? load_torch_checkpoint(*from, config_, order(), warnings)
                                      : load_checkpoint(*from, warnings),
           *from, warnings);
      if (!lies_in(*from, folder)) saved_step_ = -1;  // this folder has nothing to go on with yet
    } else {
      if (!config_.model.init_from.empty())
        step_->start_from(data::read_weights(config_.model.init_from).tensors, config_.model.init_from);
      make_plan();
    }
    if (!store_) store_.emplace(folder, config_.train.keep);
    // Where the best checkpoint is not of this run's past, the next validation finds a new one.
    if (!resume.empty() && !store_->set_best(at_.best_step)) {
      at_.best = std::numeric_limits<double>::infinity();
      at_.best_step = -1;
    }
    write_file_atomic(folder + "/config.yaml", to_yaml(config_));
    const bool continues = !resume.empty();
    metrics_.emplace(
        folder + "/metrics.jsonl",
        continues ? ResumePoint{at_.step, validation_pending() || final_validation_due()} : ResumePoint{});
    tensorboard_.emplace(folder, continues ? at_.step : -1);
    if (!device_note_.empty()) progress_.message(device_note_);
    for (const auto& w : warnings) progress_.message("warning: " + w);
    if (from) progress_.message(fmt::format("resumed from {} (step {})", *from, at_.step));
  }

  // How many steps there will be, counted from where the run stands: the epochs so far may have had another
  // length.
  void make_plan() {
    total_steps_ = at_.step - at_.batch + (config_.train.epochs - at_.epoch) * batches_;
    if (config_.train.max_steps) total_steps_ = std::min(total_steps_, *config_.train.max_steps);
    schedule_ = make_schedule(config_.train.scheduler, config_.train.optimizer.lr, total_steps_);
  }

  void load(const Checkpoint& checkpoint, const std::string& where, std::vector<std::string>& warnings) {
    for (const auto& [key, value] : models::to_metadata(config_.model)) {
      const auto then = checkpoint.model_metadata.find(key);
      VITRAL_CHECK(then == checkpoint.model_metadata.end() || then->second == value,
                   "{}: was trained with {}={}, this configuration has {}; set it alike, or start a new run "
                   "with model.init_from",
                   where, key, then->second, value);
    }
    step_->load(checkpoint.model, checkpoint.optimizer, where);
    std::string warning;
    at_ = position_from(checkpoint.state.contains("trainer") ? checkpoint.state["trainer"] : json(), order(),
                        where, warning);
    at_.step = checkpoint.step;
    if (!warning.empty()) warnings.push_back(warning);
    make_plan();
    try {
      schedule_->load_state(checkpoint.state.at("schedule"));
    } catch (const json::exception&) {
      throw_error("{}: state.json is not of a training run", where);
    }
    saved_step_ = at_.step;
    saved_pending_ = validation_pending();
  }

  bool saved() const { return saved_step_ == at_.step && saved_pending_ == validation_pending(); }

  bool checkpoint_due() const {
    const std::int64_t every = config_.train.checkpoint_every;
    if (saved()) return false;
    if (validation_pending()) return false;  // comes after the validation
    return every > 0 ? at_.step % every == 0 : at_.batch == 0;
  }

  void save(bool best) {
    const data::NamedTensors weights = step_->weights(), optimizer = step_->state();
    require_finite(weights, "weights");
    require_finite(optimizer, "moments of the optimizer");
    auto metadata = models::to_metadata(config_.model);
    metadata["format"] = "pt";  // what tools around PyTorch look for
    metrics_->sync();
    store_->save({.step = at_.step,
                  .model = weights,
                  .model_metadata = std::move(metadata),
                  .optimizer = optimizer,
                  .state = {{"trainer", to_json(at_, order())}, {"schedule", schedule_->state()}}},
                 best);
    saved_step_ = at_.step;
    saved_pending_ = validation_pending();
  }

  // A step with a finite gradient can still overflow a weight or a squared gradient; such values must not
  // replace good ones on disk.
  void require_finite(const data::NamedTensors& tensors, const char* what) const {
    Tensor total = Tensor::zeros({1}, DType::float64, device_);
    for (const auto& [name, tensor] : tensors)
      if (tensor.dtype() != DType::int64) kernel::add_sum_of_squares(total, tensor);
    if (!std::isfinite(total.item()))
      throw_error(
          "training diverged: {} are not finite at step {}; the checkpoints in {} are from before, lower "
          "train.optimizer.lr and resume",
          what, at_.step, config_.train.output);
  }

  // A step whose result is not known yet, or one that was not computed at all.
  struct InFlight {
    double lr = 0;
    std::int64_t images = 0;
    std::optional<StepResult> known = {};
    std::string problem = {};
  };

  void train_batch() {
    std::optional<Profile::Use> use;
    if (profile_) use.emplace(*profile_);
    const auto ahead = static_cast<std::int64_t>(in_flight_.size());
    if (!loading_) loader_.begin_epoch(at_.epoch, at_.batch + ahead);
    std::optional<data::Batch> batch = loader_.next();
    if (!batch)
      throw_error("the loader ended epoch {} at batch {} of {}", at_.epoch + 1, at_.batch + ahead, batches_);
    loading_ = at_.batch + ahead + 1 < batches_;
    for (const auto& s : batch->skipped) {
      ++at_.skipped_samples;
      progress_.message(fmt::format("skipped {}: {}", s.name, s.reason));
    }
    if (teacher_ && batch->size() > 0) batch->targets = teacher_->embed(batch->images);
    InFlight step{.lr = schedule_->lr(at_.step + ahead), .images = batch->size()};
    constexpr double nothing = std::numeric_limits<double>::quiet_NaN();
    if (batch->size() == 0) {
      step.known = StepResult{.loss = nothing};
    } else if (step.problem = data::target_problem(*batch, train_data_); !step.problem.empty()) {
      // An embedding without a direction, or one that float32 cannot square, would teach a wrong one.
      step.known = StepResult{.loss = nothing, .skipped = true};
    } else {
      step_->submit(
          {.images = batch->images, .targets = batch->targets, .crops = batch->crops, .lr = step.lr});
    }
    in_flight_.push_back(std::move(step));
    settle(device_.is_cpu() ? 0 : TrainStep::most_pending - 1);
  }

  // Waits for the oldest steps until `most` are in flight.
  void settle(std::size_t most) {
    while (in_flight_.size() > most) {
      const InFlight step = std::move(in_flight_.front());
      in_flight_.pop_front();
      const StepResult result = step.known ? *step.known : step_->take();
      images_since_ += step.images;
      if (result.skipped) {
        note_skip(result, step.problem);
      } else if (step.images > 0) {
        at_.skips = 0;
        at_.epoch_loss += result.loss;
        ++at_.epoch_steps;
      }
      ++at_.step;
      ++at_.batch;
      report(result.loss, step.lr);
    }
  }

  void note_skip(const StepResult& result, const std::string& problem) {
    ++at_.skips;
    const std::string cause = problem.empty() ? "" : ": " + problem;
    const char* what = std::isfinite(result.loss) ? "gradient" : "loss";
    progress_.message(fmt::format("step {}: {} is not finite, the step is skipped ({} in a row){}",
                                  at_.step + 1, what, at_.skips, cause));
    if (at_.skips <= skips_allowed) return;
    throw_error(
        "training diverged: {} is not finite in {} steps in a row up to step {}{}; the checkpoints in {} are "
        "untouched, "
        "lower train.optimizer.lr or check the data, then resume",
        what, at_.skips, at_.step + 1, cause, config_.train.output);
  }

  void report(double loss, double lr) {
    const double time = now(), wait = loader_.wait_seconds();
    if (at_.step % config_.train.log_every == 0 || at_.step == total_steps_) {
      const double seconds = std::max(time - last_time_, 1e-9);
      rate_ = static_cast<double>(images_since_) / seconds;
      waited_ = std::clamp((wait - last_wait_) / seconds, 0.0, 1.0);
      const TrainRecord record{.step = at_.step,
                               .epoch = at_.epoch + 1,
                               .loss = loss,
                               .lr = lr,
                               .images_per_second = rate_,
                               .data_wait = waited_};
      metrics_->train(record);
      tensorboard_->train(record);
      last_time_ = time;
      last_wait_ = wait;
      images_since_ = 0;
    }
    progress_.step(
        {.epoch = at_.epoch + 1,
         .epochs = config_.train.epochs,
         .step = at_.step,
         .total_steps = total_steps_,
         .loss = loss,
         .lr = lr,
         .images_per_second =
             rate_ > 0 ? rate_ : static_cast<double>(images_since_) / std::max(time - last_time_, 1e-9),
         .data_wait = waited_});
  }

  // False when a signal came in between; nothing is written then.
  bool validate_now(const StopSignals& signals, RunSummary& summary) {
    if (!val_loader_) return true;
    const double before = now();
    std::optional<Validation> v;
    try {
      const TrainStep::Averaged averaged(*step_);
      v = validate(student_, *val_loader_, teacher_ ? &*teacher_ : nullptr, config_.train.loss_norm, device_,
                   step_->compute_dtype(), [&] { return signals.requested(); });
    } catch (const Error&) {
      if (!saved()) save(false);  // the file can be repaired; the epoch is not lost
      throw;
    }
    if (!v) return false;
    const std::int64_t epoch = at_.epoch + 1;
    const ValRecord record{.step = at_.step, .epoch = epoch, .loss = v->loss, .cosine = v->cosine};
    metrics_->val(record);
    tensorboard_->val(record);
    progress_.message(fmt::format("epoch {}/{} validation: loss {:.4f}, cosine {:.4f}", epoch,
                                  config_.train.epochs, v->loss, v->cosine));
    summary.val_loss = v->loss;
    summary.val_cosine = v->cosine;
    last_time_ += now() - before;  // images_per_second is about training
    return true;
  }

  // Validation, schedule and checkpoint at the end of an epoch; false when a signal came in between, then
  // nothing has changed.
  bool end_epoch(const StopSignals& signals, RunSummary& summary) {
    if (at_.epoch_steps == 0 && at_.skips == 0)
      throw_error("{}: none of its images could be read in epoch {}; pack them again",
                  config_.data.train.front(), at_.epoch + 1);
    double loss = at_.epoch_steps > 0 ? at_.epoch_loss / static_cast<double>(at_.epoch_steps)
                                      : std::numeric_limits<double>::quiet_NaN();
    if (val_loader_) {
      if (!validate_now(signals, summary)) return false;
      loss = *summary.val_loss;
    }
    schedule_->on_validation(loss);
    const bool best = loss < at_.best;
    if (best) {
      at_.best = loss;
      at_.best_step = at_.step;
    }
    ++at_.epoch;
    at_.batch = 0;
    at_.epoch_loss = 0;
    at_.epoch_steps = 0;
    if (best || config_.train.checkpoint_every == 0 || at_.step % config_.train.checkpoint_every == 0)
      save(best);
    return true;
  }

  const Config config_;
  Profile* profile_;  // null where none is taken
  std::string device_note_;
  Device device_;
  data::Dataset train_data_;
  models::Student student_;
  data::Loader loader_;
  std::optional<data::Loader> val_loader_;
  std::optional<Teacher> teacher_;
  std::unique_ptr<Schedule> schedule_;
  std::optional<TrainStep> step_;
  std::optional<CheckpointStore> store_;
  std::optional<MetricsWriter> metrics_;
  std::optional<TensorBoardWriter> tensorboard_;
  Progress progress_;

  Position at_;
  std::int64_t batches_ = 0, total_steps_ = 0;
  std::deque<InFlight> in_flight_;
  bool loading_ = false;  // the loader is in the running epoch
  std::int64_t saved_step_ = -1;
  bool saved_pending_ = false;
  double last_time_ = 0, last_wait_ = 0, rate_ = 0, waited_ = 0;
  std::int64_t images_since_ = 0;
};

}  // namespace

RunSummary train(const Config& config, const std::string& resume, std::FILE* out, Profile* profile) {
  return Run(config, resume, out, profile).run();
}

}  // namespace vitral::train
