#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "base/memory.h"
#include "base/signals.h"
#include "models/precision.h"
#include "processes/launch.h"
#include "processes/share.h"
#include "tensor/ops/reduce.h"
#include "train/broadcast.h"
#include "train/objective.h"
#include "train/pipeline.h"
#include "train/run/reporter.h"
#include "train/run/run_folder.h"
#include "train/run/torch_checkpoint.h"
#include "train/schedule.h"
#include "train/setup.h"
#include "train/validate.h"

namespace vitral::train {
namespace {

using nlohmann::json;

constexpr int skips_allowed = 2;  // in a row; the third ends the run
constexpr double nan = std::numeric_limits<double>::quiet_NaN();

class Run {
 public:
  Run(const Config& config, const std::string& resume, std::FILE* out, Profile* profile, Group& group);
  RunSummary run();

 private:
  // --- where the run stands; at_ is behind by the steps in flight ---
  bool validation_pending() const { return at_.batch == batches_; }
  // A run that max_steps ends in mid-epoch is validated, too; nothing depends on it.
  bool final_validation_due() const {
    return at_.step >= total_steps_ && at_.batch > 0 && !validation_pending();
  }
  // Then its end is the best there is; a resume with more steps forgets that.
  bool ends_without_best(bool stopped) const {
    return !stopped && final_validation_due() && at_.best_step < 0 &&
           (!val_loader_ || std::isfinite(summary_.validation.front().value));
  }
  bool saved() const { return !folder_ || folder_->saved(at_); }  // or another process does that
  // Of several processes all stop at the same step: where they last told each other of a signal.
  bool stopping(const StopSignals& stop) const { return group_.is_one() ? stop.requested() : signal_ != 0; }
  bool trained() const { return at_.step >= total_steps_ && !validation_pending(); }
  bool at_boundary() const;
  bool checkpoint_due() const;
  EpochOrder order() const;

  // --- its beginning ---
  void require_same_run();
  void begin();
  void open_folder();
  void load(const Checkpoint& checkpoint, const std::string& where, std::vector<std::string>& warnings);
  void make_plan();

  // --- its parts; false when a signal came in between, then nothing is written ---
  void train_to_boundary(const StopSignals& stop);
  bool end_epoch(const StopSignals& stop);
  bool validate_now(const StopSignals& stop);

  void train_batch(int signal);
  void settle();
  void note_skip(const StepPipeline::Done& step);
  Checkpoint checkpoint() const;
  void save(bool best);
  void require_finite(const data::NamedTensors& tensors, const char* what) const;

  Group& group_;
  const Config config_;
  Profile* profile_;  // null where none is taken
  std::string device_note_;
  Device device_;
  std::vector<std::string> warnings_;  // told when the run folder is open
  std::shared_ptr<ProductFile> products_;
  ProductsInUse products_in_use_;
  std::unique_ptr<models::Objective> objective_;
  // Both before a loader's threads start: opening a file forks, and the allocator of a sanitizer, unlike the
  // C library's, does not go with a fork while a thread is in it.
  data::Dataset data_;
  std::optional<data::Dataset> val_data_;
  data::Loader loader_;
  std::optional<data::Loader> val_loader_;
  std::optional<Teacher> teacher_;
  std::optional<TrainStep> step_;
  std::optional<StepPipeline> pipeline_;
  std::optional<RunFolder> folder_;  // of the first process
  std::optional<Reporter> reporter_;
  std::unique_ptr<Schedule> schedule_;

  Position at_;
  std::int64_t batches_ = 0, total_steps_ = 0;
  int signal_ = 0;  // that came to any of several processes
  RunSummary summary_;
};

Run::Run(const Config& config, const std::string& resume, std::FILE* out, Profile* profile, Group& group)
    : group_(group),
      config_(config),
      profile_(profile),
      device_(choose_device(config.train, device_note_, group)),
      products_(open_products(config.train, device_, group, warnings_)),
      products_in_use_(products_),
      objective_(make_objective(config)),
      data_(open_training_data(config.data.train, config, *objective_)),
      val_data_(config.data.val.empty()
                    ? std::nullopt
                    : std::optional(open_training_data(config.data.val, config, *objective_))),
      loader_(data_, loader_options(config, *objective_, device_, true, group)),
      batches_(loader_.batches_per_epoch()) {
  if (val_data_) val_loader_.emplace(*val_data_, loader_options(config, *objective_, device_, false, group));
  if (!group_.is_one()) require_same_run();
  if (!config.teacher.weights.empty())
    teacher_.emplace(config.teacher, *objective_, device_, models::use_precision(config.train.precision));
  step_.emplace(*objective_, config_.train, device_, group_);
  pipeline_.emplace(loader_, teacher_ ? &*teacher_ : nullptr, *step_, device_);
  if (group_.is_first()) folder_.emplace(config.train.output, config.train.keep, resume, warnings_);
  for (const data::Loader* loader : {&loader_, val_loader_ ? &*val_loader_ : nullptr})
    if (const std::string note = loader ? loader->dataset().exif_note() : ""; !note.empty())
      warnings_.push_back(note);
  if (teacher_ && !teacher_->guessed().empty())
    warnings_.push_back(fmt::format(
        "teacher.weights: {}: neither it nor a configuration beside it says all; taken {}; teacher.heads and "
        "teacher.activation say otherwise",
        config.teacher.weights, teacher_->guessed()));
  reporter_.emplace(config_.train, folder_ ? &*folder_ : nullptr, out, group_);
  if (!group_.is_one())
    if (const std::string problem = binding_problem(cpu_threads()); !problem.empty())
      reporter_->message("warning: " + problem);
  begin();
  for (const auto& name : objective_->measures()) summary_.validation.push_back({name, nan});
}

RunSummary Run::run() {
  const StopSignals stop;
  const double start = now(), waited = loader_.wait_seconds();
  const std::int64_t first = at_.step;
  reporter_->start(waited);
  bool stopped = false;
  while (!stopped && !trained()) {
    if (validation_pending())
      stopped = !end_epoch(stop);
    else
      train_to_boundary(stop);
    if (!stopped && checkpoint_due()) save(false);
    stopped = stopped || stopping(stop);
  }
  if (!stopped && final_validation_due()) stopped = !validate_now(stop);
  if (!saved()) save(false);
  if (folder_ && ends_without_best(stopped)) folder_->name_best(at_.step);
  reporter_->finish();
  const bool validated = !validation_pending() && !(stopped && val_loader_ && final_validation_due());
  summary_.end = at_.step >= total_steps_ && validated ? RunEnd::finished : RunEnd::stopped;
  summary_.signal = group_.is_one() ? stop.signal() : signal_;
  summary_.step = at_.step;
  summary_.steps_now = at_.step - first;
  summary_.seconds = now() - start;
  summary_.data_wait = summary_.seconds > 0 ? (loader_.wait_seconds() - waited) / summary_.seconds : 0;
  summary_.skipped_samples = at_.skipped_samples;
  return summary_;
}

// Where the run does something else next and needs the results of all its steps.
bool Run::at_boundary() const {
  const std::int64_t ahead = pipeline_->in_flight(), step = at_.step + ahead;
  const std::int64_t every = config_.train.checkpoint_every;
  return step >= total_steps_ || at_.batch + ahead == batches_ || (every > 0 && step % every == 0);
}

bool Run::checkpoint_due() const {
  const std::int64_t every = config_.train.checkpoint_every;
  if (saved()) return false;
  if (validation_pending()) return false;  // comes after the validation
  return every > 0 ? at_.step % every == 0 : at_.batch == 0;
}

EpochOrder Run::order() const {
  return {.images = loader_.dataset().size(),
          .batch_size = config_.train.batch_size,
          .seed = config_.train.seed,
          .shuffle = config_.data.shuffle,
          .threads = cpu_threads(),
          .slices = slices_of(config_.train, group_),
          .device = device_.is_cpu() ? "cpu" : "cuda"};
}

// Before anything depends on it.
void Run::require_same_run() {
  const auto images = [](const data::Loader& loader) {
    return fmt::format("{} images, {:016x}", loader.dataset().size(), data::dataset_digest(loader.dataset()));
  };
  require_alike(group_, {{"program", program_identity()},
                         {"configuration", to_yaml(config_)},
                         {"compute threads (OMP_NUM_THREADS)", fmt::format("{}", cpu_threads())},
                         {"training data", images(loader_)},
                         {"validation data", val_loader_ ? images(*val_loader_) : ""}});
}

// The first process knows how the run goes on, from its folder; the others hear it.
void Run::begin() {
  if (folder_) open_folder();
  if (!group_.is_one()) {
    Checkpoint now = folder_ ? checkpoint() : Checkpoint{};
    broadcast(group_, now);
    std::vector<std::string> told;  // by the first process
    if (!folder_) load(now, "process 0", told);
    group_.broadcast(&at_, sizeof at_);
  }
}

void Run::open_folder() {
  const auto& source = folder_->source();
  if (source) {
    load(is_torch_checkpoint(*source)
             ? load_torch_checkpoint(*source, config_, *objective_, order(), warnings_)
             : load_checkpoint(*source, warnings_),
         *source, warnings_);
  } else {
    const std::string& weights = config_.model.init_from;
    if (!weights.empty()) step_->start_from(objective_->initial_weights(weights, warnings_), weights);
    make_plan();
  }
  folder_->open(to_yaml(config_), at_, validation_pending() || final_validation_due(), warnings_);
  objective_->write_files(config_.train.output);
  if (!device_note_.empty()) reporter_->message(device_note_);
  for (const auto& w : warnings_) reporter_->message("warning: " + w);
  if (source) reporter_->message(fmt::format("resumed from {} (step {})", *source, at_.step));
}

void Run::load(const Checkpoint& checkpoint, const std::string& where, std::vector<std::string>& warnings) {
  const auto trained = objective_->metadata_in(checkpoint.model_metadata, where);
  for (const auto& [key, value] : objective_->metadata_in(objective_->metadata(), where)) {
    const auto then = trained.find(key);
    VITRAL_CHECK(then == trained.end() || then->second == value,
                 "{}: was trained with {}={}, this configuration has {}; set it alike, or start a new run "
                 "with model.init_from",
                 where, key, then->second, value);
  }
  step_->load(checkpoint.model, checkpoint.optimizer, where);
  std::string warning;
  at_ = position_from(checkpoint.state.contains("trainer") ? checkpoint.state["trainer"] : json(), order(),
                      where, warning);
  at_.step = checkpoint.step;
  if (warning.empty() && !device_.is_cpu())
    warning = changed_choices(products_.get(), checkpoint.state.value("products", ""), where);
  if (!warning.empty()) warnings.push_back(warning);
  make_plan();
  double planned = nan;
  try {
    schedule_->load_state(checkpoint.state.at("schedule"));
    planned = checkpoint.state.value("next_lr", nan);
  } catch (const json::exception&) {
    throw_error("{}: state.json is not of a training run", where);
  }
  // Another plan is allowed, but seldom meant: a cosine that gets more epochs jumps up again.
  const double next = schedule_->lr(at_.step);
  if (at_.step < total_steps_ && std::abs(next - planned) > 1e-6 * planned)
    warnings.push_back(fmt::format(
        "{}: the next learning rate was to be {:.3g}, now it is {:.3g}: {} with train.optimizer.lr={:.3g} "
        "up to step {}; choose a lower one where that is too much",
        where, planned, next, config_.train.scheduler.name, config_.train.optimizer.lr, total_steps_));
}

// How many steps there will be, counted from where the run stands: the epochs so far may have had another
// length.
void Run::make_plan() {
  total_steps_ = at_.step - at_.batch + (config_.train.epochs - at_.epoch) * batches_;
  if (config_.train.max_steps) total_steps_ = std::min(total_steps_, *config_.train.max_steps);
  schedule_ = make_schedule(config_.train.scheduler, config_.train.optimizer.lr, total_steps_);
}

void Run::train_to_boundary(const StopSignals& stop) {
  do {
    train_batch(stop.signal());
  } while (!at_boundary() && !stopping(stop));
  while (pipeline_->in_flight() > 0) settle();
}

void Run::train_batch(int signal) {
  std::optional<Profile::Use> use;
  if (profile_) use.emplace(*profile_);
  const std::int64_t ahead = pipeline_->in_flight(), step = at_.step + ahead;
  data::Batch batch = pipeline_->next(at_.epoch, at_.batch + ahead);
  for (const auto& s : batch.skipped) reporter_->message(fmt::format("skipped {}: {}", s.name, s.reason));
  pipeline_->submit(std::move(batch), schedule_->lr(step), step, signal);
  while (pipeline_->full()) settle();
}

// Waits for the oldest step.
void Run::settle() {
  const StepPipeline::Done step = pipeline_->take();
  signal_ = step.result.signal;
  at_.skipped_samples += step.result.skipped_samples;
  if (step.result.skipped) {
    note_skip(step);
  } else if (step.result.images > 0) {
    at_.skips = 0;
    at_.epoch_loss += step.result.loss;
    ++at_.epoch_steps;
  }
  if (group_.is_first() && !step.result.note.empty()) reporter_->message(step.result.note);
  ++at_.step;
  ++at_.batch;
  reporter_->step(at_, step, total_steps_, loader_.wait_seconds());
}

void Run::note_skip(const StepPipeline::Done& step) {
  ++at_.skips;
  const std::string cause = step.problem.empty() ? "" : ": " + step.problem;
  const char* what = std::isfinite(step.result.loss) ? "gradient" : "loss";
  if (group_.is_first() || !cause.empty())
    reporter_->message(fmt::format("step {}: {} is not finite, the step is skipped ({} in a row){}",
                                   at_.step + 1, what, at_.skips, cause));
  if (at_.skips <= skips_allowed) return;
  throw_error(
      "training diverged: {} is not finite in {} steps in a row up to step {}{}; the checkpoints in {} are "
      "untouched, lower train.optimizer.lr or check the data, then resume",
      what, at_.skips, at_.step + 1, cause, config_.train.output);
}

bool Run::validate_now(const StopSignals& stop) {
  if (!val_loader_) return true;
  const double start = now();
  Validation validation;
  try {
    const TrainStep::Averaged averaged(*step_);
    validation = validate(
        *objective_, *val_loader_, teacher_ ? &*teacher_ : nullptr, device_, step_->compute_dtype(),
        [&] { return stop.signal(); }, group_);
  } catch (const Error&) {
    if (!saved()) save(false);  // the file can be repaired; the epoch is not lost
    throw;
  }
  signal_ = validation.signal;
  if (signal_ != 0) return false;
  reporter_->validation(at_, validation.values, start);
  summary_.validated = true;
  summary_.validation = std::move(validation.values);
  return true;
}

// Validation, schedule and checkpoint.
bool Run::end_epoch(const StopSignals& stop) {
  if (at_.epoch_steps == 0 && at_.skips == 0)
    throw_error("{}: none of its images could be read in epoch {}; pack them again",
                config_.data.train.front(), at_.epoch + 1);
  double loss = at_.epoch_steps > 0 ? at_.epoch_loss / static_cast<double>(at_.epoch_steps) : nan;
  if (val_loader_) {
    if (!validate_now(stop)) return false;
    loss = summary_.validation.front().value;
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
  const std::int64_t every = config_.train.checkpoint_every;
  if (best || every == 0 || at_.step % every == 0) save(best);
  return true;
}

Checkpoint Run::checkpoint() const {
  auto metadata = objective_->metadata();
  metadata["format"] = "pt";  // what tools around PyTorch look for
  json state{{"trainer", to_json(at_, order())},
             {"schedule", schedule_->state()},
             {"next_lr", schedule_->lr(at_.step)}};
  if (products_) state["products"] = products_->fingerprint();
  return {.step = at_.step,
          .model = step_->weights(),
          .model_metadata = std::move(metadata),
          .optimizer = step_->state(),
          .state = std::move(state)};
}

void Run::save(bool best) {
  if (!folder_) return;
  const Checkpoint now = checkpoint();
  require_finite(now.model, "weights");
  require_finite(now.optimizer, "moments of the optimizer");
  folder_->save(now, at_, best);
}

// A step with a finite gradient can still overflow a weight or a squared gradient; such values must not
// replace good ones on disk.
void Run::require_finite(const data::NamedTensors& tensors, const char* what) const {
  Tensor total = Tensor::zeros({1}, DType::float64, device_);
  for (const auto& [name, tensor] : tensors)
    if (tensor.dtype() != DType::int64) kernel::add_sum_of_squares(total, tensor);
  if (!std::isfinite(total.item()))
    throw_error(
        "training diverged: {} are not finite at step {}; the checkpoints in {} are from before, lower "
        "train.optimizer.lr and resume",
        what, at_.step, config_.train.output);
}

}  // namespace

RunSummary train(const Config& config, const std::string& resume, std::FILE* out, Profile* profile,
                 Group& group) {
  try {
    return Run(config, resume, out, profile, group).run();
  } catch (const MemoryError& e) {
    if (config.train.recompute != "never") throw;
    throw_error<MemoryError>("{}; train.recompute=always needs less", e.what());
  }
}

}  // namespace vitral::train
