#include "train/setup.h"

#include "tensor/ops/gemm.h"

namespace vitral::train {

Device choose_device(const TrainConfig& config, std::string& note) {
  std::string why;
  const Device device = parse_device(config.device, &why);
  if (!why.empty()) note = "train.device auto: training on the CPU, " + why;
  if (!device.is_cpu()) return device;
  const std::string reason = why.empty() ? "" : " (" + why + ")";
  VITRAL_CHECK(config.precision != "tf32", "train.precision: tf32 needs a GPU, on the CPU choose fp32{}",
               reason);
  VITRAL_CHECK(
      config.precision != "bf16" || cpu_has_bfloat16(),
      "train.precision: bf16 needs a GPU, or a processor with AVX512_BF16 or AMX in a build with oneDNN; "
      "choose fp32{}",
      reason);
  return device;
}

data::Dataset open_training_data(const std::vector<std::string>& paths, const Config& config) {
  data::Dataset dataset = data::Dataset::open(paths);
  if (!config.teacher.weights.empty()) return dataset;
  const ModelConfig& model = config.model;
  dataset.require_embeddings();
  VITRAL_CHECK(dataset.width() == model.width,
               "{}: /embeddings are {} wide, model.width is {}; embed with the teacher that fits, or set "
               "model.width={}",
               paths.front(), dataset.width(), model.width, dataset.width());
  return dataset;
}

data::LoaderOptions loader_options(const Config& config, Device device, bool training) {
  data::LoaderOptions options;
  options.batch_size = config.train.batch_size;
  options.image_size = config.model.image_size;
  options.augment = training ? config.data.augment : data::AugmentConfig{};
  options.training = training;
  options.shuffle = training && config.data.shuffle;
  options.seed = static_cast<std::uint64_t>(config.train.seed);
  options.workers = config.data.workers;
  // A GPU copies pinned memory while the host goes on, and crops and mirrors as it reads the pixels.
  options.pinned = options.defer_crop = !device.is_cpu();
  if (!config.teacher.weights.empty()) {
    options.targets = false;
    options.defer_crop = false;  // the teacher reads what the student sees
  }
  return options;
}

}  // namespace vitral::train
