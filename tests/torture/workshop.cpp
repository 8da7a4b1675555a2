#include "tests/torture/workshop.h"

#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "data/images/image.h"
#include "tests/models/tiny_clip.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::torture {

namespace fs = std::filesystem;

Workshop::Workshop(Tools t, std::string f) : tools(std::move(t)), folder(std::move(f)) {
  fs::create_directories(*this / "photos");
  test::put_file(*this / "config.yaml",
                 "model: {image_size: 64, patch_size: 16, width: 64, layers: 1, heads: 2}\n"
                 "data: {train: [train.h5], val: [val.h5], workers: 2}\n"
                 "train: {batch_size: 30, epochs: 10, checkpoint_every: 4, keep: 2, log_every: 1,\n"
                 "        device: cpu, output: run}\n");
  run({.arguments = {"shapes", "-o", ".", "--train", "90", "--val", "12"}});
  run({.arguments = {"train", "config.yaml"}});
  for (int i = 0; i < 8; ++i) {
    const Tensor image = test::noise_image(24 + i, 40 - i, i);
    test::put_file(*this / fmt::format("photos/{}.{}", i, i % 2 ? "png" : "jpg"),
                   i % 2 ? data::encode_png(image) : data::encode_jpeg(image, 90));
  }
  run({.arguments = {"pack", "photos", "-o", "plain.h5", "--size", "64"}});
  run({.arguments = {"convert", "run", "student.safetensors"}});
  test::write_tiny_clip(*this / "teacher", 64);
}

Result Workshop::run(const Command& command) const {
  const Result result = Program(tools, folder, command).wait();
  if (result.status != 0)
    throw_error("the undisturbed command fails:\n  {}\n  exit status {}: {}", shell_line(command),
                result.status, result.err);
  return result;
}

}  // namespace vitral::torture
