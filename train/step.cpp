#include "train/step.h"

#include <algorithm>
#include <cmath>

namespace vitral::train {

TrainStep::TrainStep(nn::Student& student, const TrainConfig& config, Device device)
    : student_(student),
      config_(config),
      device_(device),
      optimizer_(student, {.lr = config.optimizer.lr,
                           .beta1 = config.optimizer.betas[0],
                           .beta2 = config.optimizer.betas[1],
                           .eps = config.optimizer.eps,
                           .weight_decay = config.optimizer.weight_decay}) {
  if (!config.ema) return;
  for (const auto& p : student.parameters()) average_.push_back(p.value->value().clone());
}

void TrainStep::start_from(const data::NamedTensors& weights, const std::string& where) {
  student_.load_state(weights, where);
  const auto parameters = student_.parameters();
  for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(parameters[i].value->value());
}

StepResult TrainStep::run(const Tensor& images, const Tensor& targets, double lr) {
  const std::int64_t batch = images.dim(0), micro = config_.batch_size / config_.accumulate;
  StepResult result;
  student_.zero_grad();
  for (std::int64_t begin = 0; begin < batch; begin += micro) {
    const std::int64_t end = std::min(batch, begin + micro);
    // Each part weighs as many images as it has, so that the sum is the loss of the whole batch.
    const double weight = static_cast<double>(end - begin) / static_cast<double>(batch);
    const Variable embedding =
        student_.forward(nn::normalize_pixels(images.rows(begin, end), device_)).embedding;
    const Variable loss =
        distillation_loss(embedding, Variable(targets.rows(begin, end).to(device_)), config_.loss_norm);
    result.loss += weight * loss.item();
    if (!std::isfinite(result.loss)) break;
    loss.backward(weight);
  }
  result.gradient_norm = std::isfinite(result.loss) ? gradient_norm(student_) : result.loss;
  if (!std::isfinite(result.gradient_norm)) {
    result.skipped = true;
    student_.zero_grad();
    return result;
  }
  // As torch.nn.utils.clip_grad_norm_.
  const double clip =
      config_.clip_norm ? std::min(1.0, *config_.clip_norm / (result.gradient_norm + 1e-6)) : 1.0;
  optimizer_.step(lr, clip);
  student_.zero_grad();
  if (!average_.empty()) {
    const auto parameters = student_.parameters();
    for (std::size_t i = 0; i < average_.size(); ++i)
      kernel::lerp(average_[i], parameters[i].value->value(), 1 - *config_.ema);
  }
  return result;
}

data::NamedTensors TrainStep::weights() const {
  data::NamedTensors out = student_.state();
  for (std::size_t i = 0; i < average_.size(); ++i) out[i].second = average_[i];
  return out;
}

data::NamedTensors TrainStep::state() const {
  data::NamedTensors out = optimizer_.state();
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
  const data::NamedTensors before = student_.state();
  data::NamedTensors backup;
  for (const auto& [name, tensor] : before) backup.emplace_back(name, tensor.clone());
  student_.load_state(weights, where);
  for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(before[i].second);
  try {
    if (!raw.empty()) student_.load_state(raw, where);
    optimizer_.load_state(moments, where);
  } catch (...) {
    student_.load_state(backup, where);
    for (std::size_t i = 0; i < average_.size(); ++i) average_[i].copy_from(backup[i].second);
    throw;
  }
}

void TrainStep::swap_average() {
  const auto parameters = student_.parameters();
  for (std::size_t i = 0; i < average_.size(); ++i) {
    Tensor value = parameters[i].value->value();
    const Tensor own = value.clone();
    value.copy_from(average_[i]);
    average_[i].copy_from(own);
  }
}

}  // namespace vitral::train
