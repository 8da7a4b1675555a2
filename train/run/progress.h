// How a run shows where it is: a bar that is redrawn on a terminal, one line every log_every steps elsewhere.
#pragma once
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>

namespace vitral::train {

struct ProgressState {
  std::int64_t epoch = 1, epochs = 1;      // the running one, from 1
  std::int64_t step = 0, total_steps = 1;  // done, of the whole run
  double loss = 0;
  double lr = 0;
  double images_per_second = 0;
  double data_wait = 0;      // part of the time, 0 to 1
  double seconds_left = -1;  // below 0: not known yet
};

/// 0:07, 12:34, 1:02:03, 2d 03:04:05; "-" where it is not known (below 0, not finite).
std::string format_duration(double seconds);

/// epoch 3/100 [=====>    ] step 12/50 loss 18.1234 15.2 images/s wait 3% ETA 1:02:03
/// Shorter than `columns`, so that a terminal does not wrap it: fields that do not fit are left out whole,
/// first the bar, then wait, epoch and images/s, at last the loss.
std::string format_bar(const ProgressState& state, int columns);

/// epoch 3/100 step 12/50 loss 18.1234 lr 0.001 15.2 images/s wait 3% ETA 1:02:03
std::string format_line(const ProgressState& state);

class Progress {
 public:
  struct Output {
    std::FILE* file = stderr;
    bool terminal = false;
    std::function<int()> columns;   // of the terminal, asked at every redraw
    std::function<double()> clock;  // seconds, never going back

    /// A bar where the file is a terminal that can redraw a line, plain lines elsewhere.
    static Output of(std::FILE* file);
  };

  /// log_every: steps between two plain lines.
  explicit Progress(int log_every, Output output = Output::of(stderr));
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// After each step; seconds_left is filled in from the pace since the first call. The last step is always
  /// shown, others on a terminal at most ten times a second.
  void step(ProgressState state);

  /// A line of its own (a validation, a checkpoint), above the bar.
  void message(const std::string& text);

  /// Ends the bar's line; also done at the end of the scope.
  void finish();

 private:
  void draw(double now);

  int log_every_;
  Output output_;
  ProgressState state_;
  bool started_ = false, bar_shown_ = false;
  std::int64_t first_step_ = 0;
  double first_time_ = 0, last_drawn_ = 0;
};

}  // namespace vitral::train
