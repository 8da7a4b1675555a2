// `vitral teach` in a folder with a teacher made up on the spot, and training on what it stores.
#pragma once
#include "tests/cli/small_run.h"
#include "tests/models/tiny_clip.h"

namespace vitral::test {

/// train.h5, clip.safetensors, its config.json, and a config.yaml of a small student that sees augmented
/// images.
class TeachRun : public testing::Test {
 protected:
  explicit TeachRun(const models::ImageTowerConfig& teacher) {
    write_image_tower(folder_.str(), teacher);
    std::ofstream(config())
        << "model: {image_size: 64, patch_size: 16, width: 16, layers: 1, heads: 2}\n"
        << "data: {train: [" << file() << "], val: [], workers: 2,\n"
        << "       augment: {resize: 80, brightness: 0.3, flip: 0.5, random_crop: true}}\n"
        << "train: {batch_size: 8, epochs: 1, log_every: 1, device: cpu, seed: 5,\n"
        << "        scheduler: {name: constant}, output: " << folder_ / "run"
        << "}\n";
  }

  std::string operator/(const std::string& name) const { return folder_ / name; }
  std::string clip() const { return folder_ / "clip.safetensors"; }
  std::string clip_config() const { return folder_ / "config.json"; }
  std::string file() const { return folder_ / "train.h5"; }
  std::string config() const { return folder_ / "config.yaml"; }
  void write_images(std::int64_t count, bool with_embeddings = false) const {
    write_dataset(file(), count, [=](Tensor& embeddings) {
      if (!with_embeddings) embeddings = {};
    });
  }
  Program::Arguments arguments(const Program::Arguments& more = {}) const {
    Program::Arguments out{"teach", file(), "--teacher", clip(), "--device", "cpu"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  Result teach(const Program::Arguments& more = {}) const { return run(arguments(more)); }
  Result train(const Program::Arguments& more) const {
    Program::Arguments out{"train", config()};
    out.insert(out.end(), more.begin(), more.end());
    return run(out);
  }

  TempDir folder_;
};

}  // namespace vitral::test
