#include "infer/embed_files.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include <unistd.h>

#include "data/hdf5.h"
#include "data/image.h"
#include "data/transform.h"

namespace vitral::infer {
namespace {

// Removes a file that was not finished.
class Unfinished {
 public:
  explicit Unfinished(std::string path) : path_(std::move(path)) {}
  ~Unfinished() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove(path_, ignored);
  }
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;
  void finish(const std::string& name) {
    std::error_code problem;
    std::filesystem::rename(path_, name, problem);
    if (problem) throw_error("{}: cannot be written: {}", name, problem.message());
    path_.clear();
  }

 private:
  std::string path_;
};

}  // namespace

EmbedSummary embed_files(const Encoder& encoder, const std::vector<data::PackSource>& images,
                         const EmbedOptions& options) {
  const nn::StudentConfig& config = encoder.config();
  const std::int64_t size = config.image_size, pixels = size * size * 3;
  EmbedSummary summary;
  summary.found = static_cast<std::int64_t>(images.size());

  const std::filesystem::path output(options.output);
  std::error_code ignored;
  VITRAL_CHECK(!std::filesystem::is_directory(output, ignored), "{}: is a directory, name the file to write",
               options.output);
  VITRAL_CHECK(!output.has_parent_path() || std::filesystem::is_directory(output.parent_path(), ignored),
               "{}: cannot be created, there is no folder {}", options.output, output.parent_path().string());
  const std::string partial = options.output + ".part-" + std::to_string(getpid());
  data::H5File file = data::H5File::create(partial);
  Unfinished unfinished(partial);
  file.create_growing("/embeddings", {config.width}, DType::float32, 256);
  file.create_growing("/probs", {config.tokens()}, DType::float32, 256);
  if (options.patches)
    file.create_growing("/patch_embeddings", {config.tokens(), config.width}, DType::float32, 1);

  std::vector<std::string> names;
  for (std::int64_t begin = 0; begin < summary.found; begin += options.batch_size) {
    const std::int64_t count = std::min(options.batch_size, summary.found - begin);
    std::vector<Tensor> decoded(static_cast<std::size_t>(count));
    std::vector<std::string> problems(static_cast<std::size_t>(count));
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t i = 0; i < count; ++i) {
      const auto k = static_cast<std::size_t>(i);
      try {
        decoded[k] = data::validation_transform(
            data::read_image(images[static_cast<std::size_t>(begin + i)].path), config.image_size);
      } catch (const std::exception& e) {
        problems[k] = e.what();
      }
    }
    std::vector<std::size_t> usable;
    for (std::size_t k = 0; k < decoded.size(); ++k) {
      const data::PackSource& source = images[static_cast<std::size_t>(begin) + k];
      if (!decoded[k].defined()) {
        summary.skipped.push_back({source.name, problems[k]});
        continue;
      }
      usable.push_back(k);
      names.push_back(source.name);
    }
    if (!usable.empty()) {
      Tensor batch({static_cast<std::int64_t>(usable.size()), size, size, 3}, DType::uint8);
      for (std::size_t r = 0; r < usable.size(); ++r)
        std::memcpy(batch.data<std::uint8_t>() + static_cast<std::int64_t>(r) * pixels,
                    decoded[usable[r]].raw(), static_cast<std::size_t>(pixels));
      const Encoded e = encoder.encode(batch, options.batch_size);
      file.append("/embeddings", e.embeddings);
      file.append("/probs", e.probs);
      if (options.patches) file.append("/patch_embeddings", e.patches);
    }
    if (options.progress) options.progress(begin + count, summary.found);
  }
  summary.embedded = static_cast<std::int64_t>(names.size());
  if (names.empty()) return summary;
  file.write_strings("/names", names);
  file.set_attribute("model", options.weights);
  file.set_attribute("transform", "resize");
  file.close();
  unfinished.finish(options.output);
  return summary;
}

}  // namespace vitral::infer
