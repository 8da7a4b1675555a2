#include "infer/embed_files.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>

#include <sys/stat.h>

#include "base/files/output_file.h"
#include "base/hash.h"
#include "data/embedding_journal.h"
#include "data/hdf5/file.h"
#include "data/hdf5/row_writer.h"
#include "infer/read_images.h"
#include "processes/ahead.h"
#include "processes/share.h"

namespace vitral::infer {
namespace {

// Everything that the rows depend on.
std::string identity_of(const models::Encoder& encoder, const std::vector<data::ImageFile>& images,
                        const EmbedOptions& options) {
  Hash files;
  for (const auto& image : images) {
    files.add(image.path.c_str(), image.path.size() + 1);  // with the zero, so that two names are not one
    struct stat status {};
    if (::stat(image.path.c_str(), &status) != 0) continue;
    const std::int64_t state[] = {status.st_size, status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
    files.add(state, sizeof state);
  }
  return fmt::format("{} images {:016x}, student {:016x}, exif {}{}{}", images.size(), files.value(),
                     encoder.digest(), data::name(options.exif), options.patches ? ", with patches" : "",
                     options.scaled_decode ? ", scaled decode" : "");
}

// A row of the journal: 1 or, for a file that does not decode, 0; then the embedding, the weights of the
// patches, and their embeddings on request.
struct Row {
  std::int64_t width, tokens;
  bool patches;

  std::int64_t size() const { return 1 + width + tokens + (patches ? tokens * width : 0); }

  void write(float* row, const models::ImageEmbeddings& e, std::int64_t i) const {
    row[0] = 1;
    std::memcpy(row + 1, e.embeddings.data<float>() + i * width, bytes(width));
    std::memcpy(row + 1 + width, e.probs.data<float>() + i * tokens, bytes(tokens));
    if (patches)
      std::memcpy(row + 1 + width + tokens, e.patches.data<float>() + i * tokens * width,
                  bytes(tokens * width));
  }

  // The part [first, first + count) of those rows that are 1.
  Tensor part(const Tensor& rows, const std::vector<std::int64_t>& usable, std::int64_t first,
              const Shape& shape) const {
    const std::int64_t count = shape.numel();
    Shape all{static_cast<std::int64_t>(usable.size())};
    for (const auto d : shape) all = all.append(d);
    Tensor out(all);
    for (std::size_t r = 0; r < usable.size(); ++r)
      std::memcpy(out.data<float>() + static_cast<std::int64_t>(r) * count,
                  rows.data<float>() + usable[r] * size() + first, bytes(count));
    return out;
  }

  static std::size_t bytes(std::int64_t count) { return static_cast<std::size_t>(count) * sizeof(float); }
};

class Embedding {
 public:
  Embedding(const models::Encoder& encoder, const std::vector<data::ImageFile>& images,
            const EmbedOptions& options)
      : encoder_(encoder),
        images_(images),
        options_(options),
        row_{encoder.config().width, encoder.config().tokens(), options.patches} {
    summary_.found = static_cast<std::int64_t>(images.size());
  }

  EmbedSummary run() {
    Group& group = *options_.group;
    // The first process alone writes.
    std::optional<OutputFile> output;
    std::optional<data::EmbeddingJournal> journal;
    const std::string identity = identity_of(encoder_, images_, options_);
    if (!group.is_one())
      require_alike(group, {{"program", program_identity()}, {"images and student", identity}});
    if (group.is_first()) {
      output.emplace(options_.output);
      const std::string kept = output->path() + ".embed";
      if (options_.restart) std::filesystem::remove(kept);
      journal.emplace(kept, identity, Shape{row_.size()}, DType::float32);
      summary_.resumed = std::min(journal->rows(), summary_.found);
    }
    group.broadcast(&summary_.resumed, sizeof summary_.resumed);
    summary_.signal = embed([&](const Tensor& rows) {
      if (journal) journal->append(rows);
    });
    if (summary_.signal != 0 || !group.is_first()) return summary_;
    write(*journal, *output);
    journal->remove();
    return summary_;
  }

 private:
  std::span<const data::ImageFile> files(std::int64_t begin, std::int64_t count) const {
    return std::span(images_).subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count));
  }

  ImageBatch read(std::span<const data::ImageFile> some) const {
    return read_images(some, {encoder_.config().image_size}, options_.exif, options_.scaled_decode);
  }

  // The signal that stopped it, or 0.
  int embed(const std::function<void(const Tensor& rows)>& take) {
    const std::int64_t done = summary_.resumed, batch_size = options_.batch_size;
    const auto begin_of = [&](std::int64_t block) { return done + block * batch_size; };
    const auto count_of = [&](std::int64_t block) {
      return std::min(batch_size, summary_.found - begin_of(block));
    };
    const std::int64_t blocks = (summary_.found - done + batch_size - 1) / batch_size;
    struct Begun {
      ImageBatch batch;
      std::optional<models::Pending<models::ImageEmbeddings>> embeddings = {};
    };
    const Group& group = *options_.group;
    Ahead<Begun> begun(group.rank(), group.size(), blocks, models::batches_ahead(encoder_.device()),
                       [&](std::int64_t block) {
                         Begun b{read(files(begin_of(block), count_of(block)))};
                         if (!b.batch.usable.empty())
                           b.embeddings.emplace(encoder_.begin_embed(b.batch.pixels[0], batch_size));
                         return b;
                       });
    const auto work = [&](std::int64_t block) {
      auto [batch, embeddings] = begun.take();
      Tensor rows = Tensor::zeros({count_of(block), row_.size()});
      if (embeddings) {
        const models::ImageEmbeddings e = embeddings->get();
        for (std::size_t r = 0; r < batch.usable.size(); ++r)
          row_.write(rows.data<float>() + batch.usable[r] * row_.size(), e, static_cast<std::int64_t>(r));
      }
      Parcel made;
      put(made, batch.problems);
      made.write(rows.raw(), rows.bytes());
      return made;
    };
    const auto keep = [&](std::int64_t block, Parcel& made) {
      const std::int64_t begin = begin_of(block), count = count_of(block);
      const auto problems = get<std::vector<std::string>>(made);
      for (std::int64_t i = 0; i < count; ++i)
        if (const auto& problem = problems[static_cast<std::size_t>(i)]; !problem.empty())
          problems_[begin + i] = problem;
      Tensor rows({count, row_.size()});
      made.read(rows.raw(), rows.bytes());
      take(rows);
      if (options_.progress) options_.progress(begin + count, summary_.found);
    };
    return share_blocks(*options_.group, blocks, work, keep, options_.stop);
  }

  void skip(std::int64_t i) {
    const data::ImageFile& file = images_[static_cast<std::size_t>(i)];
    auto known = problems_.find(i);
    // The run that found it was interrupted: it is read once more.
    if (known == problems_.end()) known = problems_.emplace(i, read(files(i, 1)).problems[0]).first;
    summary_.skipped.push_back(
        {file.name, known->second.empty() ? file.path + ": could not be read by the run that was interrupted"
                                          : known->second});
  }

  void write(const data::EmbeddingJournal& journal, OutputFile& output) {
    data::H5File file = data::H5File::create(output.partial());
    data::RowWriter embeddings(file, "/embeddings", {row_.width}, DType::float32);
    data::RowWriter probs(file, "/probs", {row_.tokens}, DType::float32);
    std::optional<data::RowWriter> patches;
    if (row_.patches)
      patches.emplace(file, "/patch_embeddings", Shape{row_.tokens, row_.width}, DType::float32);
    std::vector<std::string> names;
    for (std::int64_t begin = 0; begin < summary_.found; begin += options_.batch_size) {
      const std::int64_t count = std::min(options_.batch_size, summary_.found - begin);
      const Tensor rows = journal.read(begin, count);
      std::vector<std::int64_t> usable;
      for (std::int64_t i = 0; i < count; ++i) {
        if (rows.data<float>()[i * row_.size()] == 0) {
          skip(begin + i);
          continue;
        }
        usable.push_back(i);
        names.push_back(images_[static_cast<std::size_t>(begin + i)].name);
      }
      if (usable.empty()) continue;
      embeddings.add(row_.part(rows, usable, 1, {row_.width}));
      probs.add(row_.part(rows, usable, 1 + row_.width, {row_.tokens}));
      if (patches)
        patches->add(row_.part(rows, usable, 1 + row_.width + row_.tokens, {row_.tokens, row_.width}));
    }
    embeddings.finish();
    probs.finish();
    if (patches) patches->finish();
    summary_.embedded = static_cast<std::int64_t>(names.size());
    if (names.empty()) return;
    file.write_strings("/names", names);
    if (!summary_.skipped.empty()) {
      std::vector<std::string> skipped, reasons;
      for (const auto& s : summary_.skipped) skipped.push_back(s.name), reasons.push_back(s.reason);
      file.write_strings("/skipped/names", skipped);
      file.write_strings("/skipped/reasons", reasons);
    }
    file.set_attribute("model", options_.weights);
    if (std::all_of(images_.begin(), images_.end(), data::is_named_by_path))
      file.set_attribute("names", "paths");
    file.set_attribute("transform", options_.scaled_decode ? "scaled_decode,resize" : "resize");
    file.close();
    output.commit();
  }

  const models::Encoder& encoder_;
  const std::vector<data::ImageFile>& images_;
  const EmbedOptions& options_;
  Row row_;
  std::map<std::int64_t, std::string> problems_;  // of this run, by number of the file
  EmbedSummary summary_;
};

}  // namespace

EmbedSummary embed_files(const models::Encoder& encoder, const std::vector<data::ImageFile>& images,
                         const EmbedOptions& options) {
  return Embedding(encoder, images, options).run();
}

}  // namespace vitral::infer
