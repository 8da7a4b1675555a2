// Lesson 10: a training run. One batch overfitted, the norm of the gradient by hand, learning rates swept
// (10_rates.svg), schedules (10_schedules.svg), and a run that goes on from a checkpoint with equal bits.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <omp.h>

#include "data/benchmarks/shapes.h"
#include "models/student/distillation.h"
#include "train/schedule.h"
#include "train/step.h"
#include "train/trainer.h"

using namespace vitral;

namespace {

int failures = 0;
void expect(bool holds, const std::string& what) {
  if (!holds) fmt::print("does not hold: {}\n", what), ++failures;
}

// 16 patches of 16 x 16 pixels, one block: small enough for hundreds of steps in a second.
const models::StudentConfig small{.image_size = 64, .patch_size = 16, .width = 64, .layers = 1, .heads = 8};
constexpr std::int64_t batch_size = 16;

// count samples of the shapes benchmark: uint8 [count,64,64,3], float32 [count,64].
data::Inputs make_samples(data::Split split, std::int64_t count) {
  data::Inputs out{Tensor({count, 64, 64, 3}, DType::uint8), Tensor({count, 64})};
  for (std::int64_t k = 0; k < count; ++k) {
    const data::ShapesSample sample = data::make_shapes_sample(0, split, k);
    out.images.rows(k, k + 1).copy_from(sample.image.reshape({1, 64, 64, 3}));
    out.targets.rows(k, k + 1).copy_from(sample.embedding.reshape({1, 64}));
  }
  return out;
}

// --- one batch, again and again ---

double overfit(const data::Inputs& batch, const std::string& what) {
  models::Distillation objective(small);
  train::TrainConfig config;
  config.batch_size = batch_size;
  train::TrainStep step(objective, config, cpu);
  fmt::print("{:<22}", what);
  double loss = 0;
  for (int i = 1; i <= 200; ++i) {
    loss = step.run(batch, 3e-3).loss;
    if (i == 1 || i % 100 == 0) fmt::print("  step {:3}: {:.3f}", i, loss);
  }
  fmt::print("\n");
  return loss;
}

void overfit_one_batch() {
  const data::Inputs batch = make_samples(data::Split::train, batch_size);
  data::Inputs blank = batch, shifted = batch;
  blank.images = Tensor::zeros(batch.images.shape(), DType::uint8);
  shifted.targets = batch.targets.clone();  // each image with the answer of another
  for (std::int64_t k = 0; k < batch_size; ++k)
    shifted.targets.rows(k, k + 1).copy_from(
        batch.targets.rows((k + 1) % batch_size, (k + 1) % batch_size + 1));
  fmt::print("one batch of {}, the loss\n", batch_size);
  const double right = overfit(batch, "  images and answers"),
               wrong = overfit(shifted, "  answers exchanged"), none = overfit(blank, "  black images");
  expect(right < 0.5, "a network that can learn learns one batch by heart");
  expect(wrong < 0.5, "it learns wrong answers by heart, too");
  expect(none > 1, "it cannot where its input says nothing");
}

// --- the norm of all gradients ---

// sqrt of the sum of squares of every element of every gradient.
double naive_norm(const std::vector<std::vector<double>>& gradients) {
  double squares = 0;
  for (const auto& gradient : gradients)
    for (const double g : gradient) squares += g * g;
  return std::sqrt(squares);
}

void compare_norm() {
  const data::Inputs batch = make_samples(data::Split::train, batch_size);
  models::Distillation objective(small);
  models::loss_of(objective.terms(batch, DType::float32, {})).backward();
  std::vector<std::vector<double>> gradients;
  for (const auto& p : objective.model().parameters())
    if (p.value->grad().defined()) gradients.push_back(p.value->grad().to_vector());
  const double naive = naive_norm(gradients);

  models::Distillation same(small);
  train::TrainConfig config;
  config.batch_size = batch_size;
  const double real = train::TrainStep(same, config, cpu).run(batch, 1e-3).gradient_norm;
  fmt::print("norm of {} gradients together: {:.5f} by hand, {:.5f} by the step\n", gradients.size(), naive,
             real);
  expect(std::abs(naive - real) < 1e-9 * real, "the norm by hand is the step's");
}

// --- learning rates, swept ---

// Warm-up, then a cosine down to 0: the rate of step t of T, the first w of which rise.
double warmup_cosine(std::int64_t t, std::int64_t T, std::int64_t w, double peak) {
  if (t < w) return peak * static_cast<double>(t + 1) / static_cast<double>(w);
  const double part = static_cast<double>(t - w) / static_cast<double>(T - w);
  return peak * (1 + std::cos(M_PI * part)) / 2;
}

// The loss on all of `data` after some passes over it.
double loss_after(const data::Inputs& data, double peak, bool scheduled) {
  constexpr std::int64_t steps = 120;
  models::Distillation objective(small);
  train::TrainConfig config;
  config.batch_size = batch_size;
  train::TrainStep step(objective, config, cpu);
  for (std::int64_t t = 0; t < steps; ++t) {
    const std::int64_t first = t * batch_size % data.images.dim(0);
    step.run(data.rows(first, first + batch_size), scheduled ? warmup_cosine(t, steps, 20, peak) : peak, t);
  }
  return objective.measure(data, DType::float32)[0] / static_cast<double>(data.images.dim(0));
}

const char* const svg_head =
    R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 690 300" font-family="sans-serif" font-size="14"><rect width="690" height="300" fill="white"/>
)";

void sweep(const std::string& path) {
  const data::Inputs data = make_samples(data::Split::train, 64);
  std::string lines[2], ticks;
  std::vector<double> losses[2];
  fmt::print("rate      constant   warm-up and cosine\n");
  for (int k = 0; k <= 10; ++k) {
    const double rate = std::pow(10, -5 + k * 0.5);
    for (const int scheduled : {0, 1}) {
      losses[scheduled].push_back(loss_after(data, rate, scheduled == 1));
      lines[scheduled] += fmt::format("{},{:.1f} ", 60 + 54 * k, 250 - 75 * losses[scheduled].back());
    }
    fmt::print("{:<8.1e} {:9.2f} {:20.2f}\n", rate, losses[0].back(), losses[1].back());
    if (k % 2 == 0) ticks += fmt::format("<text x=\"{}\" y=\"272\">1e{}</text>\n", 60 + 54 * k, -5 + k / 2);
  }
  for (const auto& l : losses) {
    const auto best = std::min_element(l.begin(), l.end());
    expect(best != l.begin() && best != l.end() - 1, "the best rate is neither the lowest nor the highest");
  }
  std::ofstream(path)
      << svg_head
      << R"(<path d="M60 100H600M60 175H600" stroke="#ddd"/><path d="M60 20V250H610" stroke="#333" fill="none"/>
<g fill="#333" text-anchor="middle">)"
      << ticks
      << R"(<text x="330" y="294">learning rate</text><text x="45" y="105">2</text><text x="45" y="180">1</text><text x="45" y="255">0</text></g><text x="75" y="18" fill="#333">loss on the 64 images after 120 steps</text><g fill="none" stroke-width="2.5">
<polyline stroke="#c0392b" points=")"
      << lines[0] << R"("/><polyline stroke="#2c7fb8" points=")" << lines[1]
      << R"("/></g><text x="450" y="50" fill="#c0392b">constant</text><text x="450" y="72" fill="#2c7fb8">warm-up, then cosine</text></svg>
)";
}

// --- schedules ---

void draw_schedules(const std::string& path) {
  constexpr std::int64_t steps = 200;
  const auto cosine = train::make_schedule({.name = "cosine", .min_lr = 0, .warmup_steps = 20}, 1e-3, steps);
  const auto one_cycle = train::make_schedule({.name = "one_cycle"}, 1e-3, steps);
  const auto constant = train::make_schedule({.name = "constant", .warmup_steps = 20}, 1e-3, steps);
  const auto plateau = train::make_schedule({.name = "reduce_on_plateau"}, 1e-3, steps);
  std::string lines[4];
  double largest = 0;
  for (std::int64_t t = 0; t < steps; ++t) {
    largest = std::max(largest, std::abs(cosine->lr(t) - warmup_cosine(t, steps, 20, 1e-3)));
    if (t % 20 == 0)
      plateau->on_validation(t < 80 ? 3.0 - 0.02 * static_cast<double>(t) : 1.4);  // no progress after
    int which = 0;
    for (const auto* s : {&cosine, &one_cycle, &constant, &plateau})
      lines[which++] +=
          fmt::format("{:.1f},{:.1f} ", 60 + 2.7 * static_cast<double>(t), 250 - 2e5 * (*s)->lr(t));
  }
  fmt::print("warm-up and cosine by hand differ from the schedule by less than 1e-18: {}\n",
             largest < 1e-18 ? "yes" : "no");
  expect(largest < 1e-18, "the cosine by hand is the schedule's");
  std::ofstream svg(path);
  svg << svg_head
      << R"(<path d="M60 20V250H610" stroke="#333" fill="none"/><g fill="#333"><text x="300" y="285">step</text><text x="16" y="55">peak</text>
<text x="45" y="254">0</text></g><g fill="none" stroke-width="2.5">)";
  const char* colours[] = {"#2c7fb8", "#c0392b", "#888", "#2a9d5c"};
  for (int which = 0; which < 4; ++which)
    svg << fmt::format("<polyline stroke=\"{}\" points=\"{}\"/>\n", colours[which], lines[which]);
  svg << R"(</g><text x="330" y="240" fill="#2c7fb8">cosine</text><text x="110" y="215" fill="#c0392b">one_cycle</text>
<text x="520" y="42" fill="#888">constant</text><text x="430" y="140" fill="#2a9d5c">reduce_on_plateau</text></svg>
)";
}

// --- a run that goes on ---

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void resume(const std::string& folder, std::FILE* log) {
  data::write_shapes(folder + "/train.h5", 96, 0, data::Split::train);
  train::Config config;
  static_cast<models::StudentConfig&>(config.model) = small;
  config.data.train = {folder + "/train.h5"};
  config.data.val = {};
  config.data.augment = {.brightness = 0.2F, .flip = 0.5F};
  config.train.batch_size = batch_size;  // 6 steps an epoch
  config.train.epochs = 3;
  config.train.device = "cpu";
  config.train.scheduler.name = "one_cycle";
  config.train.checkpoint_every = 8;  // in the middle of epoch 2
  config.train.keep = 10;
  config.train.output = folder + "/whole";
  const train::RunSummary whole = train::train(config, "", log);
  config.train.output = folder + "/resumed";
  const train::RunSummary resumed = train::train(config, folder + "/whole/checkpoints/step-000000008", log);
  fmt::print("a run of {} steps, and {} steps from the checkpoint of step 8\n", whole.steps_now,
             resumed.steps_now);
  for (const char* name : {"model.safetensors", "optimizer.safetensors"}) {
    const auto bytes = [&](const char* run) {
      return bytes_of(fmt::format("{}/{}/checkpoints/step-000000018/{}", folder, run, name));
    };
    const std::string a = bytes("whole"), b = bytes("resumed");
    fmt::print("  {:<22} {} bytes, equal: {}\n", name, a.size(), a == b ? "yes" : "no");
    expect(!a.empty() && a == b, "a resume gives the same bytes");
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : ".";
  omp_set_num_threads(1);  // these networks are so small that waking other threads costs more than they do
  overfit_one_batch();
  compare_norm();
  sweep(folder + "/10_rates.svg");
  draw_schedules(folder + "/10_schedules.svg");
  std::string name = (std::filesystem::temp_directory_path() / "vitral-course-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) return 1;
  std::FILE* log = std::fopen((name + "/log").c_str(), "w");
  resume(name, log);
  std::fclose(log);
  std::filesystem::remove_all(name);
  return failures > 0 ? 1 : 0;
}
