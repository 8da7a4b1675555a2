// How long the rest of an ablation takes.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <thread>

#include <fcntl.h>

#include "ablate/ablate.h"
#include "ablate/runner.h"
#include "base/error.h"
#include "base/files/atomic.h"
#include "base/files/descriptor.h"
#include "base/files/input_file.h"
#include "processes/subprocess.h"

namespace vitral::ablate {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::uint64_t largest_log = 1 << 24;  // bytes
constexpr auto trial = 10s;                     // of training, from its first step on

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "vitral-ablate-XXXXXX").string();
    if (!::mkdtemp(name.data())) throw_error("{}: cannot be made; make room there, or set TMPDIR", name);
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Images/s of some seconds of this run.
double timed(const Run& run, const StopSignals& stop) {
  const TemporaryFolder folder;
  train::Config config = run.config;
  config.train.output = folder / "run";
  config.train.log_every = 1;
  config.data.val.clear();
  write_file_atomic(folder / "config.yaml", train::to_yaml(config));
  const std::string log_file = folder / "log";
  const Descriptor log(::open(log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  Subprocess program(
      this_program, {"vitral", "train", folder / "config.yaml"},
      {.environment = {}, .out = log, .err = log, .what = "vitral train", .remedy = "is it there?"});
  std::optional<Clock::time_point> begun;
  while (program.running()) {
    if (!begun && trained(run, config.train.output).steps > 0) begun = Clock::now();
    if (stop.requested() || (begun && Clock::now() - *begun > trial)) program.send(SIGTERM);
    std::this_thread::sleep_for(100ms);
  }
  if (stop.requested())
    throw_error("the estimate was stopped by {}; nothing was kept", signal_name(stop.signal()));
  const Trained all = trained(run, config.train.output);
  if (program.status() != 0 || all.images == 0)
    throw_error("the time cannot be estimated: {}: {}", run.name,
                why_it_failed(read_text_file(log_file, largest_log), program.status()));
  return static_cast<double>(all.images) / all.seconds;
}

}  // namespace

TimeLeft estimate_time(const Ablation& ablation, const StopSignals& stop) {
  const auto& runs = ablation.runs;
  std::vector<Trained> so_far, of_variant(ablation.grid.variants.size());
  Trained all;
  int sources = 0;
  for (const Run& run : runs) {
    const Trained t = so_far.emplace_back(trained(run, run.folder()));
    if (t.images == 0) continue;
    ++sources;
    for (Trained* sum : {&of_variant[run.variant], &all}) sum->images += t.images, sum->seconds += t.seconds;
  }
  TimeLeft out;
  if (ablation.left() == 0) return out;
  double rate = static_cast<double>(all.images) / all.seconds;
  out.source = fmt::format("from the images/s of {} of its runs", sources);
  if (sources == 0) {
    const auto first = static_cast<std::size_t>(std::find_if(ablation.states.begin(), ablation.states.end(),
                                                             [](State s) { return s != State::done; }) -
                                                ablation.states.begin());
    rate = timed(runs[first], stop);
    out.source =
        fmt::format("if all train as fast as {} did just now, {:.0f} images/s", runs[first].name, rate);
  }
  for (std::size_t i = 0; i < runs.size(); ++i) {
    if (ablation.states[i] == State::done) continue;
    const Trained& own = of_variant[runs[i].variant];
    const std::int64_t left = runs[i].images_of(runs[i].total_steps()) - so_far[i].images;
    out.seconds +=
        static_cast<double>(left) / (own.images > 0 ? static_cast<double>(own.images) / own.seconds : rate);
  }
  return out;
}

}  // namespace vitral::ablate
