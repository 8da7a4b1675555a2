#include "cli/calibration.h"

#include <cstring>
#include <memory>

#include "cli/common.h"
#include "cli/print.h"
#include "data/image_source.h"
#include "data/images/transform.h"

namespace vitral::cli {

models::ImageBatches calibration_images(const std::vector<std::string>& inputs, int size) {
  const auto source = std::make_shared<const data::ImageSource>(data::ImageSource::open(inputs));
  report_left_out(source->left_out());
  return [source, size, reported = std::make_shared<bool>(false)](const auto& take) {
    constexpr std::int64_t at_once = 16;
    Tensor batch({at_once, size, size, 3}, DType::uint8);
    std::int64_t filled = 0, taken = 0;
    std::vector<data::SkippedFile> skipped;
    const auto flush = [&] {
      if (filled > 0) take(batch.rows(0, filled));
      taken += std::exchange(filled, 0);
    };
    const auto progress = terminal_counter("calibrated");
    data::for_each_image(
        *source,
        [&](std::int64_t i, const Tensor& image) {
          batch.rows(filled, filled + 1)
              .copy_from(data::validation_transform(image, size).reshape({1, size, size, 3}));
          if (++filled == at_once) flush();
          if (progress) progress(i + 1, source->size());
        },
        [&](const data::SkippedFile& file) { skipped.push_back(file); });
    flush();
    if (taken == 0) throw_error("{}: none of the images decodes, nothing to calibrate with", source->path());
    if (!std::exchange(*reported, true)) report_skipped(skipped, source->size());
  };
}

nlohmann::ordered_json json_of(const models::Int8Student& student) {
  const models::Int8Drift& d = student.drift;
  return {{"images", d.images},
          {"smoothing", student.smoothing},
          {"embedding_cosine", {{"mean", d.embedding}, {"least", d.least_embedding}}},
          {"patch_cosine", {{"mean", d.patch}, {"least", d.least_patch}}},
          {"best_patch_agrees", d.best_patch}};
}

void print(const models::Int8Student& student) {
  const models::Int8Drift& d = student.drift;
  fmt::print("int8 beside the weights it is made of, on {} images, smoothing {}:\n", d.images,
             student.smoothing == 0 ? "none" : fmt::format("{}", student.smoothing));
  fmt::print("  cosine of embeddings        mean {:.5f}, least {:.5f}\n", d.embedding, d.least_embedding);
  fmt::print("  cosine of patch embeddings  mean {:.5f}, least {:.5f}\n", d.patch, d.least_patch);
  fmt::print("  best patch agrees           {:.4f}\n", d.best_patch);
}

}  // namespace vitral::cli
