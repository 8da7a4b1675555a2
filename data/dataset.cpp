#include "data/dataset.h"

#include <algorithm>

#include "base/hash.h"
#include "base/text.h"
#include "data/dataset_file.h"

namespace vitral::data {

Dataset Dataset::open(const std::string& path, const DatasetNames& names) {
  return open(std::vector<std::string>{path}, names);
}

Dataset Dataset::open(const std::vector<std::string>& paths, const DatasetNames& names) {
  VITRAL_CHECK(!paths.empty(), "dataset: no files given");
  Dataset d;
  d.paths_ = paths;
  const DatasetFile* first = nullptr;  // with embeddings
  for (const auto& path : paths) {
    const auto file = std::make_shared<const DatasetFile>(path, names);
    if (file->width > 0 && !first) {
      first = file.get();
      d.width_ = file->width;
    } else if (file->width > 0 && file->width != d.width_) {
      throw_error<UsageError>("{} has embeddings of width {} but {} of width {}; use files of one teacher",
                              first->path, d.width_, path, file->width);
    }
    d.files_.push_back(file);
    d.begin_.push_back(d.begin_.back() + file->size);
  }
  return d;
}

const DatasetFile& Dataset::locate(std::int64_t& i) const {
  VITRAL_CHECK(i >= 0 && i < size(), "{}: image {} is out of range, there are {}", paths_.front(), i, size());
  const auto after = std::upper_bound(begin_.begin(), begin_.end(), i);
  const auto k = static_cast<std::size_t>(after - begin_.begin()) - 1;
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
          "{}: its embeddings are of images with their Exif orientation {}, so that is how they are decoded",
          file->path, exif_ == Exif::apply ? "ignored" : "applied");
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

void Dataset::read_target(std::int64_t i, std::int64_t v, float* to) const {
  const DatasetFile& file = locate(i);
  if (!file.embeddings) require_embeddings();
  VITRAL_CHECK(v >= 0 && v < std::max<std::int64_t>(file.views, 1),
               "{}: view {} is out of range, there are {}", file.path, v, file.views);
  file.read_target(i, v, to);
}

std::string Dataset::name(std::int64_t i) const {
  const DatasetFile& file = locate(i);
  return file.names.empty() ? fmt::format("image {} of {}", i, file.path)
                            : file.names[static_cast<std::size_t>(i)];
}

bool Dataset::has_name(std::int64_t i) const { return !locate(i).names.empty(); }

std::optional<Concepts> Dataset::concepts() const {
  std::optional<Concepts> all;
  std::int64_t objects = 0;
  for (const auto& file : files_)
    if (file->concepts) objects += static_cast<std::int64_t>(file->concepts->image.size());
  for (std::size_t k = 0; k < files_.size(); ++k) {
    if (!files_[k]->concepts) continue;
    const Concepts& c = *files_[k]->concepts;
    if (!all) {
      all = Concepts{c.names, c.embeddings, {}, {}, Tensor({objects, 4})};
      objects = 0;
    }
    if (c.embeddings.defined() != all->embeddings.defined())
      throw_error<UsageError>(
          "{}: of these files some have /concepts/embeddings and some have not; write all", files_[k]->path);
    if (!c.embeddings.defined()) {  // the same name is the same concept
      std::vector<std::int64_t> place;
      for (const auto& name : c.names) {
        const auto known = std::find(all->names.begin(), all->names.end(), name);
        place.push_back(known - all->names.begin());
        if (known == all->names.end()) all->names.push_back(name);
      }
      for (auto index : c.concept_index) all->concept_index.push_back(place[static_cast<std::size_t>(index)]);
      for (auto image : c.image) all->image.push_back(begin_[k] + image);
      all->boxes.rows(objects, objects + c.boxes.dim(0)).copy_from(c.boxes);
      objects += c.boxes.dim(0);
      continue;
    }
    if (c.embeddings.dim(1) != all->embeddings.dim(1))
      throw_error<UsageError>("{}: /concepts/embeddings has width {}, another file has {}", files_[k]->path,
                              c.embeddings.dim(1), all->embeddings.dim(1));
    const auto known = static_cast<std::int64_t>(all->names.size());
    std::int64_t shift = 0;
    const bool shared = c.names == all->names && std::equal(c.embeddings.data<float>(),
                                                            c.embeddings.data<float>() + c.embeddings.numel(),
                                                            all->embeddings.data<float>());
    if (!shared) {
      shift = known;
      Tensor grown({known + static_cast<std::int64_t>(c.names.size()), c.embeddings.dim(1)});
      grown.rows(0, known).copy_from(all->embeddings);
      grown.rows(known, grown.dim(0)).copy_from(c.embeddings);
      all->embeddings = grown;
      all->names.insert(all->names.end(), c.names.begin(), c.names.end());
    }
    for (auto image : c.image) all->image.push_back(begin_[k] + image);
    for (auto index : c.concept_index) all->concept_index.push_back(shift + index);
    const std::int64_t count = c.boxes.dim(0);
    all->boxes.rows(objects, objects + count).copy_from(c.boxes);
    objects += count;
  }
  return all;
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
