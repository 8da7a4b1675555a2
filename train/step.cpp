#include "train/step.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/memory.h"
#include "data/weights/weights.h"
#include "models/precision.h"
#include "tensor/profile.h"

namespace vitral::train {

namespace {

// Where a GPU has memory for whole batches in a graph, a smaller batch (the last one of an epoch) is cut into
// pieces of this size, so that it does not need as much beside it.
constexpr std::int64_t piece = 512;

void require_floats(const data::NamedTensors& weights, const std::string& where) {
  VITRAL_CHECK(
      !data::has_int8(weights),
      "{}: its weights are int8, which have no gradients; train from the float32 ones that they were "
      "made of",
      where);
}

}  // namespace

TrainStep::Slot::Slot(Device device)
    : upload(device),
      lr(Tensor::pinned({1}, DType::float64)),
      step(Tensor::pinned({1}, DType::int64)),
      result(Tensor::pinned({update_slots}, DType::float64)),
      done(device) {}

TrainStep::TrainStep(models::Objective& objective, const TrainConfig& config, Device device, Group& group)
    : objective_(objective),
      config_(config),
      device_(device),
      is_first_process_(group.is_first()),
      step_(Tensor::zeros({1}, DType::int64).to(device)),
      recompute_(config.recompute, device),
      slots_{Slot(device), Slot(device)} {
  nn::Module& model = objective.model();
  model.to(device);
  optimizer_ = make_optimizer(config.optimizer, model);
  if (const std::int64_t slices = slices_of(config, group); slices > 1) {
    exchange_.emplace(group, slices, model);
    for (Slot& slot : slots_) {
      slot.own = Tensor::pinned({exchange_->own_slices(), slice_numbers}, DType::float64);
      slot.all = Tensor::pinned({slices, slice_numbers}, DType::float64);
    }
  }
  // A graph wants the same addresses at every launch.
  if (Graph::supported(device)) {
    pool_.emplace(device);
    spare_.emplace(device, [this] { return give_back(); });
  }
  dtype_ = models::use_precision(config.precision);
  if (dtype_ != DType::float32) model.keep_copies(dtype_);
  pieces_.emplace(objective, dtype_, static_cast<std::uint64_t>(config.seed), step_);
  if (!config.ema) return;
  for (const auto& p : model.parameters()) average_.push_back(p.value->value().clone());
}

TrainStep::~TrainStep() {
  try {
    synchronize(device_);  // also where nothing is pending: a step that failed has queued its copies
  } catch (const Error&) {
    // take() has reported it: this only keeps memory until the device is done with it.
  }
}

void TrainStep::start_from(const data::NamedTensors& weights, const std::string& where) {
  require_floats(weights, where);
  objective_.model().load_state(weights, where);
  const auto parameters = objective_.model().parameters();
  for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(parameters[i].value->value());
}

// A graph goes on reading where it was recorded; what comes is new and runs by itself first.
void TrainStep::upload(Slot& slot, const data::Inputs& inputs) {
  const bool moved = slot.upload.begin(data::tensors_of(inputs));
  slot.inputs = data::inputs_of(slot.upload.to());
  if (!moved || !slot.graph) return;
  last_ends_.clear();
  slot.drop_graph();
}

void TrainStep::add_loss(const std::vector<models::Term>& terms, const Variable& loss, double weight) {
  optimizer_->add_loss(loss.value(), weight);
  if (!objective_.records_terms()) return;
  terms_.clear();
  for (const auto& term : terms) {
    optimizer_->add_term(static_cast<int>(terms_.size()), term.value.value(), weight);
    terms_.push_back(term.name);
  }
}

// Micro-batch by micro-batch. Each weighs as many images as it has: with their number as the divisor, the sum
// is the loss of all of them.
void TrainStep::add_gradients(const Slot& slot, const BatchRows& rows, std::int64_t micro,
                              std::int64_t divisor) {
  pieces_->for_each(slot.inputs, rows, micro,
                    [&](const auto& piece, const auto& context, auto begin, auto end) {
                      const double weight = static_cast<double>(end - begin) / static_cast<double>(divisor);
                      const auto terms = objective_.terms(piece, dtype_, context);
                      const Variable loss = models::loss_of(terms);
                      add_loss(terms, loss, weight);
                      loss.backward(weight);
                    });
}

TrainStep::Compared TrainStep::compare(Tensor features, const Tensor& present, std::int64_t images) const {
  Compared out{.terms = {}, .loss = {}, .features = Variable(std::move(features), true)};
  out.terms = objective_.terms_of(out.features, present, images);
  out.loss = models::loss_of(out.terms);
  out.loss.backward();
  return out;
}

// All processes compute the same, of the features of all: each slice has as many rows, those without an image
// are not present.
TrainStep::Compared TrainStep::compare_slices(const Slot& slot, const StepPart& part, std::int64_t micro) {
  const std::int64_t own = exchange_->own_slices(), width = objective_.feature_width();
  const std::int64_t rows = (part.planned + exchange_->slices() - 1) / exchange_->slices();
  // Ones have a direction, which a loss may divide by also where the row does not count.
  Tensor features = Tensor::full({own, rows, width}, 1, DType::float32, device_);
  Tensor present = Tensor::zeros({own, rows}, DType::float32, device_);
  std::int64_t begin = 0;
  for (std::int64_t k = 0; k < own; ++k) {
    const std::int64_t end = part.slice_ends[static_cast<std::size_t>(k)];
    Tensor to = features.rows(k, k + 1).reshape({rows, width});
    pieces_->features(to, slot.inputs, {begin, end, exchange_->first_sample(part.planned, k)}, micro);
    present.rows(k, k + 1).reshape({rows}).rows(0, end - begin).fill(1);
    begin = end;
  }
  const std::int64_t all = exchange_->slices() * rows;
  return compare(exchange_->gather(features).reshape({all, width}), exchange_->gather(present).reshape({all}),
                 part.planned);
}

UpdateOptions TrainStep::update_options() const {
  return {.clip_norm = config_.clip_norm.value_or(0),
          .average = average_,
          .average_weight = 1 - config_.ema.value_or(0)};
}

void TrainStep::copy_numbers(const Slot& slot) {
  Tensor lr = optimizer_->lr();
  copy_async(lr, slot.lr, Queue::compute);
  copy_async(step_, slot.step, Queue::compute);
}

void TrainStep::compute(Slot& slot, std::int64_t batch, std::int64_t micro) {
  copy_numbers(slot);
  optimizer_->begin();
  objective_.model().zero_grad();
  const BatchRows rows{.begin = 0, .end = batch, .first_sample = 0};
  if (const std::int64_t width = objective_.feature_width(); width > 0 && batch > micro) {
    Tensor features({batch, width}, DType::float32, device_);
    pieces_->features(features, slot.inputs, rows, micro);
    const Compared all = compare(features, {}, batch);
    add_loss(all.terms, all.loss, 1);
    pieces_->carry_back(all.features.grad(), slot.inputs, rows, micro);
  } else {
    add_gradients(slot, rows, micro, batch);
  }
  optimizer_->update(update_options());
  objective_.model().zero_grad();
  copy_async(slot.result, optimizer_->result(), Queue::compute);
}

// All of it is queued: what a slice brings is put together where the gradients are. A loss that compares the
// whole batch, and the gradients of what only the comparison has, are all of the first slice's.
void TrainStep::compute_slices(Slot& slot, const StepPart& part) {
  copy_numbers(slot);
  Tensor control = optimizer_->control().rows(update_loss, update_slots);
  const std::int64_t micro = config_.batch_size / config_.accumulate;
  objective_.model().zero_grad();
  Compared all;
  exchange_->begin();
  if (objective_.feature_width() > 0) all = compare_slices(slot, part, micro);
  std::int64_t begin = 0;
  for (std::int64_t k = 0; k < exchange_->own_slices(); ++k) {
    const std::int64_t end = part.slice_ends[static_cast<std::size_t>(k)];
    const bool is_first = is_first_process_ && k == 0;
    const BatchRows rows{begin, end, exchange_->first_sample(part.planned, k)};
    Tensor numbers = exchange_->numbers(k), step = numbers.rows(update_loss, update_slots);
    copy_async(numbers, slot.own.rows(k, k + 1).reshape(numbers.shape()), Queue::compute);
    kernel::add_time(numbers, slice_seconds, -1);
    control.copy_from(step);
    if (!is_first) objective_.model().zero_grad();
    if (all.loss.defined()) {
      if (is_first) add_loss(all.terms, all.loss, 1);
      const Tensor& gradient = all.features.grad();
      const std::int64_t each = gradient.dim(0) / exchange_->slices();
      const std::int64_t first = (exchange_->first_slice() + k) * each;
      pieces_->carry_back(gradient.rows(first, first + each), slot.inputs, rows, micro);
    } else if (!part.poisoned) {
      add_gradients(slot, rows, micro, part.planned);
    }
    step.copy_from(control);
    kernel::add_time(numbers, slice_seconds, 1);
    exchange_->add();
    begin = end;
  }
  objective_.model().zero_grad();
  exchange_->finish(optimizer_->control());
  UpdateOptions options = update_options();
  options.gradients = exchange_->gradients();
  optimizer_->update(options);
  copy_async(slot.result, optimizer_->result(), Queue::compute);
  copy_async(slot.all, exchange_->all_numbers(), Queue::compute);
}

void TrainStep::begin(Slot& slot, const data::Inputs& inputs, double lr, std::int64_t step) {
  upload(slot, inputs);
  *slot.step.data<std::int64_t>() = step;
  *slot.lr.data<double>() = lr;
}

// Nothing of it has run where memory ends meanwhile: then it is recorded once more, with less.
void TrainStep::record(Slot& slot, const std::vector<std::int64_t>& ends, const std::function<void()>& work) {
  const auto attempt = [&] {
    const KeepResults keep(recompute_.keeps());
    recording_ = true;
    try {
      slot.graph.emplace(device_, work);
    } catch (...) {
      recording_ = false;
      objective_.model().zero_grad();
      throw;
    }
    recording_ = false;
  };
  try {
    attempt();
  } catch (const MemoryError&) {
    if (!give_back()) throw;
    attempt();
  }
  slot.graph_ends = ends;
}

// What graphs keep: they are recorded anew, without. While one is recorded nothing can be given back.
bool TrainStep::give_back() {
  if (recording_ || !recompute_.give_up()) return false;
  for (Slot& slot : slots_) slot.drop_graph();
  pool_->release_free();
  return true;
}

// The first step of a size runs as it comes: whatever is made only once is made there.
void TrainStep::run_or_replay(Slot& slot, const std::vector<std::int64_t>& ends, bool may_replay,
                              const std::function<void()>& work) {
  std::optional<MemoryPool::Use> use;
  if (pool_) use.emplace(*pool_);
  const bool graphs = pool_ && may_replay && !current_profile;  // a profile tells kernels apart
  const bool larger = slot.graph_ends.empty() || ends.back() > slot.graph_ends.back();
  if (graphs && larger && ends == last_ends_) record(slot, ends, work);
  if (graphs && ends == slot.graph_ends) {
    slot.graph->launch();
  } else {
    recompute_.run(work);
    last_ends_ = ends;
  }
  slot.done.record(Queue::compute);
  ++submitted_;
}

void TrainStep::submit(const data::Inputs& inputs, const StepPart& part, double lr, std::int64_t step) {
  VITRAL_CHECK(exchange_ && pending() < max_pending,
               "train step: a part of a step needs slices, and fewer than {} pending", max_pending);
  Slot& slot = slots_[submitted_ % max_pending];
  begin(slot, inputs, lr, step);
  // Losses and gradients are divided by the planned images: which did not decode, all know only in the end.
  slot.own.fill(0);
  std::int64_t first = 0;
  bool each_has_images = true;
  for (std::int64_t k = 0; k < exchange_->own_slices(); ++k) {
    const std::int64_t end = part.slice_ends[static_cast<std::size_t>(k)];
    double* numbers = slot.own.data<double>() + k * slice_numbers;
    numbers[update_images] = static_cast<double>(end - first);
    numbers[slice_signal] = static_cast<double>(part.signal);
    if (part.poisoned) numbers[update_loss] = std::numeric_limits<double>::quiet_NaN();
    each_has_images = each_has_images && end > first;
    first = end;
  }
  slot.own.data<double>()[slice_skipped] = static_cast<double>(part.skipped);
  if (is_first_process_) slot.own.data<double>()[update_planned] = static_cast<double>(part.planned);
  // A graph holds what was planned, and computes each slice.
  const bool may_replay =
      exchange_->is_settled() && each_has_images && !part.poisoned && part.planned == config_.batch_size;
  run_or_replay(slot, part.slice_ends, may_replay, [&] { compute_slices(slot, part); });
}

void TrainStep::submit(const data::Inputs& inputs, double lr, std::int64_t step) {
  VITRAL_CHECK(pending() < max_pending, "train step: {} steps are pending, take one first", pending());
  Slot& slot = slots_[submitted_ % max_pending];
  const std::int64_t batch = inputs.images.dim(0);
  const std::int64_t micro = config_.batch_size / config_.accumulate;
  begin(slot, inputs, lr, step);
  slot.images = batch;
  const bool smaller = !slot.graph_ends.empty() && batch < slot.graph_ends.back();
  run_or_replay(slot, {batch}, true, [&] { compute(slot, batch, smaller ? std::min(micro, piece) : micro); });
}

namespace {

// The sums over all slices, as the host wants them; numbers: [slices,slice_numbers], in the order of the
// processes.
void add_numbers(StepResult& result, const Tensor& numbers, std::int64_t own_slices) {
  double fastest = std::numeric_limits<double>::infinity(), slowest = 0, seconds = 0, images = 0, skipped = 0;
  for (std::int64_t k = 0; k < numbers.dim(0); ++k) {
    const double* of = numbers.data<double>() + k * slice_numbers;
    images += of[update_images];
    skipped += of[slice_skipped];
    result.signal = std::max(result.signal, static_cast<int>(of[slice_signal]));
    seconds += of[slice_seconds];
    if ((k + 1) % own_slices != 0) continue;
    fastest = std::min(fastest, seconds);
    slowest = std::max(slowest, seconds);
    seconds = 0;
  }
  result.images = static_cast<std::int64_t>(images);
  result.skipped_samples = static_cast<std::int64_t>(skipped);
  result.wait = slowest - fastest;
}

}  // namespace

StepResult TrainStep::take() {
  VITRAL_CHECK(pending() > 0, "train step: none is pending");
  Slot& slot = slots_[taken_ % max_pending];
  ++taken_;
  slot.done.wait();
  slot.upload.take_sources();
  if (device_.is_cpu()) upload(slot, {});  // they were the batch itself
  const double* r = slot.result.data<double>();
  StepResult result;
  result.images = slot.images;
  if (exchange_) add_numbers(result, slot.all, exchange_->own_slices());
  result.loss = r[update_loss];
  result.gradient_norm = std::isfinite(result.loss) ? std::sqrt(r[update_squares]) : result.loss;
  result.skipped = result.images > 0 && r[update_scale] == 0;
  result.note = recompute_.take_note();
  for (std::size_t i = 0; i < terms_.size(); ++i) result.terms.push_back({terms_[i], r[update_terms + i]});
  return result;
}

data::NamedTensors TrainStep::weights() const {
  data::NamedTensors out = objective_.model().state();
  for (std::size_t i = 0; i < average_.size(); ++i) out[i].second = average_[i];
  return out;
}

data::NamedTensors TrainStep::state() const {
  data::NamedTensors out = optimizer_->state();
  if (!average_.empty())
    for (const auto& [name, tensor] : objective_.model().state()) out.emplace_back("raw." + name, tensor);
  return out;
}

void TrainStep::load(const data::NamedTensors& weights, const data::NamedTensors& state,
                     const std::string& where) {
  require_floats(weights, where);
  data::NamedTensors raw, moments;
  for (const auto& [name, tensor] : state) {
    if (name.starts_with("raw."))
      raw.emplace_back(name.substr(4), tensor);
    else
      moments.emplace_back(name, tensor);
  }
  VITRAL_CHECK(raw.empty() == average_.empty(),
               "{}: was written {} train.ema, this configuration is {} it; set it alike", where,
               raw.empty() ? "without" : "with", raw.empty() ? "with" : "without");
  for (Slot& slot : slots_) slot.drop_graph();  // moments come to lie elsewhere
  last_ends_.clear();  // those that are missing are made once: not while a graph is recorded
  const data::NamedTensors before = objective_.model().state();
  data::NamedTensors backup;
  for (const auto& [name, tensor] : before) backup.emplace_back(name, tensor.clone());
  objective_.model().load_state(weights, where);
  for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(before[i].second);
  try {
    if (!raw.empty()) objective_.model().load_state(raw, where);
    optimizer_->load_state(moments, where);
  } catch (...) {
    objective_.model().load_state(backup, where);
    for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(backup[i].second);
    throw;
  }
}

void TrainStep::swap_average() {
  const auto parameters = objective_.model().parameters();
  for (std::size_t i = 0; i < average_.size(); ++i) {
    const Tensor own = parameters[i].value->value().clone();
    parameters[i].value->copy_from(average_[i]);
    average_[i].copy_from(own);
  }
}

}  // namespace vitral::train
