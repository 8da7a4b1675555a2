#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>

#include <nlohmann/json.hpp>

#include "data/atomic.h"
#include "data/checkpoint_files.h"
#include "data/loader.h"
#include "data/weights.h"
#include "tensor/reduce.h"
#include "train/checkpoint.h"
#include "train/metrics.h"
#include "train/position.h"
#include "train/progress.h"
#include "train/schedule.h"
#include "train/signals.h"
#include "train/step.h"
#include "train/tensorboard.h"
#include "train/validate.h"

namespace vitral::train {
namespace {

using nlohmann::json;

constexpr int skips_allowed = 2;  // in a row; the third ends the run

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Device checked_device(const TrainConfig& config) {
  const Device device = parse_device(config.device);
  VITRAL_CHECK(!device.is_cpu() || config.precision == "fp32",
               "train.precision: {} needs a GPU, on the CPU choose fp32", config.precision);
  return device;
}

data::Dataset open_dataset(const std::vector<std::string>& paths, const ModelConfig& model) {
  data::Dataset dataset = data::Dataset::open(paths);
  dataset.require_embeddings();
  VITRAL_CHECK(dataset.width() == model.width,
               "{}: /embeddings are {} wide, model.width is {}; embed with the teacher that fits, or set "
               "model.width={}",
               paths.front(), dataset.width(), model.width, dataset.width());
  return dataset;
}

data::LoaderOptions loader_options(const Config& config, bool training) {
  data::LoaderOptions options;
  options.batch_size = config.train.batch_size;
  options.image_size = config.model.image_size;
  options.augment = training ? config.data.augment : data::AugmentConfig{};
  options.training = training;
  options.shuffle = training && config.data.shuffle;
  options.seed = static_cast<std::uint64_t>(config.train.seed);
  options.workers = config.data.workers;
  return options;
}

class Run {
 public:
  Run(const Config& config, const std::string& resume, std::FILE* out)
      : config_(config),
        device_(checked_device(config.train)),
        train_data_(open_dataset(config.data.train, config.model)),
        student_(config.model, static_cast<std::uint64_t>(config.train.seed)),
        loader_(train_data_, loader_options(config, true)),
        progress_(config.train.log_every, Progress::Output::of(out)) {
    if (!config.data.val.empty())
      val_loader_.emplace(open_dataset(config.data.val, config.model), loader_options(config, false));
    batches_ = loader_.batches_per_epoch();
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
    bool stopped = false;
    while (at_.step < total_steps_ || validation_pending()) {
      if (validation_pending()) {
        if (!end_epoch(signals, summary)) {
          stopped = true;
          break;
        }
      } else {
        if (!loading_) loader_.begin_epoch(at_.epoch, at_.batch);
        loading_ = true;
        train_batch();
      }
      if (checkpoint_due()) save(false);
      if (signals.requested()) {
        stopped = true;
        break;
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

  // A run that max_steps ends in mid-epoch is validated, too; nothing depends on it.
  bool final_validation_due() const {
    return at_.step >= total_steps_ && at_.batch > 0 && !validation_pending();
  }

  EpochOrder order() const {
    return {.images = train_data_.size(),
            .batch_size = config_.train.batch_size,
            .seed = config_.train.seed,
            .shuffle = config_.data.shuffle,
            .threads = cpu_threads()};
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
      load(load_checkpoint(*from, warnings), *from, warnings);
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
    data::write_file_atomic(folder + "/config.yaml", to_yaml(config_));
    const bool continues = !resume.empty();
    metrics_.emplace(
        folder + "/metrics.jsonl",
        continues ? ResumePoint{at_.step, validation_pending() || final_validation_due()} : ResumePoint{});
    tensorboard_.emplace(folder, continues ? at_.step : -1);
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
    for (const auto& [key, value] : nn::to_metadata(config_.model)) {
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
    auto metadata = nn::to_metadata(config_.model);
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

  void train_batch() {
    const std::optional<data::Batch> batch = loader_.next();
    if (!batch)
      throw_error("the loader ended epoch {} at batch {} of {}", at_.epoch + 1, at_.batch, batches_);
    for (const auto& s : batch->skipped) {
      ++at_.skipped_samples;
      progress_.message(fmt::format("skipped {}: {}", s.name, s.reason));
    }
    const double lr = schedule_->lr(at_.step);
    StepResult result;
    if (batch->size() == 0) {
      result.loss = std::numeric_limits<double>::quiet_NaN();  // of nothing
    } else {
      // An embedding without a direction, or one that float32 cannot square, would teach a wrong one.
      const std::string problem = data::target_problem(*batch, train_data_);
      if (problem.empty())
        result = step_->run(batch->images, batch->targets, lr);
      else
        result = {.loss = std::numeric_limits<double>::quiet_NaN(), .skipped = true};
      images_since_ += batch->size();
      if (result.skipped) {
        note_skip(result, problem);
      } else {
        at_.skips = 0;
        at_.epoch_loss += result.loss;
        ++at_.epoch_steps;
      }
    }
    ++at_.step;
    ++at_.batch;
    if (validation_pending()) loading_ = false;
    report(result.loss, lr);
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
      v = validate(student_, *val_loader_, config_.train.loss_norm, device_,
                   [&] { return signals.requested(); });
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
  Device device_;
  data::Dataset train_data_;
  nn::Student student_;
  data::Loader loader_;
  std::optional<data::Loader> val_loader_;
  std::unique_ptr<Schedule> schedule_;
  std::optional<TrainStep> step_;
  std::optional<CheckpointStore> store_;
  std::optional<MetricsWriter> metrics_;
  std::optional<TensorBoardWriter> tensorboard_;
  Progress progress_;

  Position at_;
  std::int64_t batches_ = 0, total_steps_ = 0;
  bool loading_ = false;  // the loader stands at at_.batch
  std::int64_t saved_step_ = -1;
  bool saved_pending_ = false;
  double last_time_ = 0, last_wait_ = 0, rate_ = 0, waited_ = 0;
  std::int64_t images_since_ = 0;
};

}  // namespace

RunSummary train(const Config& config, const std::string& resume, std::FILE* out) {
  return Run(config, resume, out).run();
}

}  // namespace vitral::train
