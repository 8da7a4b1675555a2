#include "infer/teach.h"

#include <algorithm>
#include <exception>
#include <filesystem>
#include <future>
#include <optional>

#include "base/files/in_place.h"
#include "base/random.h"
#include "base/read_error.h"
#include "base/text.h"
#include "data/embedding_journal.h"
#include "data/hdf5/file.h"
#include "data/hdf5/row_writer.h"
#include "data/images/augment.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "data/weights/weights.h"
#include "infer/change_dataset.h"
#include "processes/share.h"

namespace vitral::infer {
namespace {

constexpr std::int64_t block_bytes = 4 << 20;  // of embeddings, on their way from the journal into the file

std::int64_t stored_views(const TeachOptions& o) {
  return o.views > 0 ? o.views + (o.plain_view ? 1 : 0) : 0;
}

std::uint64_t view_seed(const TeachOptions& o, std::int64_t image, std::int64_t view) {
  if (o.plain_view && view == 0) return 0;
  return std::max<std::uint64_t>(random_key(o.seed, view - (o.plain_view ? 1 : 0), image), 1);
}

// The pictures of some images, one after the other, and which of the images did not decode.
struct Pictures {
  Tensor pixels;                      // uint8 [n V,T,T,3], T the teacher's size
  std::vector<std::string> problems;  // [n]
};

class PictureSource {
 public:
  PictureSource(const data::Dataset& dataset, const TeachOptions& options,
                const models::ImageEncoder& teacher)
      : dataset_(dataset),
        options_(options),
        teacher_(teacher),
        size_(options.views > 0 && options.image_size > 0 ? options.image_size
                                                          : teacher.config().image_size) {}

  int size() const { return size_; }

  Pictures read(std::int64_t first, std::int64_t count) const {
    const std::int64_t views = std::max<std::int64_t>(stored_views(options_), 1);
    Pictures out{Tensor({count * views, size_, size_, 3}, DType::uint8),
                 std::vector<std::string>(static_cast<std::size_t>(count))};
    std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
    for (std::int64_t i = 0; i < count; ++i) {
      try {
        Tensor image;
        std::int64_t min_side = -1;
        for (std::int64_t v = 0; v < views; ++v) {
          Tensor picture = out.pixels.rows(i * views + v, i * views + v + 1).reshape({size_, size_, 3});
          // All views but the plain one are made of the same pixels.
          if (const std::int64_t wanted = min_side_of(first + i, v); wanted != min_side) {
            min_side = wanted;
            image = decode(first + i, min_side, out.problems[static_cast<std::size_t>(i)]);
          }
          if (image.defined())
            picture.copy_from(transform(image, first + i, v));
          else
            picture.fill(0);
        }
      } catch (...) {
#pragma omp critical
        failure = std::current_exception();
      }
    }
    if (failure) std::rethrow_exception(failure);
    out.pixels = data::resize_batch(out.pixels, teacher_.config().image_size);
    return out;
  }

 private:
  std::int64_t min_side_of(std::int64_t i, std::int64_t view) const {
    return options_.views > 0 ? data::decode_min_side(options_.augment, size_, view_seed(options_, i, view))
                              : 0;
  }

  // Undefined where the stored file does not decode; what cannot be read at all is an error of the work.
  Tensor decode(std::int64_t i, std::int64_t min_side, std::string& problem) const {
    if (dataset_.plain_size(i)) return dataset_.image(i);
    std::vector<std::uint8_t> bytes;
    dataset_.read_encoded(i, bytes);
    try {
      return dataset_.decode(i, bytes, min_side);
    } catch (const ReadError&) {
      throw;
    } catch (const Error& e) {
      problem = one_line(e.what());
      return {};
    }
  }

  Tensor transform(const Tensor& image, std::int64_t i, std::int64_t view) const {
    if (options_.views > 0)
      return data::augment(image, options_.augment, size_, view_seed(options_, i, view));
    return teacher_.prepare(image, options_.transform);
  }

  const data::Dataset& dataset_;
  const TeachOptions& options_;
  const models::ImageEncoder& teacher_;
  int size_;
};

void check(const TeachOptions& o) {
  VITRAL_CHECK(o.views >= 0 && o.views <= 1 << 20, "teach: views {} must be 0 to 2^20", o.views);
  VITRAL_CHECK(o.batch_size >= 1, "teach: batch_size {} must be at least 1", o.batch_size);
  VITRAL_CHECK(o.dtype == DType::float32 || o.dtype == DType::float16,
               "teach: dtype {} must be float32 or float16", o.dtype);
  VITRAL_CHECK(o.views > 0 || !o.plain_view, "teach: a plain view needs other views beside it; set views");
}

const char* name_of(data::PlainTransform transform) {
  return transform == data::PlainTransform::clip ? "clip" : "resize";
}

// Everything that a row of the journal depends on.
std::string identity_of(const TeachOptions& o, const data::Dataset& dataset, int size,
                        const models::ImageEncoder& encoder) {
  std::string text = fmt::format("{} images {:016x}, teacher {:016x}, {}, {} [{}]", dataset.size(),
                                 data::dataset_digest(dataset), data::weights_digest(o.teacher),
                                 encoder.description(), o.dtype, encoder.config().embedding);
  if (!dataset.plain_size(0)) text += fmt::format(", exif {}", data::name(o.exif));
  if (o.views == 0) {
    text += std::string(", ") + name_of(o.transform);
    if (const auto& own = encoder.preprocessing().resize_crop;
        o.transform == data::PlainTransform::clip && own != data::ResizeCrop{})
      text += " as " + models::describe(own);
    return text;
  }
  return text + fmt::format(", {}{} views of {} pixels, seed {}, {}", o.views, o.plain_view ? "+1" : "", size,
                            o.seed, data::transform_name(o.augment));
}

// From the journal into the file.
void copy_rows(data::H5File& file, const std::string& name, const data::EmbeddingJournal& journal,
               const Shape& row, DType dtype) {
  const std::int64_t row_bytes = row.numel() * static_cast<std::int64_t>(size_of(dtype));
  data::RowWriter rows(file, name, row, dtype);
  const std::int64_t block = std::max<std::int64_t>(block_bytes / row_bytes, 1);
  for (std::int64_t i = 0; i < journal.rows(); i += block)
    rows.add(journal.read(i, std::min(block, journal.rows() - i)));
  rows.finish();
}

void describe_rows(data::H5File& file, std::int64_t images, int size, const models::ImageEncoder& teacher,
                   bool of_files, const TeachOptions& o) {
  file.set_attribute("teacher", o.teacher);
  file.set_attribute("teacher_tower", teacher.description());
  if (of_files) file.set_attribute("exif", data::name(o.exif));
  if (o.views == 0) {
    file.set_attribute("plain_transform", name_of(o.transform));
    return;
  }
  const std::int64_t views = stored_views(o);
  std::vector<std::uint64_t> seeds;
  seeds.reserve(static_cast<std::size_t>(images * views));
  for (std::int64_t i = 0; i < images; ++i)
    for (std::int64_t v = 0; v < views; ++v) seeds.push_back(view_seed(o, i, v));
  file.write_uint64("/view_seeds", seeds, {images, views});
  file.set_attribute("transform", data::transform_name(o.augment));
  file.set_attribute("view_size", std::to_string(size));
}

Shape row_shape(const TeachOptions& o, std::int64_t width) {
  return o.views > 0 ? Shape{stored_views(o), width} : Shape{width};
}

// The teacher's work from image `begin` on; take() gets the embeddings of each block, in order. The signal
// that stopped it, or 0.
int embed_all(const models::ImageEncoder& teacher, const data::Dataset& dataset, const PictureSource& source,
              std::int64_t begin, const TeachOptions& o, TeachSummary& summary,
              const std::function<void(const Tensor& rows)>& take) {
  const std::int64_t views = std::max<std::int64_t>(stored_views(o), 1), count = dataset.size() - begin;
  const std::int64_t block = std::max<std::int64_t>(o.batch_size / views, 1);
  const std::int64_t blocks = (count + block - 1) / block, step = o.group->size();
  const auto first_of = [&](std::int64_t k) { return begin + k * block; };
  const auto rows_of = [&](std::int64_t k) { return std::min(block, dataset.size() - first_of(k)); };
  const Shape row = row_shape(o, teacher.config().embedding);
  const auto read = [&](std::int64_t k) { return source.read(first_of(k), rows_of(k)); };
  // While a GPU works the host prepares the next pictures; on the CPU both want the same cores.
  const auto policy = teacher.device().is_cpu() ? std::launch::deferred : std::launch::async;
  std::future<Pictures> next;
  if (o.group->rank() < blocks) next = std::async(policy, read, std::int64_t{o.group->rank()});
  const auto work = [&](std::int64_t k) {
    const Pictures pictures = next.get();
    if (k + step < blocks) next = std::async(policy, read, k + step);
    Tensor embeddings = teacher.embed(pictures.pixels, o.batch_size);
    Parcel made;
    for (std::int64_t i = 0; i < rows_of(k); ++i) {
      const std::string& problem = pictures.problems[static_cast<std::size_t>(i)];
      if (!problem.empty()) embeddings.rows(i * views, (i + 1) * views).fill(0);
      put(made, problem);
    }
    embeddings = embeddings.cast(o.dtype);
    made.write(embeddings.raw(), embeddings.bytes());
    return made;
  };
  const auto keep = [&](std::int64_t k, Parcel& made) {
    for (std::int64_t i = 0; i < rows_of(k); ++i)
      if (const std::string problem = get<std::string>(made); !problem.empty())
        summary.skipped.push_back({first_of(k) + i, one_line(dataset.name(first_of(k) + i)), problem});
    Shape all{rows_of(k)};
    for (const auto d : row) all = all.append(d);
    Tensor rows(all, o.dtype);
    made.read(rows.raw(), rows.bytes());
    take(rows);
    if (o.progress) o.progress(first_of(k) + rows_of(k), dataset.size());
  };
  return share_blocks(*o.group, blocks, work, keep, o.stop);
}

}  // namespace

TeachSummary teach(const models::ImageEncoder& teacher, const TeachOptions& o) {
  check(o);
  TeachSummary summary;
  Group& group = *o.group;
  const data::DatasetNames names{.images = o.names.images, .embeddings = ""};
  if (group.is_first() && is_half_changed(o.file)) complete_change(OutputFile(o.file).path());
  all_gather(group, "");  // the others open what is whole
  std::optional<data::Dataset> dataset = data::Dataset::open(o.file, names);
  // The first process alone writes, and nobody else may write the file meanwhile.
  std::optional<OutputFile> output;
  std::optional<data::EmbeddingJournal> journal;
  std::string path;
  const auto refuse = [&] {
    throw_error<UsageError>("{}: has /embeddings already; replace them with --force", o.file);
  };
  const bool taught = dataset->width() > 0 && !o.force;
  if (group.is_first()) {
    output.emplace(o.file);
    path = output->path() + ".teach";
    if (o.restart) std::filesystem::remove(path);
    if (taught && !std::filesystem::exists(path)) refuse();
  }
  dataset->set_exif(o.exif, true);
  const std::int64_t width = teacher.config().embedding, images = dataset->size();
  if (const auto concepts = dataset->concepts();
      concepts && concepts->embeddings.defined() && concepts->embeddings.dim(1) != width)
    throw_error<UsageError>("{}: its /concepts have width {}, this teacher's embeddings {}; use one teacher",
                            o.file, concepts->embeddings.dim(1), width);
  const bool crops = o.views == 0 && teacher.crops(o.transform);
  if (const std::string note = crops ? dataset->crop_note() : ""; !note.empty() && o.note) o.note(note);
  const PictureSource source(*dataset, o, teacher);
  const Shape row = row_shape(o, width);
  const std::string identity = identity_of(o, *dataset, source.size(), teacher);
  if (!group.is_one())
    require_alike(group, {{"program", program_identity()}, {"images and teacher", identity}});
  if (group.is_first()) {
    journal.emplace(path, identity, row, o.dtype);
    // With a journal that is complete they may be those of a run whose end failed.
    if (taught && journal->rows() < images) refuse();
    VITRAL_CHECK(journal->rows() <= images, "{}: has {} rows for {} images; start again with --restart", path,
                 journal->rows(), images);
    summary.resumed = journal->rows();
  }
  group.broadcast(&summary.resumed, sizeof summary.resumed);
  summary.images = images;
  summary.views = stored_views(o);
  summary.signal = embed_all(teacher, *dataset, source, summary.resumed, o, summary, [&](const Tensor& rows) {
    if (journal) journal->append(rows);
  });
  if (summary.signal != 0) return summary;
  const bool of_files = !dataset->plain_size(0);
  dataset.reset();  // HDF5 opens a file either for reading or for writing
  all_gather(group, "");
  if (!group.is_first()) return summary;
  const std::int64_t more =
      images * (row.numel() * static_cast<std::int64_t>(size_of(o.dtype)) + 8 * summary.views);
  change_dataset(*output, o.in_place, more, names, [&](data::H5File& file) {
    replace_embeddings(
        file, [&](const std::string& name) { copy_rows(file, name, *journal, row, o.dtype); },
        [&] { describe_rows(file, images, source.size(), teacher, of_files, o); });
  });
  journal->remove();
  return summary;
}

}  // namespace vitral::infer
