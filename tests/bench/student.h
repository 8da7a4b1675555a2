// The student that the programs of this folder time, and pictures for it.
#pragma once
#include <algorithm>

#include <CLI/CLI.hpp>

#include "base/random.h"
#include "tensor/tensor.h"
#include "train/config.h"

namespace vitral::bench {

inline void set_fields(models::StudentConfig& config, const std::vector<std::string>& settings) {
  for (const std::string& setting : settings) {
    const std::size_t equals = std::min(setting.find('='), setting.size());
    const auto& fields = models::student_fields();
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&](const auto& f) { return f.name == setting.substr(0, equals); });
    if (field == fields.end() || equals == setting.size())
      throw CLI::ValidationError("--model", setting + " is no FIELD=VALUE of a student");
    try {
      with_yaml(setting.substr(equals + 1), [&](const YAML::Node& node) { field->read(node, config); });
    } catch (const BadValue& bad) {
      throw CLI::ValidationError("--model", field->name + " " + bad.text);
    }
  }
}

/// Options for the student's sizes (default: the real model's), the batch, the device and the precision: one
/// of training's, or of others that a program knows.
inline void add_options(CLI::App& app, train::Config& config, std::vector<std::string> precisions = {}) {
  config.train.device = "cpu";
  config.data.augment = {};
  const auto add = [&](const char* name, auto& value) {
    app.add_option(name, value)->capture_default_str()->check(CLI::PositiveNumber);
  };
  add("--batch", config.train.batch_size);
  add("--image", config.model.image_size);
  add("--patch", config.model.patch_size);
  add("--width", config.model.width);
  add("--heads", config.model.heads);
  add("--layers", config.model.layers);
  app.add_option_function<std::vector<std::string>>(
      "--model", [&config](const std::vector<std::string>& settings) { set_fields(config.model, settings); },
      "other fields of the model, FIELD=VALUE ...");
  app.add_option("--device", config.train.device)->capture_default_str();
  precisions.insert(precisions.begin(), {"fp32", "tf32", "bf16"});
  app.add_option("--precision", config.train.precision)
      ->capture_default_str()
      ->check(CLI::IsMember(std::move(precisions)));
}

/// uint8 [B,S,S,3], pinned: random bytes for the first image; others are this one from another place on.
inline Tensor noise(std::int64_t batch, std::int64_t size) {
  Tensor images = Tensor::pinned({batch, size, size, 3}, DType::uint8);
  Random random(1);
  std::uint8_t* pixels = images.data<std::uint8_t>();
  const std::int64_t image = size * size * 3;
  for (std::int64_t i = 0; i < image; ++i) pixels[i] = static_cast<std::uint8_t>(random.next());
  for (std::int64_t b = 1; b < batch; ++b)
    std::rotate_copy(pixels, pixels + (b * 7919) % image, pixels + image, pixels + b * image);
  return images;
}

}  // namespace vitral::bench
