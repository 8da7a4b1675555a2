#include "infer/teach.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>

#include "base/files/in_place.h"
#include "base/text.h"
#include "data/embedding_journal.h"
#include "data/hdf5/file.h"
#include "data/hdf5/row_writer.h"
#include "data/images/regions.h"
#include "data/images/transform.h"
#include "data/weights/weights.h"
#include "infer/change_dataset.h"
#include "infer/teach_pictures.h"
#include "processes/ahead.h"
#include "processes/share.h"

namespace vitral::infer {
namespace {

constexpr std::int64_t block_bytes = 4 << 20;  // of embeddings, on their way from the journal into the file

void check(const TeachOptions& o) {
  VITRAL_CHECK(o.views >= 0 && o.views <= 1 << 20, "teach: views {} must be 0 to 2^20", o.views);
  VITRAL_CHECK(o.batch_size >= 1, "teach: batch_size {} must be at least 1", o.batch_size);
  VITRAL_CHECK(o.dtype == DType::float32 || o.dtype == DType::float16,
               "teach: dtype {} must be float32 or float16", o.dtype);
  VITRAL_CHECK(o.regions >= 0 && o.regions <= 64, "teach: regions {} must be 0 to 64", o.regions);
  VITRAL_CHECK(o.patches >= 0 && o.patches <= 256, "teach: patches {} must be 0 to 256", o.patches);
  VITRAL_CHECK(o.views > 0 || !o.plain_view, "teach: a plain view needs other views beside it; set views");
}

// The embeddings [E] of one kind of target among all that a row of the journal holds of each view.
struct Part {
  data::Target kind;
  std::int64_t begin, count;
};

class Plan {
 public:
  /// there: kinds that the file has and that stay.
  Plan(const TeachOptions& o, const std::vector<data::Target>& there) {
    const auto add = [&](data::Target kind, std::int64_t count) {
      if (count == 0 || std::ranges::count(there, kind) > 0) return;
      parts_.push_back({kind, places_, count});
      places_ += count;
    };
    add(data::Target::image, 1);
    add(data::Target::regions, std::int64_t{o.regions} * o.regions);
    add(data::Target::patches, std::int64_t{o.patches} * o.patches);
  }

  const std::vector<Part>& parts() const { return parts_; }
  std::int64_t places() const { return places_; }  // of each view
  bool has(data::Target kind) const {
    return std::ranges::any_of(parts_, [&](const Part& p) { return p.kind == kind; });
  }
  std::vector<data::Target> kinds() const {
    std::vector<data::Target> out;
    for (const Part& p : parts_) out.push_back(p.kind);
    return out;
  }

 private:
  std::vector<Part> parts_;
  std::int64_t places_ = 0;
};

const char* name_of(data::PlainTransform transform) {
  return transform == data::PlainTransform::clip ? "clip" : "resize";
}

// Everything that a row of the journal depends on.
std::string identity_of(const TeachOptions& o, const data::Dataset& dataset, int size,
                        const models::ImageEncoder& encoder, const Plan& plan) {
  std::string text = fmt::format("{} images {:016x}, teacher {:016x}, {}, {} [{}]", dataset.size(),
                                 data::dataset_digest(dataset), data::weights_digest(o.teacher),
                                 encoder.description(), o.dtype, encoder.config().embedding);
  if (!dataset.plain_size(0)) text += fmt::format(", exif {}", data::name(o.exif));
  if (plan.has(data::Target::regions)) text += fmt::format(", regions {}", o.regions);
  if (plan.has(data::Target::patches)) text += fmt::format(", patches {}", o.patches);
  if ((o.regions > 0 || o.patches > 0) && !plan.has(data::Target::image)) text += " alone";
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

Shape row_shape(const TeachOptions& o, std::int64_t places, std::int64_t width) {
  return o.views > 0 ? Shape{stored_views(o), places, width} : Shape{places, width};
}

// From the journal into the file.
void copy_rows(data::H5File& file, const std::string& name, const data::EmbeddingJournal& journal,
               const Plan& plan, const Part& part, std::int64_t width, const TeachOptions& o) {
  const std::int64_t views = std::max<std::int64_t>(stored_views(o), 1);
  const std::size_t bytes = size_of(o.dtype) * static_cast<std::size_t>(width);  // of an embedding
  Shape row = row_shape(o, part.count, width);
  if (part.kind == data::Target::image) row = row.without(-2);
  data::RowWriter rows(file, name, row, o.dtype);
  const auto in_row = static_cast<std::int64_t>(bytes) * views * plan.places();
  const std::int64_t block = std::max<std::int64_t>(block_bytes / in_row, 1);
  std::vector<char> values;
  for (std::int64_t i = 0; i < journal.rows(); i += block) {
    const std::int64_t n = std::min(block, journal.rows() - i);
    const Tensor all = journal.read(i, n);
    const std::size_t length = bytes * static_cast<std::size_t>(part.count);
    values.resize(length * static_cast<std::size_t>(n * views));
    for (std::int64_t k = 0; k < n * views; ++k)
      std::memcpy(values.data() + static_cast<std::size_t>(k) * length,
                  static_cast<const char*>(all.raw()) +
                      static_cast<std::size_t>(k * plan.places() + part.begin) * bytes,
                  length);
    rows.add(values.data(), static_cast<std::size_t>(n));
  }
  rows.finish();
}

std::vector<std::uint64_t> view_seeds(const TeachOptions& o, std::int64_t images) {
  std::vector<std::uint64_t> seeds;
  seeds.reserve(static_cast<std::size_t>(images * stored_views(o)));
  for (std::int64_t i = 0; i < images; ++i)
    for (std::int64_t v = 0; v < stored_views(o); ++v) seeds.push_back(view_seed(o, i, v));
  return seeds;
}

// What stands in the file of all its targets.
ViewsOfTargets views_of(const TeachOptions& o, std::int64_t images, int size) {
  if (o.views == 0) return {};
  return {view_seeds(o, images), stored_views(o), data::transform_name(o.augment), std::to_string(size)};
}

void describe_rows(data::H5File& file, const models::ImageEncoder& teacher, bool of_files, const Plan& plan,
                   const TeachOptions& o) {
  for (const Part& part : plan.parts()) {
    const std::string owner = data::kind_of(part.kind).group;
    file.set_attribute("teacher", o.teacher, owner);
    std::string tower = teacher.description();
    if (o.views == 0 && o.transform == data::PlainTransform::clip)
      tower += ", " + models::describe(teacher.preprocessing().resize_crop);
    file.set_attribute("teacher_tower", tower, owner);
    if (o.views == 0) file.set_attribute("plain_transform", name_of(o.transform), owner);
    if (part.kind == data::Target::regions) file.write("/regions/boxes", data::grid_boxes(o.regions));
  }
  if (of_files) file.set_attribute("exif", data::name(o.exif));
}

// Pictures that the teacher is looking at.
struct Asked {
  std::int64_t count = 0;                           // n V
  std::vector<std::string> problems = {};           // [n]
  std::vector<models::Pending<Tensor>> parts = {};  // what it says, of each part of the plan
};

Asked ask(const models::ImageEncoder& teacher, Pictures pictures, const Plan& plan, const TeachOptions& o) {
  Asked out{.count = pictures.pixels.dim(0), .problems = std::move(pictures.problems)};
  for (const Part& part : plan.parts())
    out.parts.push_back(
        part.kind == data::Target::image ? teacher.begin_embed(pictures.pixels, o.batch_size)
        : part.kind == data::Target::regions
            ? teacher.begin_embed(pictures.cells, o.batch_size)
            : teacher.begin_dense(pictures.pixels, models::DenseTokens::naclip, o.patches, o.batch_size));
  return out;
}

// What the teacher says of them: [n V,places,E].
Tensor answers(Asked& asked, const Plan& plan, std::int64_t width) {
  Tensor out({asked.count, plan.places(), width});
  for (std::size_t i = 0; i < asked.parts.size(); ++i) {
    const Part& part = plan.parts()[i];
    const Tensor made = asked.parts[i].get();
    for (std::int64_t k = 0; k < asked.count; ++k)
      std::copy_n(made.data<float>() + k * part.count * width, part.count * width,
                  out.data<float>() + (k * plan.places() + part.begin) * width);
  }
  return out;
}

// The teacher's work from image `begin` on; take() gets the embeddings of each block, in order. The signal
// that stopped it, or 0.
int embed_all(const models::ImageEncoder& teacher, const data::Dataset& dataset, const PictureSource& source,
              const Plan& plan, std::int64_t begin, const TeachOptions& o, TeachSummary& summary,
              const std::function<void(const Tensor& rows)>& take) {
  const std::int64_t views = std::max<std::int64_t>(stored_views(o), 1), count = dataset.size() - begin;
  // Regions are pictures, too.
  const std::int64_t seen = views * (1 + (plan.has(data::Target::regions) ? o.regions * o.regions : 0));
  const std::int64_t block = std::max<std::int64_t>(o.batch_size / seen, 1);
  const std::int64_t blocks = (count + block - 1) / block;
  const auto first_of = [&](std::int64_t k) { return begin + k * block; };
  const auto rows_of = [&](std::int64_t k) { return std::min(block, dataset.size() - first_of(k)); };
  const Shape row = row_shape(o, plan.places(), teacher.config().embedding);
  Ahead<Asked> asked(
      o.group->rank(), o.group->size(), blocks, models::batches_ahead(teacher.device()),
      [&](std::int64_t k) { return ask(teacher, source.read(first_of(k), rows_of(k)), plan, o); });
  const auto work = [&](std::int64_t k) {
    Asked now = asked.take();
    Tensor embeddings = answers(now, plan, teacher.config().embedding);
    Parcel made;
    for (std::int64_t i = 0; i < rows_of(k); ++i) {
      const std::string& problem = now.problems[static_cast<std::size_t>(i)];
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
  if (o.patches > 0) teacher.require_dense();
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
  const Plan wanted(o, {});
  const std::vector<data::Target> there = o.force ? std::vector<data::Target>() : targets_in(o.file);
  Plan plan(o, there);
  const bool taught = plan.parts().empty();
  if (taught) plan = wanted;  // of a run, perhaps, whose end failed
  const auto refuse = [&] {
    std::string all;
    for (const Part& part : wanted.parts())
      all += (all.empty() ? "" : " and ") + std::string(data::kind_of(part.kind).dataset);
    throw_error<UsageError>("{}: has {} already; replace them with --force", o.file, all);
  };
  if (group.is_first()) {
    output.emplace(o.file);
    path = output->path() + ".teach";
    if (o.restart) std::filesystem::remove(path);
    if (taught && !std::filesystem::exists(path)) refuse();
  }
  const bool of_files = !dataset->plain_size(0);
  const data::Exif stored_exif = dataset->exif();
  dataset->set_exif(o.exif, true);
  const std::int64_t width = teacher.config().embedding, images = dataset->size();
  if (const auto concepts = dataset->concepts();
      concepts && concepts->embeddings.defined() && concepts->embeddings.dim(1) != width)
    throw_error<UsageError>("{}: its /concepts have width {}, this teacher's embeddings {}; use one teacher",
                            o.file, concepts->embeddings.dim(1), width);
  const bool crops = o.views == 0 && teacher.crops(o.transform);
  if (const std::string note = crops ? dataset->crop_note() : ""; !note.empty() && o.note) o.note(note);
  const PictureSource source(*dataset, o, teacher, plan.has(data::Target::regions) ? o.regions : 0);
  const ViewsOfTargets views = views_of(o, images, source.size());
  if (const auto stay = check_targets_that_stay(o.file, plan.kinds(), width, views);
      !stay.empty() && of_files && stored_exif != o.exif)
    throw_error<UsageError>("{}: its {} stay, and are of images with --exif {}; use the same", o.file, stay,
                            data::name(stored_exif));
  const Shape row = row_shape(o, plan.places(), width);
  const std::string identity = identity_of(o, *dataset, source.size(), teacher, plan);
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
  for (const Part& part : plan.parts()) summary.made.emplace_back(part.kind, part.count);
  summary.signal =
      embed_all(teacher, *dataset, source, plan, summary.resumed, o, summary, [&](const Tensor& rows) {
        if (journal) journal->append(rows);
      });
  if (summary.signal != 0) return summary;
  dataset.reset();  // HDF5 opens a file either for reading or for writing
  all_gather(group, "");
  if (!group.is_first()) return summary;
  const std::int64_t more =
      images * (row.numel() * static_cast<std::int64_t>(size_of(o.dtype)) + 8 * summary.views);
  change_dataset(
      *output, o.in_place, more, names,
      [&](data::H5File& file) {
        replace_targets(
            file, plan.kinds(), views,
            [&](std::size_t k, const std::string& name) {
              copy_rows(file, name, *journal, plan, plan.parts()[k], width, o);
            },
            [&] { describe_rows(file, teacher, of_files, plan, o); });
      },
      plan.kinds());
  journal->remove();
  return summary;
}

}  // namespace vitral::infer
