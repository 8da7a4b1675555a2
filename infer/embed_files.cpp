#include "infer/embed_files.h"

#include <algorithm>
#include <cstring>

#include "data/hdf5.h"
#include "data/image.h"
#include "data/input_file.h"
#include "data/output_file.h"
#include "data/transform.h"

namespace vitral::infer {

EmbedSummary embed_files(const Encoder& encoder, const std::vector<data::PackSource>& images,
                         const EmbedOptions& options) {
  const nn::StudentConfig& config = encoder.config();
  const std::int64_t size = config.image_size, pixels = size * size * 3;
  EmbedSummary summary;
  summary.found = static_cast<std::int64_t>(images.size());

  data::OutputFile output(options.output);
  data::H5File file = data::H5File::create(output.partial());
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
        const std::string& problem = images[static_cast<std::size_t>(begin + i)].problem;
        if (!problem.empty()) throw_error("{}", problem);
        decoded[k] = data::validation_transform(
            data::read_image(images[static_cast<std::size_t>(begin + i)].path), config.image_size);
      } catch (const std::exception& e) {
        problems[k] = data::one_line(e.what());
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
  output.commit();
  return summary;
}

}  // namespace vitral::infer
