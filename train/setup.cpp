#include "train/setup.h"

#include "tensor/ops/gemm.h"
#include "train/exchange.h"

namespace vitral::train {

Device choose_device(const TrainConfig& config, std::string& note, const Group& group) {
  VITRAL_CHECK(group.is_one() || !config.device.starts_with("cuda:"),
               "train.device: {} cannot be that of {} processes, each has its own; set cuda or auto",
               config.device, group.size());
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

namespace {

/// Whether batches need targets from the data.
bool wants_targets(const Config& config, const models::Objective& objective) {
  return config.teacher.weights.empty() && objective.target_width() > 0;
}

}  // namespace

data::Dataset open_training_data(const std::vector<std::string>& paths, const Config& config,
                                 const models::Objective& objective) {
  data::Dataset dataset =
      data::Dataset::open(paths, {.images = config.data.images, .embeddings = config.data.embeddings});
  dataset.set_exif(data::exif_of(config.data.exif));
  if (!wants_targets(config, objective)) return dataset;
  dataset.require_embeddings();
  VITRAL_CHECK(dataset.width() == objective.target_width(),
               "{}: /embeddings are {} wide, model.width is {}; embed with the teacher that fits, or set "
               "model.width={}",
               paths.front(), dataset.width(), objective.target_width(), dataset.width());
  return dataset;
}

data::LoaderOptions loader_options(const Config& config, const models::Objective& objective, Device device,
                                   bool training, const Group& group) {
  data::LoaderOptions options;
  options.batch_size = config.train.batch_size;
  options.image_size = objective.image_size();
  options.augment = training ? config.data.augment : data::AugmentConfig{};
  options.training = training;
  options.shuffle = training && config.data.shuffle;
  options.targets = wants_targets(config, objective);
  options.seed = static_cast<std::uint64_t>(config.train.seed);
  options.workers = config.data.workers;
  if (training) {
    options.slices = slices_of(config.train, group);
    options.first_slice = options.slices / group.size() * group.rank();
    options.last_slice = options.slices / group.size() * (group.rank() + 1);
  } else {
    options.stride = group.size();
  }
  // A GPU copies pinned memory while the host goes on, and crops and mirrors as it reads the pixels; a
  // teacher reads what the student sees.
  options.pinned = !device.is_cpu();
  options.defer_crop = options.pinned && config.teacher.weights.empty();
  return options;
}

}  // namespace vitral::train
