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

void StepPipeline::ask_teacher(Step& step) const {
  std::int64_t begin = 0;
  for (const std::int64_t end : step.batch.slice_ends) {
    if (end > begin) step.answers.push_back(teacher_->ask(step.batch, begin, end));
    begin = end;
  }
}

// All but the newest have begun where a teacher is asked on a GPU, else all.
void StepPipeline::submit(data::Batch batch, double lr, std::int64_t step, int signal) {
  Step& s = steps_.emplace_back(Step{.done = {.lr = lr, .result = {}, .problem = {}},
                                     .batch = std::move(batch),
                                     .number = step,
                                     .signal = signal});
  s.skipped = static_cast<std::int64_t>(s.batch.skipped.size());
  if (teacher_ && s.batch.size() > 0) ask_teacher(s);
  const std::size_t waiting = depth_ > TrainStep::max_pending ? 1 : 0;
  for (std::size_t i = 0; i + waiting < steps_.size(); ++i)
    if (!steps_[i].begun) begin(steps_[i]);
}

void StepPipeline::begin(Step& s) {
  s.begun = true;
  data::Batch batch = std::move(s.batch);
  for (Teacher::Answer& answer : s.answers) answer.add_to(batch);
  s.answers.clear();
  // An embedding without a direction, or one that float32 cannot square, would teach a wrong one.
  if (batch.size() > 0) s.done.problem = data::target_problem(batch, loader_.dataset());
  s.computed = step_.has_slices() || (batch.size() > 0 && s.done.problem.empty());
  if (step_.has_slices())
    step_.submit(batch,
                 {.planned = batch.planned,
                  .slice_ends = batch.slice_ends,
                  .skipped = s.skipped,
                  .signal = s.signal,
                  .poisoned = !s.done.problem.empty()},
                 s.done.lr, s.number);
  else if (s.computed)
    step_.submit(batch, s.done.lr, s.number);
  else
    s.done.result = {.loss = std::numeric_limits<double>::quiet_NaN(),
                     .gradient_norm = std::numeric_limits<double>::quiet_NaN(),
                     .skipped = batch.size() > 0,
                     .images = batch.size()};
}

StepPipeline::Done StepPipeline::take() {
  if (!steps_.front().begun) begin(steps_.front());
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
