#include "data/masks.h"

#include <algorithm>

#include "base/error.h"

namespace vitral::data {
namespace {

constexpr const char *labels = "/masks/labels", *offsets = "/masks/offsets", *shapes = "/masks/shape";
constexpr std::int64_t chunk_labels = 1 << 19;                 // of flat maps
constexpr std::uint64_t most_labels = std::uint64_t{1} << 28;  // of one image

// Writes the first of the labels that wait, of `total` that came so far: in whole chunks, so that each is
// written once, and at the end the rest.
void flush(H5File& file, std::vector<std::uint16_t>& waiting, std::size_t count, std::uint64_t total) {
  if (count == 0) return;
  const auto n = static_cast<std::ptrdiff_t>(count);
  const bool is_first = waiting.size() == total;
  if (is_first) file.create_growing_uint16(labels, {}, std::min<std::int64_t>(n, chunk_labels));
  file.append_uint16(labels, {waiting.begin(), waiting.begin() + n});
  waiting.erase(waiting.begin(), waiting.begin() + n);
}

}  // namespace

MaskReader::MaskReader(std::shared_ptr<const H5File> file, std::shared_ptr<const InputFile> bytes,
                       std::int64_t images, std::int64_t concepts, const std::optional<Shape>& size)
    : file_(std::move(file)), bytes_(std::move(bytes)), concepts_(concepts) {
  const std::string& path = file_->path();
  if (!file_->has(labels)) throw_error<UsageError>("{}: /masks has no labels; write /masks/labels", path);
  layout_ = file_->layout(labels);
  const Shape& shape = layout_.shape;
  const bool flat = shape.rank() == 1;
  if ((layout_.dtype != DType::int64 && layout_.dtype != DType::uint8) || (shape.rank() != 3 && !flat))
    throw_error<UsageError>("{}: {} holds {} {}; uint16 [N,H,W] is needed, or [total] with {} and {}", path,
                            labels, file_->type_text(labels), shape, offsets, shapes);
  if (flat) {
    check_flat(*file_, images, size);
  } else if (shape[0] != images || (size && (shape[1] != (*size)[0] || shape[2] != (*size)[1]))) {
    throw_error<UsageError>("{}: {} is {} but the images are {}; write one label for each pixel", path,
                            labels, shape, size ? Shape{images, (*size)[0], (*size)[1]} : Shape{images});
  } else if (static_cast<std::uint64_t>(shape[1]) * static_cast<std::uint64_t>(shape[2]) > most_labels) {
    throw_error<UsageError>("{}: {} is {}; an image has at most 2^28 pixels", path, labels, shape);
  }
  index_ = index_storage(*file_, *bytes_, labels, layout_);
  if (index_.obstacle.empty() && !layout_.uint16) index_.obstacle = "not stored as uint16";
  if (index_.obstacle.empty() && index_.unwritten_rows() == 0) file_.reset();  // the last one ends the child
}

void MaskReader::check_flat(const H5File& file, std::int64_t images, const std::optional<Shape>& size) {
  const std::string& path = file.path();
  for (const auto& [name, needed] :
       {std::pair{offsets, Shape{images + 1}}, std::pair{shapes, Shape{images, 2}}}) {
    if (!file.has(name))
      throw_error<UsageError>("{}: {} [total] needs {}, which is missing", path, labels, name);
    if (file.shape(name) != needed)
      throw_error<UsageError>("{}: {} is {} but there are {} images; {} is needed", path, name,
                              file.shape(name), images, needed);
  }
  offsets_ = file.read_uint64(offsets);
  shapes_ = file.read_uint64(shapes);
  const auto total = static_cast<std::uint64_t>(layout_.shape[0]);
  for (std::size_t i = 0; i + 1 < offsets_.size(); ++i) {
    const std::uint64_t height = shapes_[2 * i], width = shapes_[2 * i + 1];
    if (offsets_[i] > offsets_[i + 1] || offsets_[i + 1] > total)
      throw_error<UsageError>("{}: {} row {} is {}; offsets must not fall, nor pass the {} labels", path,
                              offsets, i + 1, offsets_[i + 1], total);
    if (height > most_labels || width > most_labels || height * width > most_labels ||
        height * width != offsets_[i + 1] - offsets_[i])
      throw_error<UsageError>("{}: {} row {} is {} x {} but {} gives it {} labels", path, shapes, i, height,
                              width, offsets, offsets_[i + 1] - offsets_[i]);
    if (size && height * width > 0 &&
        (height != static_cast<std::uint64_t>((*size)[0]) || width != static_cast<std::uint64_t>((*size)[1])))
      throw_error<UsageError>(
          "{}: {} row {} is {} x {} but the images are {} x {}; write one label for each pixel", path, shapes,
          i, height, width, (*size)[0], (*size)[1]);
  }
}

void MaskReader::read_rows(std::int64_t first, std::int64_t count, std::vector<std::uint16_t>& to) const {
  if (index_.obstacle.empty() && index_.read(*bytes_, first, count, to.data())) return;
  std::vector<std::int64_t> values(to.size());
  file_->read_rows(labels, layout_, first, count, DType::int64, values.data());
  for (std::size_t k = 0; k < to.size(); ++k) {
    if (values[k] < 0 || values[k] > LabelMap::ignore)
      throw_error("{}: {} holds {}; labels are 0..65535", bytes_->path(), labels, values[k]);
    to[k] = static_cast<std::uint16_t>(values[k]);
  }
}

LabelMap MaskReader::read(std::int64_t i) const {
  LabelMap map;
  const bool flat = !offsets_.empty();
  const auto k = static_cast<std::size_t>(i);
  map.height = flat ? static_cast<std::int64_t>(shapes_[2 * k]) : layout_.shape[1];
  map.width = flat ? static_cast<std::int64_t>(shapes_[2 * k + 1]) : layout_.shape[2];
  map.labels.resize(static_cast<std::size_t>(map.height * map.width));
  if (map.empty()) return {};
  if (flat)
    read_rows(static_cast<std::int64_t>(offsets_[k]), map.height * map.width, map.labels);
  else
    read_rows(i, 1, map.labels);
  for (const std::uint16_t label : map.labels)
    if (label > concepts_ && label != LabelMap::ignore)
      throw_error("{}: {} of image {} holds {} but there are {} concepts; write concept + 1, 0 or 65535",
                  bytes_->path(), labels, i, label, concepts_);
  return map;
}

std::string MaskReader::description() const {
  const bool direct = index_.obstacle.empty();
  return fmt::format("{} {}, {}, read {}", layout_.uint16 ? "uint16" : "integers", layout_.shape,
                     index_.layout, direct ? "directly" : "through the HDF5 library: " + index_.obstacle);
}

MaskWriter::MaskWriter(H5File& file, std::optional<Shape> size) : file_(&file), size_(size) {
  if (size_) file_->create_growing_uint16(labels, *size_, 1);
}

void MaskWriter::add(const LabelMap& map) {
  VITRAL_CHECK(static_cast<std::int64_t>(map.labels.size()) == map.height * map.width,
               "mask writer: {} labels do not fill {} x {}", map.labels.size(), map.height, map.width);
  if (size_) {
    if (map.empty())
      return file_->append_uint16(labels,
                                  std::vector(static_cast<std::size_t>(size_->numel()), LabelMap::ignore));
    VITRAL_CHECK((Shape{map.height, map.width}) == *size_, "mask writer: a mask of {} x {} must be {}",
                 map.height, map.width, *size_);
    return file_->append_uint16(labels, map.labels);
  }
  buffer_.insert(buffer_.end(), map.labels.begin(), map.labels.end());
  offsets_.push_back(offsets_.back() + map.labels.size());
  shapes_.push_back(static_cast<std::uint64_t>(map.height));
  shapes_.push_back(static_cast<std::uint64_t>(map.width));
  flush(*file_, buffer_, buffer_.size() - buffer_.size() % chunk_labels, offsets_.back());
}

void MaskWriter::finish() {
  if (size_) return;
  flush(*file_, buffer_, buffer_.size(), offsets_.back());
  if (offsets_.back() == 0) file_->create_growing_uint16(labels, {}, 1);
  file_->write_uint64(offsets, offsets_, {static_cast<std::int64_t>(offsets_.size())});
  file_->write_uint64(shapes, shapes_, {static_cast<std::int64_t>(shapes_.size() / 2), 2});
}

}  // namespace vitral::data
