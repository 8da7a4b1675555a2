#include "train/step.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "tensor/ops/gemm.h"
#include "tensor/profile.h"

namespace vitral::train {

namespace {

// Where a GPU has memory for whole batches in a graph, a smaller batch (the last one of an epoch) is cut into
// pieces of this size, so that it does not need as much beside it.
constexpr std::int64_t piece = 512;

Tensor pinned(const Tensor& t) {
  if (t.pinned()) return t;
  Tensor copy = Tensor::pinned(t.shape(), t.dtype());
  copy.copy_from(t);
  return copy;
}

}  // namespace

TrainStep::Slot::Slot(Device device)
    : lr(Tensor::pinned({1}, DType::float64)),
      result(Tensor::pinned({update_slots}, DType::float64)),
      copied(device),
      done(device) {}

TrainStep::TrainStep(models::Objective& objective, const TrainConfig& config, Device device, Group& group)
    : objective_(objective), config_(config), device_(device), slots_{Slot(device), Slot(device)} {
  nn::Module& model = objective.model();
  model.to(device);
  optimizer_ = make_optimizer(config.optimizer, model);
  if (const std::int64_t slices = slices_of(config, group); slices > 1) {
    VITRAL_CHECK(device.is_cpu(), "train.slices: {} slices train on CPUs; set train.device=cpu, or one slice",
                 slices);
    exchange_.emplace(group, slices, model);
  }
  // A graph wants the same addresses at every launch.
  if (Graph::supported(device)) pool_.emplace(device);
  set_matmul_precision(config.precision == "tf32" ? MatmulPrecision::tf32 : MatmulPrecision::float32);
  if (config.precision == "bf16") {
    dtype_ = DType::bfloat16;
    model.keep_copies(dtype_);
  }
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
  objective_.model().load_state(weights, where);
  const auto parameters = objective_.model().parameters();
  for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(parameters[i].value->value());
}

void TrainStep::upload(Slot& slot, const data::Inputs& inputs) {
  if (device_.is_cpu()) {
    slot.inputs = inputs;
    return;
  }
  slot.host = data::map_inputs(inputs, pinned);
  // A graph goes on reading where it was recorded; what comes is new and runs by itself first.
  const auto replace = [&](Tensor& to, Tensor by) {
    to = std::move(by);
    if (slot.graph) last_batch_ = 0;
    slot.drop_graph();
  };
  const auto copy = [&](Tensor& to, const Tensor& from) {
    if (!from.defined()) {
      if (to.defined()) replace(to, {});
      return;
    }
    const std::int64_t rows = from.dim(0);
    if (!to.defined() || to.dim(0) < rows || to.shape().with(0, 1) != from.shape().with(0, 1)) {
      replace(to, Tensor(from.shape(), from.dtype(), device_));
      // Kernels that were queued may still use this memory, under another name.
      slot.copied.record(Queue::compute);
      slot.copied.hold(Queue::copy);
    }
    Tensor part = to.rows(0, rows);
    copy_async(part, from, Queue::copy);
  };
  for (const auto member : data::input_members) copy(slot.inputs.*member, slot.host.*member);
  slot.copied.record(Queue::copy);
  slot.copied.hold(Queue::compute);
}

void TrainStep::add_terms(const std::vector<models::Term>& terms, double weight) {
  terms_.clear();
  for (const auto& term : terms) {
    optimizer_->add_term(static_cast<int>(terms_.size()), term.value.value(), weight);
    terms_.push_back(term.name);
  }
}

// Of the images in rows [begin, end), micro-batch by micro-batch. Each weighs as many images as it has: with
// their number as the divisor, the sum is the loss of all of them.
// ForwardContext::step is a number of the host: in a recorded graph it stays that of the recording.
void TrainStep::add_gradients(Slot& slot, std::int64_t first, std::int64_t last, std::int64_t micro,
                              std::int64_t divisor, std::int64_t first_sample) {
  for (std::int64_t begin = first; begin < last; begin += micro) {
    const std::int64_t end = std::min(last, begin + micro);
    const double weight = static_cast<double>(end - begin) / static_cast<double>(divisor);
    const auto terms = objective_.terms(slot.inputs.rows(begin, end), dtype_,
                                        {.training = true,
                                         .seed = static_cast<std::uint64_t>(config_.seed),
                                         .step = slot.step,
                                         .first_sample = first_sample + begin - first});
    const Variable loss = models::loss_of(terms);
    optimizer_->add_loss(loss.value(), weight);
    if (objective_.records_terms()) add_terms(terms, weight);
    loss.backward(weight);
  }
}

UpdateOptions TrainStep::update_options() const {
  return {.clip_norm = config_.clip_norm.value_or(0),
          .average = average_,
          .average_weight = 1 - config_.ema.value_or(0)};
}

void TrainStep::compute(Slot& slot, std::int64_t batch, std::int64_t micro) {
  Tensor lr = optimizer_->lr();
  copy_async(lr, slot.lr, Queue::compute);
  optimizer_->begin();
  objective_.model().zero_grad();
  add_gradients(slot, 0, batch, micro, batch, 0);
  optimizer_->update(update_options());
  objective_.model().zero_grad();
  copy_async(slot.result, optimizer_->result(), Queue::compute);
}

void TrainStep::compute_slices(Slot& slot, const StepPart& part) {
  Tensor lr = optimizer_->lr();
  lr.copy_from(slot.lr);
  double* control = optimizer_->result().data<double>();
  const std::int64_t micro = config_.batch_size / config_.accumulate;
  std::int64_t begin = 0;
  for (std::size_t k = 0; k < part.slice_ends.size(); ++k) {
    const std::int64_t end = part.slice_ends[k];
    const auto start = std::chrono::steady_clock::now();
    optimizer_->begin();
    objective_.model().zero_grad();
    if (!part.poisoned)
      add_gradients(slot, begin, end, micro, part.planned, exchange_->first_sample(part.planned, k));
    SliceSums sums{.loss = part.poisoned ? std::numeric_limits<double>::quiet_NaN() : control[update_loss],
                   .images = static_cast<double>(end - begin),
                   .signal = static_cast<double>(part.signal)};
    std::copy_n(control + update_terms, sums.terms.size(), sums.terms.begin());
    if (k == 0) sums.skipped = static_cast<double>(part.skipped);
    sums.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    exchange_->add(sums);
    begin = end;
  }
  objective_.model().zero_grad();
  // Losses and gradients were divided by the planned images: which did not decode is known only now.
  double factor = 1;
  const SliceSums all = exchange_->finish(
      [&](double images) { return factor = images > 0 ? static_cast<double>(part.planned) / images : 1; });
  optimizer_->begin();
  control[update_loss] = factor * all.loss;
  for (std::size_t i = 0; i < all.terms.size(); ++i) control[update_terms + i] = factor * all.terms[i];
  slot.counts.images = static_cast<std::int64_t>(all.images);
  slot.counts.skipped_samples = static_cast<std::int64_t>(all.skipped);
  slot.counts.signal = static_cast<int>(all.signal);
  slot.counts.wait = all.seconds;
  if (slot.counts.images > 0) {
    UpdateOptions options = update_options();
    options.gradients = exchange_->gradients();
    optimizer_->update(options);
  } else {
    control[update_scale] = 0;
  }
  slot.result.copy_from(optimizer_->result());
}

void TrainStep::submit(const data::Inputs& inputs, const StepPart& part, double lr, std::int64_t step) {
  VITRAL_CHECK(exchange_ && pending() == 0,
               "train step: a part of a step needs slices, and no other pending");
  Slot& slot = slots_[submitted_++ % max_pending];
  slot.inputs = inputs;
  slot.step = step;
  *slot.lr.data<double>() = lr;
  compute_slices(slot, part);
}

void TrainStep::submit(const data::Inputs& inputs, double lr, std::int64_t step) {
  VITRAL_CHECK(pending() < max_pending, "train step: {} steps are pending, take one first", pending());
  Slot& slot = slots_[submitted_ % max_pending];
  const std::int64_t batch = inputs.images.dim(0);
  const std::int64_t micro = config_.batch_size / config_.accumulate;
  upload(slot, inputs);
  slot.counts.images = batch;
  slot.step = step;
  *slot.lr.data<double>() = lr;
  {
    std::optional<MemoryPool::Use> use;
    if (pool_) use.emplace(*pool_);
    const bool graphs = pool_ && !current_profile;  // a profile tells kernels apart
    // The first step of a size runs as it comes: whatever is made only once is made there.
    if (graphs && batch > slot.graph_batch && batch == last_batch_) {
      slot.graph.emplace(device_, [&] { compute(slot, batch, micro); });
      slot.graph_batch = batch;
    }
    if (graphs && batch == slot.graph_batch) {
      slot.graph->launch();
    } else {
      compute(slot, batch, batch < slot.graph_batch ? std::min(micro, piece) : micro);
      last_batch_ = batch;
    }
  }
  slot.done.record(Queue::compute);
  ++submitted_;
}

StepResult TrainStep::take() {
  VITRAL_CHECK(pending() > 0, "train step: none is pending");
  Slot& slot = slots_[taken_ % max_pending];
  ++taken_;
  slot.done.wait();
  slot.host = {};
  if (device_.is_cpu()) slot.inputs = {};  // the batch itself, see upload()
  const double* r = slot.result.data<double>();
  StepResult result = slot.counts;
  result.loss = r[update_loss];
  result.gradient_norm = std::isfinite(result.loss) ? std::sqrt(r[update_squares]) : result.loss;
  result.skipped = result.images > 0 && r[update_scale] == 0;
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
  last_batch_ = 0;  // those that are missing are made once: not while a graph is recorded
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
