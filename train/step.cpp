#include "train/step.h"

#include <algorithm>
#include <cmath>

#include "tensor/ops/gemm.h"
#include "tensor/profile.h"

namespace vitral::train {

namespace {

// Where a GPU has memory for whole batches in a graph, a smaller batch (the last one of an epoch) is cut into
// pieces of this size, so that it does not need as much beside it.
constexpr std::int64_t piece = 512;

Tensor pinned(const Tensor& t) {
  if (!t.defined() || t.pinned()) return t;
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

TrainStep::TrainStep(models::Student& student, const TrainConfig& config, Device device)
    : student_(student),
      config_(config),
      device_(device),
      optimizer_(make_optimizer(config.optimizer, student)),
      slots_{Slot(device), Slot(device)} {
  // A graph wants the same addresses at every launch.
  if (Graph::supported(device)) pool_.emplace(device);
  set_matmul_precision(config.precision == "tf32" ? MatmulPrecision::tf32 : MatmulPrecision::float32);
  if (config.precision == "bf16") {
    dtype_ = DType::bfloat16;
    student.keep_copies(dtype_);
  }
  if (!config.ema) return;
  for (const auto& p : student.parameters()) average_.push_back(p.value->value().clone());
}

TrainStep::~TrainStep() {
  try {
    synchronize(device_);  // also where nothing is pending: a step that failed has queued its copies
  } catch (const Error&) {
    // Somebody else tells of it: this only keeps memory until the device is done with it.
  }
}

void TrainStep::start_from(const data::NamedTensors& weights, const std::string& where) {
  student_.load_state(weights, where);
  const auto parameters = student_.parameters();
  for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(parameters[i].value->value());
}

void TrainStep::upload(Slot& slot, const StepInput& input) {
  if (device_.is_cpu()) {
    slot.pixels = input.images;
    slot.targets = input.targets;
    slot.crops = input.crops;
    return;
  }
  slot.host = {pinned(input.images), pinned(input.targets), pinned(input.crops), input.lr};
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
  copy(slot.pixels, slot.host.images);
  copy(slot.targets, slot.host.targets);
  copy(slot.crops, slot.host.crops);
  slot.copied.record(Queue::copy);
  slot.copied.hold(Queue::compute);
}

void TrainStep::compute(Slot& slot, std::int64_t batch, std::int64_t micro) {
  Tensor lr = optimizer_->lr();
  copy_async(lr, slot.lr, Queue::compute);
  optimizer_->begin();
  student_.zero_grad();
  for (std::int64_t begin = 0; begin < batch; begin += micro) {
    const std::int64_t end = std::min(batch, begin + micro);
    // Each part weighs as many images as it has, so that the sum is the loss of the whole batch.
    const double weight = static_cast<double>(end - begin) / static_cast<double>(batch);
    const Variable patches =
        models::pixel_patches(student_.config(), slot.pixels.rows(begin, end),
                              slot.crops.defined() ? slot.crops.rows(begin, end) : Tensor(), dtype_);
    const Variable loss = distillation_loss(student_.embed(patches), Variable(slot.targets.rows(begin, end)),
                                            config_.loss_norm);
    optimizer_->add_loss(loss.value(), weight);
    loss.backward(weight);
  }
  optimizer_->update({.clip_norm = config_.clip_norm.value_or(0),
                      .average = average_,
                      .average_weight = 1 - config_.ema.value_or(0)});
  student_.zero_grad();
  copy_async(slot.result, optimizer_->result(), Queue::compute);
}

void TrainStep::submit(const StepInput& input) {
  VITRAL_CHECK(pending() < most_pending, "train step: {} steps are pending, take one first", pending());
  Slot& slot = slots_[submitted_ % most_pending];
  const std::int64_t batch = input.images.dim(0);
  const std::int64_t micro = config_.batch_size / config_.accumulate;
  upload(slot, input);
  *slot.lr.data<double>() = input.lr;
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
  Slot& slot = slots_[taken_ % most_pending];
  ++taken_;
  slot.done.wait();
  slot.host = {};
  if (device_.is_cpu()) slot.pixels = slot.targets = slot.crops = {};  // the batch itself, see upload()
  const double* r = slot.result.data<double>();
  StepResult result;
  result.loss = r[update_loss];
  result.gradient_norm = std::isfinite(result.loss) ? std::sqrt(r[update_squares]) : result.loss;
  result.skipped = r[update_scale] == 0;
  return result;
}

data::NamedTensors TrainStep::weights() const {
  data::NamedTensors out = student_.state();
  for (std::size_t i = 0; i < average_.size(); ++i) out[i].second = average_[i];
  return out;
}

data::NamedTensors TrainStep::state() const {
  data::NamedTensors out = optimizer_->state();
  if (!average_.empty())
    for (const auto& [name, tensor] : student_.state()) out.emplace_back("raw." + name, tensor);
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
  const data::NamedTensors before = student_.state();
  data::NamedTensors backup;
  for (const auto& [name, tensor] : before) backup.emplace_back(name, tensor.clone());
  student_.load_state(weights, where);
  for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(before[i].second);
  try {
    if (!raw.empty()) student_.load_state(raw, where);
    optimizer_->load_state(moments, where);
  } catch (...) {
    student_.load_state(backup, where);
    for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(backup[i].second);
    throw;
  }
}

void TrainStep::swap_average() {
  const auto parameters = student_.parameters();
  for (std::size_t i = 0; i < average_.size(); ++i) {
    const Tensor own = parameters[i].value->value().clone();
    parameters[i].value->copy_from(average_[i]);
    average_[i].copy_from(own);
  }
}

}  // namespace vitral::train
