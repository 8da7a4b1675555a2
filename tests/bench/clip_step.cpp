// Time of a training step (copy of pixels and tokens, both towers forward and backward, AdamW) of a CLIP, by
// default that of configs/scenes-clip.yaml. Prints one JSON line; compare_clip_step.py has PyTorch beside it.
//
//   build/tests/bench_clip_step --steps 20
//   build/tests/bench_clip_step --device cuda --precision bf16 --batch 4096 --image 224 --patch 32 --width
//   512
//       --vision 768 12 12 --text 512 12 8 --context 77 --vocabulary 49408
#include <array>
#include <cstdio>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "models/clip/contrastive.h"
#include "tensor/backend.h"
#include "tests/bench/step.h"
#include "tests/bench/student.h"
#include "train/setup.h"

namespace {

using namespace vitral;

struct Arguments {
  models::ClipConfig model;
  train::TrainConfig train;
  std::array<int, 3> vision{192, 5, 3}, text{128, 3, 2};
  int steps = 20, warmup = 4, longest = 14;
};

models::ClipTowerShape shape_of(const std::array<int, 3>& numbers) {
  return {.width = numbers[0], .layers = numbers[1], .heads = numbers[2]};
}

// Captions of different lengths, the longest among them.
data::Inputs noise(const Arguments& a) {
  const std::int64_t batch = a.train.batch_size, context = a.model.text.context,
                     vocabulary = a.model.text.vocabulary_size,
                     longest = std::min<std::int64_t>(a.longest, context);
  data::Inputs out;
  out.images = bench::noise(batch, a.model.image_size);
  out.tokens = Tensor::pinned({batch, context}, DType::int64);
  out.tokens.fill(-1);
  Random random(3);
  for (std::int64_t i = 0; i < batch; ++i) {
    auto* row = out.tokens.data<std::int64_t>() + i * context;
    const std::int64_t length = longest - i % std::max<std::int64_t>(1, longest / 2);
    row[0] = vocabulary - 2;
    for (std::int64_t k = 1; k < length - 1; ++k)
      row[k] = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(vocabulary) - 2));
    row[length - 1] = vocabulary - 1;
  }
  return out;
}

void run(Arguments& a) {
  a.model.vision = shape_of(a.vision);
  static_cast<models::ClipTowerShape&>(a.model.text) = shape_of(a.text);
  std::string note;
  const Device device = train::choose_device(a.train, note);
  models::Contrastive objective(a.model);
  train::TrainStep step(objective, a.train, device);
  const data::Inputs inputs = noise(a);
  const bench::Measured m = bench::measure(
      step, device, a.warmup, a.steps, [&] { return inputs; }, [] { return 0.0; });
  fmt::print(
      "{{\"seconds_median\": {:.6f}, \"seconds_min\": {:.6f}, \"images_per_second\": {:.3f}, \"batch\": {}, "
      "\"parameters\": {}, \"device\": \"{}\", \"precision\": \"{}\", \"threads\": {}, "
      "\"seconds_to_first\": {:.3f}, \"peak_rss_gb\": {:.3f}}}\n",
      m.median, m.min, a.train.batch_size / m.median, a.train.batch_size, objective.model().parameter_count(),
      backend(device.kind).name(device.index), a.train.precision, cpu_threads(), m.first,
      bench::peak_resident_gb());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times a training step of a CLIP."};
  Arguments a;
  a.train.batch_size = 128;
  a.train.device = "cpu";
  a.model.image_size = 96;
  a.model.patch_size = 16;
  a.model.width = 96;
  a.model.text.context = 24;
  a.model.text.vocabulary_size = 2000;
  const auto add = [&](const char* name, auto& value, const char* what) {
    app.add_option(name, value, what)->capture_default_str()->check(CLI::PositiveNumber);
  };
  add("--batch", a.train.batch_size, "pairs");
  add("--accumulate", a.train.accumulate, "micro-batches");
  add("--image", a.model.image_size, "pixels a side");
  add("--patch", a.model.patch_size, "pixels a side");
  add("--width", a.model.width, "of the embeddings");
  add("--vision", a.vision, "width, layers and heads of the image tower");
  add("--text", a.text, "the same of the text tower");
  add("--context", a.model.text.context, "tokens of a row");
  add("--longest", a.longest, "tokens of the longest caption; the shortest has half of them");
  add("--vocabulary", a.model.text.vocabulary_size, "tokens that there are");
  add("--steps", a.steps, "timed");
  app.add_option("--warmup", a.warmup)->capture_default_str()->check(CLI::NonNegativeNumber);
  app.add_option("--device", a.train.device)->capture_default_str();
  app.add_option("--precision", a.train.precision, "fp32, tf32 or bf16")
      ->capture_default_str()
      ->check(CLI::IsMember({"fp32", "tf32", "bf16"}));
  CLI11_PARSE(app, argc, argv);
  try {
    run(a);
  } catch (const Error& e) {
    std::fprintf(stderr, "bench_clip_step: %s\n", e.what());
    return 1;
  }
  return 0;
}
