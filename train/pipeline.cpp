#include "train/pipeline.h"

#include <limits>

namespace vitral::train {

data::Batch StepPipeline::next(std::int64_t epoch, std::int64_t number) {
  if (expected_ != std::pair{epoch, number}) loader_.begin_epoch(epoch, number);
  auto batch = loader_.next();
  if (!batch)
    throw_error("the loader ended epoch {} at batch {} of {}", epoch + 1, number,
                loader_.batches_per_epoch());
  expected_ = {epoch, number + 1};
  return std::move(*batch);
}

void StepPipeline::add_targets(data::Batch& batch) const {
  std::int64_t begin = 0;
  for (const std::int64_t end : batch.slice_ends) {
    if (end > begin) teacher_->add_targets(batch, begin, end);
    begin = end;
  }
}

void StepPipeline::submit(data::Batch batch, double lr, std::int64_t step, int signal) {
  Step s{.done = {.lr = lr, .result = {}, .problem = {}}};
  if (batch.size() > 0) {
    if (teacher_) add_targets(batch);
    // An embedding without a direction, or one that float32 cannot square, would teach a wrong one.
    s.done.problem = data::target_problem(batch, loader_.dataset());
  }
  s.computed = step_.has_slices() || (batch.size() > 0 && s.done.problem.empty());
  const auto skipped = static_cast<std::int64_t>(batch.skipped.size());
  if (step_.has_slices())
    step_.submit(batch,
                 {.planned = batch.planned,
                  .slice_ends = batch.slice_ends,
                  .skipped = skipped,
                  .signal = signal,
                  .poisoned = !s.done.problem.empty()},
                 lr, step);
  else if (s.computed)
    step_.submit(batch, lr, step);
  else
    s.done.result = {.loss = std::numeric_limits<double>::quiet_NaN(),
                     .gradient_norm = std::numeric_limits<double>::quiet_NaN(),
                     .skipped = batch.size() > 0,
                     .images = batch.size()};
  s.skipped = skipped;
  s.signal = signal;
  steps_.push_back(std::move(s));
}

StepPipeline::Done StepPipeline::take() {
  Step s = std::move(steps_.front());
  steps_.pop_front();
  if (s.computed) s.done.result = step_.take();
  if (!step_.has_slices()) {
    s.done.result.skipped_samples = s.skipped;
    s.done.result.signal = s.signal;
  }
  return std::move(s.done);
}

}  // namespace vitral::train
