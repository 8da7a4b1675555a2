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
  test::put_file(
      *this / "short.yaml",
      "model: {image_size: 64, patch_size: 16, width: 64, layers: 1, heads: 2}\n"
      "data: {train: [val.h5], val: [val.h5], workers: 1}\n"
      "train: {batch_size: 6, epochs: 2, checkpoint_every: 1, keep: 2, log_every: 1, device: cpu,\n"
      "        output: run}\n");
  run({.arguments = {"shapes", "-o", ".", "--train", "90", "--val", "12"}});
  run({.arguments = {"train", "config.yaml"}});
  run({.arguments = {"train", "short.yaml", "train.output=half", "train.epochs=1"}});
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

void copy_with_times(const std::string& from, const std::string& to) {
  if (fs::is_directory(from)) {
    fs::create_directories(to);
    for (const auto& entry : fs::directory_iterator(from))
      copy_with_times(entry.path(), to + "/" + entry.path().filename().string());
    return;
  }
  fs::copy(from, to, fs::copy_options::overwrite_existing | fs::copy_options::copy_symlinks);
  if (fs::is_regular_file(to)) fs::last_write_time(to, fs::last_write_time(from));
}

}  // namespace vitral::torture
