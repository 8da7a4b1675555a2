// What several processes cost: a training step of the student, and its exchange alone, by one process or,
// started by mpirun, by each of several. tests/bench/compare_processes.sh runs it in turn with one and with
// two, on this host and between two.
//
//   OMP_NUM_THREADS=2 build/tests/bench_processes
//   OMP_NUM_THREADS=1 mpirun -n 2 --bind-to core build/tests/bench_processes
#include <algorithm>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "processes/launch.h"
#include "tests/bench/student.h"
#include "tests/bench/timing.h"
#include "train/exchange.h"
#include "train/objective.h"
#include "train/step.h"

namespace {

using namespace vitral;

struct Arguments {
  train::Config config;
  int steps = 5, warmup = 2;
  bool exchange_only = false;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Rows [begin, end) of the batch that all processes have in their shares.
data::Inputs share(const train::Config& config, const Group& group) {
  const std::int64_t rows = config.train.batch_size / group.size();
  data::Inputs inputs{.images = bench::noise(config.train.batch_size, config.model.image_size),
                      .targets = Tensor({config.train.batch_size, config.model.width})};
  Random random(2);
  for (std::int64_t i = 0; i < inputs.targets.numel(); ++i)
    inputs.targets.data<float>()[i] = static_cast<float>(random.normal());
  return inputs.rows(group.rank() * rows, (group.rank() + 1) * rows);
}

// Seconds of the exchange of a gradient that is there: what it takes when nobody waits for anybody.
double exchange_seconds(models::Objective& objective, std::int64_t slices, Group& group, int rounds) {
  train::Exchange exchange(group, slices, objective.model());
  std::vector<double> seconds;
  Tensor control = Tensor::zeros({update_slots}, DType::float64);
  for (int i = 0; i < rounds; ++i) {
    for (std::int64_t k = 0; k < exchange.own_slices(); ++k) {
      exchange.numbers(k).fill(0);
      exchange.add();
    }
    all_gather(group, "");
    const double start = bench::now();
    exchange.finish(control);
    seconds.push_back(bench::now() - start);
  }
  return median(seconds);
}

void run(const Arguments& a) {
  Group& group = processes();
  const train::Config& config = a.config;
  const auto objective = train::make_objective(config);
  const std::int64_t slices = train::slices_of(config.train, group);
  const double megabytes = static_cast<double>(objective->model().parameter_count()) * 4 / 1e6;
  if (!a.exchange_only) {
    train::TrainStep step(*objective, config.train, cpu, group);
    const data::Inputs inputs = share(config, group);
    const std::int64_t rows = inputs.images.dim(0), mine = slices / group.size();
    train::StepPart part;
    part.planned = config.train.batch_size;
    for (std::int64_t k = 1; k <= mine; ++k) part.slice_ends.push_back(rows * k / mine);
    std::vector<double> seconds, waits;
    for (int i = 0; i < a.warmup + a.steps; ++i) {
      const double start = bench::now();
      if (step.has_slices())
        step.submit(inputs, part, 1e-4, i);
      else
        step.submit(inputs, 1e-4, i);
      const double wait = step.take().wait;
      if (i < a.warmup) continue;
      seconds.push_back(bench::now() - start);
      waits.push_back(wait);
    }
    const double s = median(seconds);
    if (group.is_first())
      fmt::print(
          "{} processes of {} threads, {} slices: step {:.4f} s ({:.4f} the fastest), {:.1f} images/s, "
          "waited "
          "{:.2f} %\n",
          group.size(), cpu_threads(), slices, s, *std::min_element(seconds.begin(), seconds.end()),
          config.train.batch_size / s, 100 * median(waits) / s);
  }
  if (group.is_one()) return;
  const double s = exchange_seconds(*objective, slices, group, a.exchange_only ? 7 : 15);
  const double sent = 2 * (group.size() - 1) * megabytes / group.size();
  if (group.is_first())
    fmt::print("exchange of a gradient of {:.1f} MB: {:.4f} s, {:.1f} MB sent by each ({:.0f} MB/s)\n",
               megabytes, s, sent, sent / s);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times a training step of several processes, and its exchange."};
  Arguments a;
  vitral::bench::add_options(app, a.config);
  app.add_option("--slices", a.config.train.slices);
  app.add_option("--accumulate", a.config.train.accumulate)->capture_default_str();
  app.add_option("--steps", a.steps)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--warmup", a.warmup)->capture_default_str()->check(CLI::NonNegativeNumber);
  app.add_flag("--exchange", a.exchange_only, "the exchange alone");
  CLI11_PARSE(app, argc, argv);
  try {
    run(a);
  } catch (const vitral::Error& e) {
    std::fprintf(stderr, "bench_processes: %s\n", e.what());
    return 1;
  }
  return 0;
}
