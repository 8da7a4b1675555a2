// The steps of a run on their way: batch from the loader, targets from the teacher, the step on the device,
// its result. On a GPU a step is computed while the next one is prepared, so results come one step later.
// With a teacher there they come two steps later: it looks at a batch before the step of the batch before
// begins, so that its answers are there when that of its own does.
//
//   pipeline.submit(pipeline.next(epoch, batch), lr, step);
//   while (pipeline.full()) settle(pipeline.take());
#pragma once
#include <deque>
#include <optional>
#include <string>
#include <utility>

#include "data/loader.h"
#include "train/step.h"
#include "train/teacher.h"

namespace vitral::train {

class StepPipeline {
 public:
  /// A step that is done.
  struct Done {
    double lr = 0;
    StepResult result;
    std::string problem;  // why it was skipped without being computed, or empty
  };

  /// teacher: null where the loader has the targets.
  StepPipeline(data::Loader& loader, const Teacher* teacher, TrainStep& step, Device device)
      : loader_(loader),
        teacher_(teacher),
        step_(step),
        depth_(device.is_cpu() ? 1 : TrainStep::max_pending + (teacher ? 1 : 0)) {}

  /// The batch with this number of this epoch.
  data::Batch next(std::int64_t epoch, std::int64_t number);
  /// Begins a step, unless full(). step: how many the run has done before. signal: that asks to stop, or 0.
  void submit(data::Batch batch, double lr, std::int64_t step, int signal = 0);
  std::int64_t in_flight() const { return static_cast<std::int64_t>(steps_.size()); }
  bool full() const { return steps_.size() == depth_; }
  /// Waits for the oldest.
  Done take();

 private:
  // `result` is known where nothing was computed.
  struct Step {
    Done done;
    data::Batch batch;  // until the step has begun
    std::int64_t number = 0;
    std::vector<Teacher::Answer> answers = {};
    bool begun = false, computed = false;
    std::int64_t skipped = 0;
    int signal = 0;
  };

  void ask_teacher(Step& step) const;
  void begin(Step& step);

  data::Loader& loader_;
  const Teacher* teacher_;
  TrainStep& step_;
  std::size_t depth_;
  std::deque<Step> steps_;
  std::optional<std::pair<std::int64_t, std::int64_t>> expected_;  // what the loader would give next
};

}  // namespace vitral::train
