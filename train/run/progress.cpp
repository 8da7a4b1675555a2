#include "train/run/progress.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/terminal.h"

namespace vitral::train {
namespace {

std::string percent(double part) {
  return std::isfinite(part) ? fmt::format("{:.0f}%", 100 * std::clamp(part, 0.0, 1.0)) : "-";
}

constexpr double redraw_seconds = 0.1;

}  // namespace

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e15) return "-";
  const auto all = static_cast<std::int64_t>(std::llround(seconds));
  const std::int64_t s = all % 60, m = all / 60 % 60, h = all / 3600 % 24, d = all / 86400;
  if (d > 0) return fmt::format("{}d {:02}:{:02}:{:02}", d, h, m, s);
  if (h > 0) return fmt::format("{}:{:02}:{:02}", h, m, s);
  return fmt::format("{}:{:02}", m, s);
}

std::string format_bar(const ProgressState& p, int columns) {
  const std::string epoch = fmt::format("epoch {}/{} ", p.epoch, p.epochs);
  const std::string count = fmt::format("{}/{}", p.step, p.total_steps),
                    loss = fmt::format(" loss {:.4f}", p.loss);
  const std::string step = "step " + count + loss;
  const std::string speed = fmt::format(" {:.1f} images/s", p.images_per_second);
  const std::string wait = " wait " + percent(p.data_wait);
  const std::string eta = " ETA " + format_duration(p.seconds_left);

  const std::size_t room = room_on_line(columns);
  constexpr std::size_t shortest_bar = 10, longest_bar = 30;
  const std::size_t text = epoch.size() + step.size() + speed.size() + wait.size() + eta.size();
  if (text + shortest_bar + 3 <= room) {
    const std::size_t width = std::min(room - text - 3, longest_bar);
    const double part =
        static_cast<double>(p.step) / static_cast<double>(std::max<std::int64_t>(p.total_steps, 1));
    const auto done = static_cast<std::size_t>(std::clamp(part, 0.0, 1.0) * static_cast<double>(width));
    std::string bar(done, '=');
    if (done < width) bar += '>';
    bar.resize(width, ' ');
    return fmt::format("{}[{}] {}{}{}{}", epoch, bar, step, speed, wait, eta);
  }
  return longest_that_fits({epoch + step + speed + wait + eta, epoch + step + speed + eta, step + speed + eta,
                            step + eta, step, count + loss, "step " + count, count},
                           columns);
}

std::string format_line(const ProgressState& p) {
  return fmt::format("epoch {}/{} step {}/{} loss {:.4f} lr {:.4g} {:.1f} images/s wait {} ETA {}", p.epoch,
                     p.epochs, p.step, p.total_steps, p.loss, p.lr, p.images_per_second, percent(p.data_wait),
                     format_duration(p.seconds_left));
}

Progress::Output Progress::Output::of(std::FILE* file) {
  Output output;
  output.file = file;
  output.terminal = can_redraw(file);
  output.columns = [file] { return columns_of(file); };
  output.clock = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  return output;
}

Progress::Progress(int log_every, Output output)
    : log_every_(std::max(log_every, 1)), output_(std::move(output)) {}

Progress::~Progress() { finish(); }

void Progress::step(ProgressState state) {
  const double now = output_.clock();
  if (!started_) {
    started_ = true;
    first_step_ = state.step;
    first_time_ = now;
    last_drawn_ = -std::numeric_limits<double>::infinity();
  } else if (state.step > first_step_) {
    const double pace = (now - first_time_) / static_cast<double>(state.step - first_step_);
    state.seconds_left =
        pace * static_cast<double>(std::max<std::int64_t>(state.total_steps - state.step, 0));
  }
  state_ = state;
  const bool last = state.step >= state.total_steps;
  if (output_.terminal) {
    if (last || now - last_drawn_ >= redraw_seconds) draw(now);
  } else if (last || state.step % log_every_ == 0) {
    std::fprintf(output_.file, "%s\n", format_line(state).c_str());
    std::fflush(output_.file);
  }
}

void Progress::draw(double now) {
  last_drawn_ = now;
  bar_shown_ = true;
  redraw(output_.file, format_bar(state_, output_.columns()));
}

void Progress::message(const std::string& text) {
  std::fprintf(output_.file, "%s%s\n", bar_shown_ ? "\r\x1b[K" : "", text.c_str());
  if (bar_shown_) draw(output_.clock());
  std::fflush(output_.file);
}

void Progress::finish() {
  if (!bar_shown_) return;
  bar_shown_ = false;
  std::fputc('\n', output_.file);
  std::fflush(output_.file);
}

}  // namespace vitral::train
