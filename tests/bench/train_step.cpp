// Time of a training step (forward, backward, AdamW) of a student on random images.
//
//   build/tests/bench/train_step --batch 64 --steps 5 --json       the 21.4M student
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <numeric>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/resource.h>

#include "nn/student.h"
#include "tensor/random.h"
#include "train/step.h"

namespace {

using namespace vitral;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times a training step of the student."};
  train::Config config;
  int steps = 5, warmup = 2;
  bool json = false;
  std::string device = "cpu";
  app.add_option("--batch", config.train.batch_size)->capture_default_str();
  app.add_option("--accumulate", config.train.accumulate)->capture_default_str();
  app.add_option("--steps", steps)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--warmup", warmup)->capture_default_str();
  app.add_option("--image", config.model.image_size)->capture_default_str();
  app.add_option("--patch", config.model.patch_size)->capture_default_str();
  app.add_option("--width", config.model.width)->capture_default_str();
  app.add_option("--heads", config.model.heads)->capture_default_str();
  app.add_option("--layers", config.model.layers)->capture_default_str();
  app.add_option("--attention", config.model.attention)->capture_default_str();
  app.add_option("--device", device)->capture_default_str();
  app.add_flag("--json", json, "one JSON line");
  CLI11_PARSE(app, argc, argv);

  const std::int64_t batch = config.train.batch_size, size = config.model.image_size;
  nn::Student student(config.model);
  const Device where = parse_device(device);
  student.to(where);
  train::TrainStep step(student, config.train, where);
  Random random(1);
  Tensor images({batch, size, size, 3}, DType::uint8), targets({batch, config.model.width});
  for (std::int64_t i = 0; i < images.numel(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.next());
  for (std::int64_t i = 0; i < targets.numel(); ++i)
    targets.data<float>()[i] = static_cast<float>(random.normal());

  std::vector<double> seconds;
  for (int i = 0; i < warmup + steps; ++i) {
    const double start = now();
    const train::StepResult r = step.run(images, targets, 1e-4);
    if (r.skipped) return std::fprintf(stderr, "step %d was skipped\n", i), 1;
    if (i >= warmup) seconds.push_back(now() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  const double median = seconds[seconds.size() / 2], least = seconds.front();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const double gigabytes = static_cast<double>(usage.ru_maxrss) / 1e6;
  const auto stats = allocator_stats(where);
  if (json) {
    fmt::print(
        "{{\"seconds_median\": {:.6f}, \"seconds_min\": {:.6f}, \"images_per_second\": {:.3f}, \"batch\": "
        "{}, \"threads\": {}, "
        "\"peak_rss_gb\": {:.3f}, \"peak_tensors_gb\": {:.3f}}}\n",
        median, least, static_cast<double>(batch) / median, batch, cpu_threads(), gigabytes,
        static_cast<double>(stats.peak_in_use) / 1e9);
  } else {
    fmt::print(
        "{} parameters, batch {}, {} threads: median {:.3f} s, best {:.3f} s a step, {:.2f} images/s; peak "
        "{:.2f} GB "
        "({:.2f} GB of tensors)\n",
        student.parameter_count(), batch, cpu_threads(), median, least, static_cast<double>(batch) / median,
        gigabytes, static_cast<double>(stats.peak_in_use) / 1e9);
  }
  return 0;
}
