#include "infer/measure/localisation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <iterator>
#include <limits>
#include <map>
#include <utility>

#include "base/text.h"

namespace vitral::infer {
namespace {

// f(0) ... f(n - 1) on all cores; the first exception that is caught reaches the caller.
void on_all_cores(std::size_t n, auto&& f) {
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic)
  for (std::size_t i = 0; i < n; ++i) {
    try {
      f(i);
    } catch (...) {
#pragma omp critical
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// A cell of a map, and how high it is there.
struct Peak {
  std::int64_t cell = -1;
  float score = -std::numeric_limits<float>::infinity();
};

// The first of the highest that are numbers.
Peak peak_of(const float* map, std::int64_t cells) {
  Peak out;
  for (std::int64_t c = 0; c < cells; ++c)
    if (std::isfinite(map[c]) && (out.cell < 0 || map[c] > out.score)) out = {c, map[c]};
  return out;
}

// The pixel that holds the middle of cell `cell` of `cells`, which need not be a whole number.
std::int64_t middle_of(std::int64_t cell, double cells, std::int64_t pixels) {
  const double at = (static_cast<double>(cell) + 0.5) / cells * static_cast<double>(pixels);
  return std::min(static_cast<std::int64_t>(at), pixels - 1);
}

}  // namespace

// An image that is looked at.
struct Localisation::Picture {
  std::vector<LabelledObject> objects;    // all
  std::vector<LabelledObject> countable;  // those that ours plays for
  LabelMap labels;                        // of segmentation; empty: nothing is known
  bool is_mask = false;                   // labels are a mask
  std::int64_t height = 0, width = 0;     // pixels that the tolerance counts
  Tensor stored;                          // uint8 [H,W,3], where it is needed
  std::vector<Trial> trials;
  std::vector<ScoreMaps> maps;  // of each model

  const LabelMap* mask() const { return is_mask ? &labels : nullptr; }
};

struct Localisation::Sums {
  PointingResult objects;
  FieldPointing all, difficult;
  SegmentationResult segmentation;

  static constexpr std::size_t count = 4;
  std::array<double, count> values() const {
    return {objects.accuracy(), all.accuracy(), difficult.accuracy(), segmentation.mean_iou()};
  }
};

DenseModel dense_model(const models::Encoder& student, std::int64_t batch) {
  const models::StudentConfig& c = student.config();
  return {"student", c.image_size, c.grid(), c.width,
          [&student, batch](const Tensor& images) { return student.embed(images, batch).patches; }};
}

std::vector<DenseModel> dense_models(const models::ImageEncoder& teacher, std::int64_t batch) {
  teacher.require_dense();
  std::vector<DenseModel> out;
  const models::ImageTowerConfig& c = teacher.config();
  using models::DenseTokens;
  for (const auto& [name, way] : {std::pair{"teacher, vanilla", DenseTokens::vanilla},
                                  std::pair{"teacher, value path", DenseTokens::value},
                                  std::pair{"teacher, NACLIP", DenseTokens::naclip}})
    out.push_back({name, c.image_size, c.grid(), c.embedding,
                   [&teacher, batch, way, grid = c.grid()](const Tensor& images) {
                     return teacher.dense(images, way, grid, batch);
                   }});
  return out;
}

Localisation::Localisation(const data::Dataset& dataset, const data::Concepts& concepts,
                           std::vector<DenseModel> models, const ConceptTexts& texts,
                           const LocalisationOptions& options)
    : dataset_(dataset),
      objects_(objects_by_image(concepts)),
      models_(std::move(models)),
      scorer_(texts.embeddings),
      concept_of_(texts.concept_of),
      concepts_(static_cast<std::int64_t>(concepts.names.size())),
      options_(options),
      segmentation_(concepts_, texts.concept_of, options.background),
      on_masks_(dataset.has_masks()) {
  VITRAL_CHECK(scorer_.texts() == static_cast<std::int64_t>(concept_of_.size()),
               "localisation: {} texts, {} embeddings", concept_of_.size(), scorer_.texts());
  for (std::size_t i = 0; i < models_.size(); ++i) {
    const DenseModel& m = models_[i];
    VITRAL_CHECK(scorer_.width() == m.width,
                 "the embeddings of concepts are {} wide, the {}'s {}; they must share a teacher",
                 scorer_.width(), m.name.substr(0, m.name.find(',')), m.width);
    if (std::ranges::none_of(of_grid_, [&](std::size_t k) { return models_[k].grid == m.grid; }))
      of_grid_.push_back(i);
    const auto size = dataset.plain_size(0);
    VITRAL_CHECK(
        options.protocol == Protocol::whole || !size || size->height != size->width || size->height > m.size,
        "{}: --protocol slide cuts windows of {} pixels out of images, and these are stored as squares "
        "of {}; pack them with --encoded, or use --protocol whole",
        dataset.paths().front(), m.size, size->height);
  }
}

bool Localisation::needs_stored(int size) const {
  return options_.protocol == Protocol::slide ||
         std::ranges::any_of(models_, [&](const DenseModel& m) { return m.size != size; });
}

std::vector<Localisation::Picture> Localisation::pictures(const std::vector<std::int64_t>& images,
                                                          const Tensor& pixels, std::int64_t begin,
                                                          std::int64_t end) const {
  std::vector<Picture> out(static_cast<std::size_t>(end - begin));
  const auto size = static_cast<int>(pixels.dim(1));
  on_all_cores(out.size(), [&](std::size_t k) {
    Picture& p = out[k];
    const std::int64_t image = images[static_cast<std::size_t>(begin) + k];
    if (const auto found = objects_.find(image); found != objects_.end()) p.objects = found->second;
    std::ranges::copy_if(p.objects, std::back_inserter(p.countable),
                         [](const LabelledObject& o) { return !o.difficult && !o.crowd; });
    if (on_masks_) p.labels = dataset_.labels(image);
    p.is_mask = !p.labels.empty();
    if (!on_masks_ && !p.objects.empty()) p.labels = labels_of_boxes(p.objects, size);
    p.trials = trials_of(p.objects, p.mask());
    const auto original = dataset_.original_size(image);
    if (needs_stored(size) || (!original && !p.is_mask)) p.stored = dataset_.image(image);
    if (p.is_mask && p.stored.defined() &&
        (p.labels.height != p.stored.dim(0) || p.labels.width != p.stored.dim(1)))
      throw_error(
          "{}: its mask in {} has {}x{} pixels, the image {}x{}; a mask is as large as the stored image",
          one_line(dataset_.name(image)), dataset_.file(image), p.labels.width, p.labels.height,
          p.stored.dim(1), p.stored.dim(0));
    const auto pixels_of = [](const data::Dataset::Size& s) { return std::pair{s.height, s.width}; };
    std::tie(p.height, p.width) = original    ? pixels_of(*original)
                                  : p.is_mask ? std::pair{p.labels.height, p.labels.width}
                                              : std::pair{p.stored.dim(0), p.stored.dim(1)};
  });
  return out;
}

void Localisation::score(std::vector<Picture>& pictures, const Tensor& pixels, const Tensor& patches) const {
  std::vector<Windows> windows(pictures.size());
  Tensor cut;  // the windows of all pictures
  int cut_for = 0;
  for (std::size_t m = 0; m < models_.size(); ++m) {
    const DenseModel& model = models_[m];
    const bool given = options_.protocol == Protocol::whole && model.size == pixels.dim(1);
    if (!given && cut_for != model.size) {
      std::vector<Tensor> of_picture(pictures.size());
      on_all_cores(pictures.size(), [&](std::size_t k) {
        of_picture[k] = cut_windows(pictures[k].stored, model.size, options_.protocol, windows[k]);
      });
      std::int64_t all = 0;
      for (const Tensor& t : of_picture) all += t.dim(0);
      cut = Tensor({all, model.size, model.size, 3}, DType::uint8);
      std::int64_t at = 0;
      for (const Tensor& t : of_picture) {
        cut.rows(at, at + t.dim(0)).copy_from(t);
        at += t.dim(0);
      }
      cut_for = model.size;
    }
    const Tensor e = given && m == 0 ? patches : model.patches(given ? pixels : cut);
    const std::int64_t cells = model.grid * model.grid;
    std::vector<std::int64_t> first(pictures.size() + 1, 0);  // window of each picture
    for (std::size_t k = 0; k < pictures.size(); ++k)
      first[k + 1] = first[k] + (options_.protocol == Protocol::whole ? 1 : windows[k].count());
    std::vector<Tensor> cosines;
    for (std::size_t k = 0; k < pictures.size(); ++k)
      cosines.emplace_back(Shape{first[k + 1] - first[k], scorer_.texts(), cells});
    on_all_cores(pictures.size(), [&](std::size_t k) {
      for (std::int64_t w = first[k]; w < first[k + 1]; ++w)
        scorer_.score(e.data<float>() + w * cells * model.width, cells,
                      cosines[k].data<float>() + (w - first[k]) * scorer_.texts() * cells);
    });
    for (std::size_t k = 0; k < pictures.size(); ++k)
      pictures[k].maps.emplace_back(std::move(cosines[k]), model.grid, model.grid,
                                    options_.protocol == Protocol::whole ? Windows{} : windows[k]);
  }
}

ImageFindings::Row Localisation::row_of_model(const Picture& p, const ScoreMaps& maps) const {
  ImageFindings::Row row;
  std::vector<float> buffer;
  // Of a concept: the highest cell of the maps of its texts.
  std::map<std::int64_t, Peak> known;
  const auto peak = [&](std::int64_t wanted) {
    const auto [at, is_new] = known.emplace(wanted, Peak{});
    for (std::int64_t t = 0; is_new && t < maps.texts(); ++t)
      if (concept_of_[static_cast<std::size_t>(t)] == wanted)
        if (const Peak found = peak_of(maps.map(t, buffer), maps.rows() * maps.columns());
            found.cell >= 0 && (at->second.cell < 0 || found.score > at->second.score))
          at->second = found;
    return at->second.cell;
  };
  for (const LabelledObject& o : p.countable) {
    const Cells right = overlapping_patches(o.box, maps.rows(), maps.columns());
    const std::int64_t cell = peak(o.concept_index);
    row.hits += cell >= 0 && right.hold(cell / maps.columns(), cell % maps.columns()) ? 1 : 0;
    row.overlap += static_cast<double>(right.count()) / static_cast<double>(maps.rows() * maps.columns());
  }
  for (const Trial& t : p.trials) {
    const std::int64_t cell = peak(t.concept_index);
    const auto x = middle_of(cell % maps.columns(), static_cast<double>(maps.columns()), p.width),
               y = middle_of(cell / maps.columns(), static_cast<double>(maps.rows()), p.height);
    row.trial_hits.push_back(cell >= 0 && hits(t, p.mask(), p.height, p.width, x, y, options_.tolerance) ? 1
                                                                                                         : 0);
  }
  if (!p.labels.empty()) row.segmentation = segmentation_.measure(maps, p.labels);
  return row;
}

ImageFindings::Row Localisation::row_of_centre(const Picture& p) const {
  ImageFindings::Row row;
  for (const LabelledObject& o : p.countable)
    row.hits += o.box[0] <= 0.5F && o.box[2] >= 0.5F && o.box[1] <= 0.5F && o.box[3] >= 0.5F ? 1 : 0;
  for (const Trial& t : p.trials)
    row.trial_hits.push_back(
        hits(t, p.mask(), p.height, p.width, p.width / 2, p.height / 2, options_.tolerance) ? 1 : 0);
  return row;
}

ImageFindings::Row Localisation::row_of_ceiling(const Picture& p, std::size_t of_model) const {
  ImageFindings::Row row;
  const DenseModel& model = models_[of_model];
  const ScoreMaps& maps = p.maps[of_model];
  // A window's patches go on over the whole image.
  const double patch = static_cast<double>(model.size) / static_cast<double>(model.grid);
  const bool whole = options_.protocol == Protocol::whole;
  const double rows = static_cast<double>(maps.rows()) / (whole ? 1 : patch),
               columns = static_cast<double>(maps.columns()) / (whole ? 1 : patch);
  row.hits = static_cast<std::int64_t>(p.countable.size());  // a patch overlaps every box
  const auto down = static_cast<std::int64_t>(std::ceil(rows)),
             along = static_cast<std::int64_t>(std::ceil(columns));
  for (const Trial& t : p.trials) {
    bool hit = false;
    for (std::int64_t c = 0; c < down * along && !hit; ++c)
      hit = hits(t, p.mask(), p.height, p.width, middle_of(c % along, columns, p.width),
                 middle_of(c / along, rows, p.height), options_.tolerance);
    row.trial_hits.push_back(hit ? 1 : 0);
  }
  if (!p.labels.empty()) row.segmentation = segmentation_.ceiling(p.labels, rows, columns);
  return row;
}

ImageFindings Localisation::look_at(const Picture& p) const {
  ImageFindings out;
  out.objects = static_cast<std::int64_t>(p.countable.size());
  for (const Trial& t : p.trials) {
    out.trials.push_back(t.concept_index);
    out.difficult.push_back(t.difficult ? 1 : 0);
  }
  for (const ScoreMaps& maps : p.maps) out.rows.push_back(row_of_model(p, maps));
  out.rows.push_back(row_of_centre(p));
  for (const std::size_t model : of_grid_) out.rows.push_back(row_of_ceiling(p, model));
  return out;
}

std::vector<ImageFindings> Localisation::measure(const std::vector<std::int64_t>& images,
                                                 const Tensor& pixels, const Tensor& patches) const {
  const auto all = static_cast<std::int64_t>(images.size());
  // Of an image there are six windows or more: no more pixels at once than in a batch of whole images.
  const std::int64_t at_once =
      options_.protocol == Protocol::whole ? all : std::max<std::int64_t>(all / 8, 1);
  std::vector<ImageFindings> out;
  for (std::int64_t begin = 0; begin < all; begin += at_once) {
    const std::int64_t end = std::min(begin + at_once, all);
    std::vector<Picture> here = pictures(images, pixels, begin, end);
    score(here, pixels.rows(begin, end), patches.rows(begin, end));
    std::vector<ImageFindings> found(here.size());
    on_all_cores(here.size(), [&](std::size_t k) { found[k] = look_at(here[k]); });
    std::ranges::move(found, std::back_inserter(out));
  }
  return out;
}

Localisation::Sums Localisation::sum(const std::vector<ImageFindings>& found, std::size_t row,
                                     std::span<const std::int32_t> times) const {
  Sums out;
  out.all.classes.resize(static_cast<std::size_t>(concepts_));
  out.difficult.classes.resize(static_cast<std::size_t>(concepts_));
  out.segmentation = segmentation_.nothing(on_masks_);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::int64_t n = times[i];
    if (n == 0) continue;
    const ImageFindings& image = found[i];
    const ImageFindings::Row& r = image.rows[row];
    out.objects.objects += n * image.objects;
    out.objects.hits += n * r.hits;
    out.objects.overlap += static_cast<double>(n) * r.overlap;
    for (std::size_t t = 0; t < image.trials.size(); ++t)
      for (FieldPointing* game : {&out.all, image.difficult[t] != 0 ? &out.difficult : nullptr})
        if (game) {
          FieldPointing::Class& c = game->classes[static_cast<std::size_t>(image.trials[t])];
          c.trials += n;
          c.hits += n * r.trial_hits[t];
        }
    out.segmentation.add(r.segmentation, n);
  }
  return out;
}

LocalisationResult Localisation::result(const std::vector<ImageFindings>& found) const {
  LocalisationResult out{.rows = {},
                         .protocol = options_.protocol,
                         .on_masks = on_masks_,
                         .images = static_cast<std::int64_t>(found.size()),
                         .tolerance = options_.tolerance,
                         .resamples = options_.resamples};
  using Kind = LocalisationRow::Kind;
  for (const DenseModel& m : models_)
    out.rows.push_back({.kind = Kind::model, .name = m.name, .grid = m.grid});
  out.rows.push_back({.kind = Kind::centre, .name = "centre"});
  for (const std::size_t m : of_grid_)
    out.rows.push_back({.kind = Kind::ceiling,
                        .name = fmt::format("ceiling of {}x{} patches", models_[m].grid, models_[m].grid),
                        .grid = models_[m].grid});
  const auto intervals = bootstrap(
      static_cast<std::int64_t>(found.size()), static_cast<std::int64_t>(out.rows.size() * Sums::count),
      [&](std::span<const std::int32_t> times, std::span<double> to) {
        for (std::size_t r = 0; r < out.rows.size(); ++r)
          std::ranges::copy(sum(found, r, times).values(),
                            to.begin() + static_cast<std::ptrdiff_t>(r * Sums::count));
      },
      {.resamples = options_.resamples});
  const std::vector<std::int32_t> once(found.size(), 1);
  for (std::size_t r = 0; r < out.rows.size(); ++r) {
    LocalisationRow& row = out.rows[r];
    Sums s = sum(found, r, once);
    const auto values = s.values();
    Measured* const to[] = {&row.on_objects, &row.on_all, &row.on_difficult, &row.mean_iou};
    for (std::size_t v = 0; v < Sums::count; ++v) *to[v] = {values[v], intervals[r * Sums::count + v]};
    row.objects = s.objects;
    row.all = std::move(s.all);
    row.difficult = std::move(s.difficult);
    if (row.kind != Kind::centre) row.segmentation = std::move(s.segmentation);
  }
  return out;
}

}  // namespace vitral::infer
