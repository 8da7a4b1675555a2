#include "data/dataset.h"

#include <algorithm>
#include <map>

#include "base/hash.h"
#include "base/text.h"
#include "data/dataset_file.h"

namespace vitral::data {

namespace {

// All samples of a batch have the same places.
void check_alike(const DatasetFile& first, const DatasetFile& file, Target kind) {
  const char* name = kind_of(kind).dataset;
  const Shape a = first.target_shape(kind), b = file.target_shape(kind);
  if (a != b)
    throw_error<UsageError>("{}: {} are {} an image but those of {} {}; teach all files alike", file.path,
                            name, b, first.path, a);
  if (kind == Target::regions && first.region_boxes.to_vector() != file.region_boxes.to_vector())
    throw_error<UsageError>("{}: its /regions/boxes are other ones than those of {}; teach all files alike",
                            file.path, first.path);
}

}  // namespace

Dataset Dataset::open(const std::string& path, const DatasetNames& names,
                      const std::vector<Target>& targets) {
  return open(std::vector<std::string>{path}, names, targets);
}

Dataset Dataset::open(const std::vector<std::string>& paths, const DatasetNames& names,
                      const std::vector<Target>& targets) {
  VITRAL_CHECK(!paths.empty(), "dataset: no files given");
  Dataset d;
  d.paths_ = paths;
  const DatasetFile* first = nullptr;  // with embeddings
  for (const auto& path : paths) {
    const auto file = std::make_shared<const DatasetFile>(path, names, targets);
    if (file->width > 0 && !first) {
      first = file.get();
      d.width_ = file->width;
    } else if (file->width > 0 && file->width != d.width_) {
      throw_error<UsageError>("{} has embeddings of width {} but {} of width {}; use files of one teacher",
                              first->path, d.width_, path, file->width);
    }
    for (const Target kind : targets)
      if (!d.files_.empty() && kind != Target::image) check_alike(*d.files_.front(), *file, kind);
    d.files_.push_back(file);
    d.begin_.push_back(d.begin_.back() + file->size);
  }
  d.place_concepts();
  return d;
}

std::size_t Dataset::file_of(std::int64_t i) const {
  VITRAL_CHECK(i >= 0 && i < size(), "{}: image {} is out of range, there are {}", paths_.front(), i, size());
  return static_cast<std::size_t>(std::upper_bound(begin_.begin(), begin_.end(), i) - begin_.begin()) - 1;
}

const DatasetFile& Dataset::locate(std::int64_t& i) const {
  const std::size_t k = file_of(i);
  i -= begin_[k];
  return *files_[k];
}

void Dataset::require_embeddings() const {
  for (const auto& file : files_) file->require_embeddings();
}

std::int64_t Dataset::views(std::int64_t i) const { return locate(i).views; }

std::int64_t Dataset::plain_view(std::int64_t i) const {
  const DatasetFile& file = locate(i);
  const auto seeds = file.view_seeds.begin() + i * file.views;
  const auto found = std::find(seeds, seeds + file.views, std::uint64_t{0});
  return found == seeds + file.views ? -1 : found - seeds;
}

std::uint64_t Dataset::view_seed(std::int64_t i, std::int64_t v) const {
  const DatasetFile& file = locate(i);
  VITRAL_CHECK(v >= 0 && v < file.views, "{}: view {} is out of range, there are {}", file.path, v,
               file.views);
  return file.view_seeds[static_cast<std::size_t>(i * file.views + v)];
}

Tensor Dataset::image(std::int64_t i) const {
  const std::int64_t index = i;
  const DatasetFile& file = locate(i);
  if (file.plain) {
    Tensor image({file.plain->shape()[1], file.plain->shape()[2], 3}, DType::uint8);
    file.plain->read(i, image.raw());
    return image;
  }
  thread_local std::vector<std::uint8_t> bytes;
  file.encoded->read(i, bytes);
  return decode(index, bytes);
}

std::optional<Dataset::Size> Dataset::plain_size(std::int64_t i) const {
  const DatasetFile& file = locate(i);
  if (!file.plain) return std::nullopt;
  return Size{file.plain->shape()[1], file.plain->shape()[2]};
}

void Dataset::read_plain(std::int64_t i, std::uint8_t* to) const {
  const DatasetFile& file = locate(i);
  VITRAL_CHECK(file.plain.has_value(), "{}: its images are encoded", file.path);
  file.plain->read(i, to);
}

void Dataset::read_encoded(std::int64_t i, std::vector<std::uint8_t>& buffer) const {
  const DatasetFile& file = locate(i);
  VITRAL_CHECK(file.encoded.has_value(), "{}: its images are plain", file.path);
  file.encoded->read(i, buffer);
}

Tensor Dataset::decode(std::int64_t i, std::span<const std::uint8_t> bytes, std::int64_t min_side) const {
  return decode_image(bytes, one_line(name(i)), {.min_side = min_side, .exif = exif(i)});
}

Exif Dataset::exif(std::int64_t i) const {
  const DatasetFile& file = locate(i);
  return exif_of_all_ ? exif_ : file.exif.value_or(exif_);
}

void Dataset::set_exif(Exif exif, bool of_all) {
  exif_ = exif;
  exif_of_all_ = of_all;
}

std::string Dataset::exif_note() const {
  for (const auto& file : files_)
    if (file->encoded && !exif_of_all_ && file->exif.value_or(exif_) != exif_)
      return fmt::format(
          "{}: its {} are of images with their Exif orientation {}, so that is how they are decoded",
          file->path, file->embeddings ? "embeddings" : "annotations",
          exif_ == Exif::apply ? "ignored" : "applied");
  return "";
}

std::string Dataset::crop_note() const {
  for (const auto& file : files_)
    if (file->stored && file->stored->starts_with("stretched"))
      return fmt::format(
          "{}: its images were {} when they were packed, so the crop acts on those; vitral pack --encoded "
          "keeps the originals",
          file->path, one_line(*file->stored));
  return "";
}

Tensor Dataset::target(std::int64_t i, std::int64_t v) const {
  Tensor target({width_});
  read_target(i, v, target.data<float>());
  return target;
}

Shape Dataset::target_shape(Target kind) const { return files_.front()->target_shape(kind); }

const Tensor& Dataset::region_boxes() const { return files_.front()->region_boxes; }

void Dataset::read_target(std::int64_t i, std::int64_t v, float* to, Target kind) const {
  const DatasetFile& file = locate(i);
  if (kind == Target::image && !file.embeddings) require_embeddings();
  VITRAL_CHECK(v >= 0 && v < std::max<std::int64_t>(file.views, 1),
               "{}: view {} is out of range, there are {}", file.path, v, file.views);
  file.read_target(kind, i, v, to);
}

std::string Dataset::name(std::int64_t i) const {
  const DatasetFile& file = locate(i);
  return file.names.empty() ? fmt::format("image {} of {}", i, file.path)
                            : file.names[static_cast<std::size_t>(i)];
}

bool Dataset::has_name(std::int64_t i) const { return !locate(i).names.empty(); }

bool Dataset::has_captions() const {
  return std::any_of(files_.begin(), files_.end(), [](const auto& file) { return file->captions_each > 0; });
}

void Dataset::open_captions() const {
  for (const auto& file : files_) file->open_captions();
}

std::vector<std::string> Dataset::captions(std::int64_t i) const {
  const DatasetFile& file = locate(i);
  return file.captions(i);
}

void Dataset::place_concepts() {
  std::map<std::string, std::vector<std::pair<const float*, std::int64_t>>> known;  // embedding and place
  std::int64_t count = 0;
  for (const auto& file : files_) {
    auto& places = places_.emplace_back();
    if (!file->concepts) continue;
    const Concepts& c = *file->concepts;
    const std::int64_t width = c.embeddings.defined() ? c.embeddings.dim(1) : 0;
    for (std::size_t k = 0; k < c.names.size(); ++k) {
      const float* own =
          width > 0 ? c.embeddings.data<float>() + static_cast<std::int64_t>(k) * width : nullptr;
      auto& same = known[c.names[k]];
      const auto found = std::find_if(same.begin(), same.end(), [&](const auto& other) {
        return own && other.first ? std::equal(own, own + width, other.first) : own == other.first;
      });
      places.push_back(found == same.end() ? count : found->second);
      if (found == same.end()) same.emplace_back(own, count++);
    }
  }
}

std::optional<Concepts> Dataset::concepts() const {
  std::optional<Concepts> all;
  std::int64_t objects = 0, width = 0, count = 0;
  for (std::size_t k = 0; k < files_.size(); ++k) {
    if (!files_[k]->concepts) continue;
    const Concepts& c = *files_[k]->concepts;
    const std::int64_t own = c.embeddings.defined() ? c.embeddings.dim(1) : 0;
    if (!all) {
      all.emplace();
      width = own;
    }
    if ((own > 0) != (width > 0))
      throw_error<UsageError>(
          "{}: of these files some have /concepts/embeddings and some have not; write all", files_[k]->path);
    if (own != width)
      throw_error<UsageError>("{}: /concepts/embeddings has width {}, another file has {}", files_[k]->path,
                              own, width);
    objects += static_cast<std::int64_t>(c.image.size());
    for (const auto place : places_[k]) count = std::max(count, place + 1);
  }
  if (!all) return all;
  all->names.resize(static_cast<std::size_t>(count));
  if (width > 0) all->embeddings = Tensor({count, width});
  all->boxes = Tensor({objects, 4});
  objects = 0;
  for (std::size_t k = 0; k < files_.size(); ++k) {
    if (!files_[k]->concepts) continue;
    const Concepts& c = *files_[k]->concepts;
    for (std::size_t j = 0; j < c.names.size(); ++j) {
      const std::int64_t place = places_[k][j], row = static_cast<std::int64_t>(j);
      all->names[static_cast<std::size_t>(place)] = c.names[j];
      if (width > 0) all->embeddings.rows(place, place + 1).copy_from(c.embeddings.rows(row, row + 1));
    }
    for (const auto image : c.image) all->image.push_back(begin_[k] + image);
    for (const auto index : c.concept_index)
      all->concept_index.push_back(places_[k][static_cast<std::size_t>(index)]);
    const std::int64_t end = objects + c.boxes.dim(0);
    all->boxes.rows(objects, end).copy_from(c.boxes);
    for (const auto member : {&Concepts::difficult, &Concepts::crowd}) {
      auto& flags = (*all).*member;
      if ((c.*member).empty() && flags.empty()) continue;
      flags.resize(static_cast<std::size_t>(objects));
      flags.insert(flags.end(), (c.*member).begin(), (c.*member).end());
      flags.resize(static_cast<std::size_t>(end));
    }
    objects = end;
  }
  return all;
}

bool Dataset::has_masks() const {
  return std::any_of(files_.begin(), files_.end(), [](const auto& file) { return file->masks.has_value(); });
}

LabelMap Dataset::labels(std::int64_t i) const {
  const std::size_t k = file_of(i);
  if (!files_[k]->masks) return {};
  LabelMap map = files_[k]->masks->read(i - begin_[k]);
  for (std::uint16_t& label : map.labels) {
    if (label == LabelMap::none || label == LabelMap::ignore) continue;
    const std::int64_t place = places_[k][label - std::size_t{1}];
    if (place >= LabelMap::most_concepts)
      throw_error<UsageError>("{}: with the files before it there are more than {} concepts", files_[k]->path,
                              LabelMap::most_concepts);
    label = static_cast<std::uint16_t>(place + 1);
  }
  return map;
}

std::optional<Dataset::Size> Dataset::original_size(std::int64_t i) const {
  const std::size_t k = file_of(i);
  const auto& sizes = files_[k]->original_sizes;
  return sizes.empty() ? plain_size(i) : sizes[static_cast<std::size_t>(i - begin_[k])];
}

const std::string& Dataset::file(std::int64_t i) const { return locate(i).path; }
std::optional<std::string> Dataset::teacher(std::int64_t i) const { return locate(i).teacher; }
int Dataset::view_size(std::int64_t i) const { return locate(i).view_size; }

std::optional<std::string> Dataset::transform(std::int64_t i) const { return locate(i).transform; }

std::string Dataset::description() const {
  if (files_.size() == 1) return files_.front()->description();
  std::string text = fmt::format("{} images in {} files\n", size(), files_.size());
  for (const auto& file : files_) text += file->path + "\n" + file->description();
  return text;
}

std::uint64_t dataset_digest(const Dataset& dataset) {
  Hash hash;
  std::vector<std::uint8_t> bytes;
  const std::int64_t count = std::min<std::int64_t>(dataset.size(), 64);
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t i = k * dataset.size() / count;
    if (dataset.plain_size(i)) {
      const Tensor image = dataset.image(i);
      hash.add(image.raw(), static_cast<std::size_t>(image.bytes()));
    } else {
      dataset.read_encoded(i, bytes);
      hash.add(bytes.data(), bytes.size());
    }
  }
  return hash.value();
}

}  // namespace vitral::data
