// Time of a training step (copy of the pixels, forward, backward, AdamW) of a student: images a second, share
// of the device's own matrix rate at the same shapes, memory, and what waiting for data adds.
//
//   build/tests/bench_train_step --batch 64 --steps 5                           the 21.4M student on the CPU
//   build/tests/bench_train_step --device cuda --precision bf16 --batch 2048 --steps 50
//   build/tests/bench_train_step --device cuda --precision bf16 --batch 2048 --data train.h5 --workers 12
//   build/tests/bench_train_step --data made.h5 --make 1000 data.augment=clip
//   build/tests/bench_train_step train.optimizer.name=muon train.objective.relational=1
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <unistd.h>

#include "data/loader.h"
#include "tensor/backend.h"
#include "tests/bench/made_up.h"
#include "tests/bench/products.h"
#include "tests/bench/profile.h"
#include "tests/bench/step.h"
#include "tests/bench/student.h"
#include "train/objective.h"
#include "train/setup.h"
#include "train/step.h"

namespace {

using namespace vitral;

// Batches of a dataset, epoch after epoch; a smaller last one is left out.
class Batches {
 public:
  Batches(const std::string& path, const train::Config& config, const models::Objective& objective,
          Device device)
      : loader_(train::open_training_data({path}, config, objective),
                train::loader_options(config, objective, device, true)),
        size_(config.train.batch_size) {
    VITRAL_CHECK(loader_.dataset().size() >= size_, "{}: holds {} images, a batch has {}", path,
                 loader_.dataset().size(), size_);
  }

  data::Inputs next() {
    for (;;) {
      auto batch = loader_.next();
      if (!batch)
        loader_.begin_epoch(++epoch_);
      else if (batch->size() == size_)
        return *batch;
    }
  }
  double waited() const { return loader_.wait_seconds(); }

 private:
  data::Loader loader_;
  std::int64_t size_, epoch_ = 0;
};

Tensor normal(const Shape& shape) {
  Tensor out = Tensor::pinned(shape);
  Random random(2);
  for (std::int64_t i = 0; i < out.numel(); ++i) out.data<float>()[i] = static_cast<float>(random.normal());
  return out;
}

data::Inputs noise(const train::Config& config, const models::Objective& objective) {
  const std::int64_t batch = config.train.batch_size, width = config.model.width;
  data::Inputs input{.images = bench::noise(batch, config.model.image_size),
                     .targets = normal({batch, width})};
  if (const std::int64_t grid = objective.places().grid; grid > 0)
    input.patch_targets = normal({batch, grid * grid, width});
  return input;
}

struct Arguments {
  train::Config config;
  int steps = 5, warmup = 4;
  bool json = false, profile = false;
  std::string data;
  std::int64_t make = 0, side = 256;
};

// Where a step's time goes.
void profile(const Arguments& a, train::TrainStep& step, const data::Inputs& batch) {
  bench::print_profile(a.warmup, a.steps, [&] {
    step.submit(batch, 1e-4);
    step.take();
  });
}

void run(const Arguments& a) {
  const train::Config& config = a.config;
  if (a.make > 0) bench::make_dataset(a.data, a.make, a.side, config.model.width);
  std::string note;
  const Device device = train::choose_device(config.train, note);
  std::vector<std::string> notes;
  const train::ProductsInUse products_in_use(train::open_products(config.train, device, alone(), notes));
  for (const auto& text : notes) std::fprintf(stderr, "bench_train_step: %s\n", text.c_str());
  const auto objective = train::make_objective(config);
  std::optional<train::TrainStep> step(std::in_place, *objective, config.train, device);
  const data::Inputs fixed = noise(config, *objective);
  if (a.profile) return profile(a, *step, fixed);
  bench::Measured m = bench::measure(
      *step, device, a.warmup, a.steps, [&] { return fixed; }, [] { return 0.0; });
  double exposed = 0;
  if (!a.data.empty()) {
    Batches batches(a.data, config, *objective, device);
    const bench::Measured with_data = bench::measure(
        *step, device, a.warmup, a.steps, [&] { return batches.next(); }, [&] { return batches.waited(); });
    exposed = std::max(0.0, 1 - m.median / with_data.median);
    const double first = m.first;  // of the process, which is no longer at its start
    m = with_data;
    m.first = first;
  }
  const double peak = static_cast<double>(allocator_stats(device).peak_in_use) / 1e9;
  const double reserved = static_cast<double>(allocator_stats(device).bytes_reserved) / 1e9;
  const double resident = bench::peak_resident_gb();  // before the products take memory of their own
  const DType dtype = step->compute_dtype();
  step.reset();
  release_cached(device);

  const double batch = config.train.batch_size, rate = batch / m.median,
               flops = bench::product_flops(config.model, bench::Products::training);
  const double products =
      bench::product_seconds(config.model, config.train.batch_size, bench::Products::training, dtype, device);
  const double share = products / m.median;
  const std::string name = backend(device.kind).name(device.index);
  if (a.json) {
    fmt::print(
        "{{\"seconds_median\": {:.6f}, \"seconds_min\": {:.6f}, \"images_per_second\": {:.3f}, \"batch\": "
        "{}, "
        "\"device\": \"{}\", \"precision\": \"{}\", \"threads\": {}, \"product_seconds\": {:.6f}, "
        "\"matrix_tflops\": {:.6f}, \"seconds_to_first\": {:.3f}, "
        "\"share_of_matrix_rate\": {:.4f}, \"peak_rss_gb\": {:.3f}, \"peak_tensors_gb\": {:.3f}, "
        "\"reserved_gb\": {:.3f}, \"data_wait\": {:.4f}, \"exposed_data_wait\": {:.4f}}}\n",
        m.median, m.min, rate, config.train.batch_size, name, config.train.precision, cpu_threads(), products,
        flops * batch / products / 1e12, m.first, share, resident, peak, reserved, m.data_wait, exposed);
    return;
  }
  fmt::print("{} parameters, batch {}, {}, {} ({} threads)\n", objective->model().parameter_count(),
             config.train.batch_size, config.train.precision, name, cpu_threads());
  fmt::print("  step              {:.4f} s median, {:.4f} s best: {:.1f} images/s\n", m.median, m.min, rate);
  fmt::print("  products alone    {:.4f} s, {:.3f} TFLOP/s: the step is at {:.1f} % of the matrix rate\n",
             products, flops * batch / products / 1e12, 100 * share);
  fmt::print("  first step        {:.2f} s after the start of the process\n", m.first);
  fmt::print("  memory            {:.2f} GB of tensors at the peak, {:.2f} GB reserved; {:.2f} GB resident\n",
             peak, reserved, resident);
  if (!a.data.empty())
    fmt::print("  data              waited {:.1f} % of the time, {:.1f} % slower than without\n",
               100 * m.data_wait, 100 * exposed);
}

train::Config with_overrides(const train::Config& config, const std::vector<std::string>& overrides) {
  const std::string file =
      fmt::format("{}/bench-{}.yaml", std::filesystem::temp_directory_path().string(), getpid());
  std::ofstream(file) << train::to_yaml(config);
  const auto out = train::load_config(file, overrides);
  std::filesystem::remove(file);
  return out;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times a training step of the student."};
  Arguments a;
  train::Config& config = a.config;
  std::vector<std::string> overrides;
  bench::add_options(app, config);
  app.add_option("--accumulate", config.train.accumulate)->capture_default_str();
  app.add_option("--steps", a.steps)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--warmup", a.warmup)->capture_default_str()->check(CLI::NonNegativeNumber);
  app.add_option("--data", a.data, "HDF5 dataset to train from, instead of one batch of noise");
  app.add_option("--make", a.make, "first write that dataset, with so many JPEG images");
  app.add_option("--side", a.side, "of their pixels")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--workers", config.data.workers, "threads that read it")->capture_default_str();
  app.add_flag("--json", a.json, "one JSON line");
  app.add_flag("--profile", a.profile, "instead: where a step's time goes, a JSON object a line");
  app.add_option("overrides", overrides, "any other key of a configuration: section.key=value");
  CLI11_PARSE(app, argc, argv);
  try {
    if (!overrides.empty()) config = with_overrides(config, overrides);
    run(a);
  } catch (const Error& e) {
    std::fprintf(stderr, "bench_train_step: %s\n", e.what());
    return 1;
  }
  return 0;
}
