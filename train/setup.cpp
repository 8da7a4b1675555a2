#include "train/setup.h"

#include <filesystem>

#include "base/files/atomic.h"
#include "base/files/input_file.h"
#include "models/precision.h"
#include "tensor/backend.h"
#include "train/exchange.h"

namespace vitral::train {

Device choose_device(const TrainConfig& config, std::string& note, const Group& group) {
  VITRAL_CHECK(group.is_one() || !config.device.starts_with("cuda:"),
               "train.device: {} cannot be that of {} processes, each has its own; set cuda or auto",
               config.device, group.size());
  std::string why;
  const Device device = parse_device(config.device, &why);
  if (!why.empty()) note = "train.device auto: training on the CPU, " + why;
  models::check_precision(config.precision, device, "train.precision", why);
  return device;
}

std::shared_ptr<ProductFile> open_products(const TrainConfig& config, Device device, Group& group,
                                           std::vector<std::string>& notes) {
  const std::string& path = config.products;
  if (path.empty()) return nullptr;
  if (device.is_cpu()) {
    notes.push_back(
        fmt::format("train.products: on the CPU there is nothing to choose, {} is not read", path));
    return nullptr;
  }
  const bool measures = group.is_one();
  // A file that cannot be made is better known now than after the first products.
  if (measures && !std::filesystem::exists(file_status(path))) write_file_atomic(path, "");
  std::string text = group.is_first() ? read_product_file(path) : "";
  if (!measures) text = broadcast(group, text);
  auto products = std::make_shared<ProductFile>(path, text, backend(device.kind).multiplier(device.index),
                                                measures           ? ProductFile::Missing::measure
                                                : group.is_first() ? ProductFile::Missing::tell
                                                                   : ProductFile::Missing::silent);
  if (products->other_lines() > 0)
    notes.push_back(
        fmt::format("train.products: {}: {} of its lines are of other GPUs or libraries than {}; "
                    "they stay and are not used",
                    path, products->other_lines(), products->multiplier()));
  if (!measures && products->own_lines() == 0)
    notes.push_back(fmt::format(
        "train.products: {}: has no line of {}, and several processes measure nothing; let one process "
        "measure before, with train.slices={} and train.max_steps=1",
        path, products->multiplier(), slices_of(config, group)));
  return products;
}

namespace {

/// The targets that batches need from the data.
std::vector<data::Target> wanted_targets(const Config& config, const models::Objective& objective) {
  std::vector<data::Target> out;
  if (!config.teacher.weights.empty() || objective.target_width() == 0) return out;
  out.push_back(data::Target::image);
  const models::Places places = objective.places();
  if (places.regions.defined()) out.push_back(data::Target::regions);
  if (places.grid > 0) out.push_back(data::Target::patches);
  return out;
}

void check_places(const data::Dataset& dataset, const models::Places& places) {
  const std::string& path = dataset.paths().front();
  if (places.regions.defined() && dataset.region_boxes().to_vector() != places.regions.to_vector())
    throw_error<UsageError>(
        "{}: its /regions/boxes are other ones than those of the training data; teach both with "
        "the same --regions",
        path);
  if (places.grid == 0) return;
  const std::int64_t patches = dataset.target_shape(data::Target::patches)[0];
  if (patches != std::int64_t{places.grid} * places.grid)
    throw_error<UsageError>(
        "{}: /patches/embeddings are of {} patches, the student has {} x {}; write them with "
        "vitral teach --patches --grid {}",
        path, patches, places.grid, places.grid, places.grid);
}

// A CLIP compares an image with the captions of others.
void check_captions(const data::Dataset& dataset) {
  int found = 0;
  for (std::int64_t i = 0; i < dataset.size() && found < 2; ++i) found += !dataset.captions(i).empty();
  if (found < 2)
    throw_error<UsageError>(
        "{}: {} of its images has a caption, and a CLIP compares two or more; pack it with --captions FILE",
        dataset.paths().front(), found == 0 ? "none" : "one");
}

}  // namespace

data::Dataset open_training_data(const std::vector<std::string>& paths, const Config& config,
                                 const models::Objective& objective) {
  const auto wanted = wanted_targets(config, objective);
  data::Dataset dataset = data::Dataset::open(
      paths, {.images = config.data.images, .embeddings = config.data.embeddings}, wanted);
  dataset.set_exif(data::exif_of(config.data.exif));
  if (objective.captions().tokenizer && dataset.has_captions()) check_captions(dataset);
  if (wanted.empty()) return dataset;
  VITRAL_CHECK(dataset.width() == objective.target_width(),
               "{}: /embeddings are {} wide, model.width is {}; embed with the teacher that fits, or set "
               "model.width={}",
               paths.front(), dataset.width(), objective.target_width(), dataset.width());
  check_places(dataset, objective.places());
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
  options.targets = wanted_targets(config, objective);
  options.captions = objective.captions();
  options.seed = static_cast<std::uint64_t>(config.train.seed);
  options.workers = config.data.workers;
  if (training) {
    options.slices = slices_of(config.train, group);
    options.first_slice = options.slices / group.size() * group.rank();
    options.last_slice = options.slices / group.size() * (group.rank() + 1);
  } else {
    options.stride = group.size();
  }
  // A GPU copies pinned memory while the host goes on, and augments what it got; a teacher reads what the
  // student sees.
  options.pinned = !device.is_cpu();
  options.defer_augmentation = options.pinned && config.teacher.weights.empty();
  return options;
}

}  // namespace vitral::train
