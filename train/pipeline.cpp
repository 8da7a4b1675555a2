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

void StepPipeline::submit(data::Batch batch, double lr, std::int64_t step) {
  Step s{.done = {.lr = lr, .images = batch.size(), .result = {}, .problem = {}}};
  if (batch.size() > 0) {
    if (teacher_) batch.targets = teacher_->embed(batch.images);
    // An embedding without a direction, or one that float32 cannot square, would teach a wrong one.
    s.done.problem = data::target_problem(batch, loader_.dataset());
    s.computed = s.done.problem.empty();
  }
  if (s.computed)
    step_.submit(batch, lr, step);
  else
    s.done.result = {.loss = std::numeric_limits<double>::quiet_NaN(), .skipped = batch.size() > 0};
  steps_.push_back(std::move(s));
}

StepPipeline::Done StepPipeline::take() {
  Step s = std::move(steps_.front());
  steps_.pop_front();
  if (s.computed) s.done.result = step_.take();
  return std::move(s.done);
}

}  // namespace vitral::train
