#include "data/annotated_images.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/files/input_file.h"
#include "data/annotations/coco.h"
#include "data/annotations/label_maps.h"
#include "data/annotations/voc.h"
#include "data/images/codec.h"

namespace vitral::data {
namespace {

using Size = Dataset::Size;

Size turned(Size size, int orientation) {
  return turning_of(orientation).transposes ? Size{size.width, size.height} : size;
}

// Of what was noted for `noted` pixels, the orientation that remains to be applied; the file has `stored`.
int orientation_left(const std::string& what, Size noted, const std::string& image, Size stored,
                     int orientation, Exif exif) {
  if (noted == stored) return exif == Exif::apply ? orientation : 1;
  // Tools that show photographs upright note that.
  if (noted != turned(stored, orientation))
    throw_error("{}: is of {} x {} pixels but {} has {} x {}; give the images that it was made of", what,
                noted.width, noted.height, image, stored.width, stored.height);
  if (exif == Exif::ignore) throw_error("{}: is of {} turned upright; leave --exif ignore out", what, image);
  return 1;
}

// The pixel whose middle is nearest, as Pillow's NEAREST.
LabelMap stretched(const LabelMap& map, Size to) {
  if (map.height == to.height && map.width == to.width) return map;
  LabelMap out{to.height, to.width, {}};
  out.labels.reserve(static_cast<std::size_t>(to.height * to.width));
  for (std::int64_t y = 0; y < to.height; ++y) {
    const std::uint16_t* row = map.labels.data() + (2 * y + 1) * map.height / (2 * to.height) * map.width;
    for (std::int64_t x = 0; x < to.width; ++x)
      out.labels.push_back(row[(2 * x + 1) * map.width / (2 * to.width)]);
  }
  return out;
}

std::array<float, 4> turned_box(const std::array<double, 4>& box, Size size, int orientation) {
  auto [x0, y0, x1, y1] = box;
  x0 /= static_cast<double>(size.width), x1 /= static_cast<double>(size.width);
  y0 /= static_cast<double>(size.height), y1 /= static_cast<double>(size.height);
  const Turning turning = turning_of(orientation);
  if (turning.mirrors_x) x0 = 1 - std::exchange(x1, 1 - x0);
  if (turning.mirrors_y) y0 = 1 - std::exchange(y1, 1 - y0);
  if (turning.transposes) std::swap(x0, y0), std::swap(x1, y1);
  return {static_cast<float>(x0), static_cast<float>(y0), static_cast<float>(x1), static_cast<float>(y1)};
}

}  // namespace

void check_annotation_options(const AnnotationOptions& o) {
  const int sources = static_cast<int>(!o.voc.empty()) + static_cast<int>(!o.coco.empty()) +
                      static_cast<int>(!o.label_maps.empty());
  VITRAL_CHECK(sources <= 1,
               "--voc, --coco and --label-maps: give one of them; pack each into a file of its own");
  VITRAL_CHECK(o.split.empty() || !o.voc.empty(), "--split {}: names images of --voc DIR", o.split);
  VITRAL_CHECK(o.coco.empty() == o.images.empty(),
               "--coco and --images belong together: an instances file and the folder of its images");
  VITRAL_CHECK(o.label_maps.empty() || !o.classes.empty(),
               "--label-maps {}: needs --classes FILE, the names of the classes, one a line", o.label_maps);
  VITRAL_CHECK(o.classes.empty() || !o.label_maps.empty() || !o.voc.empty(),
               "--classes {}: belongs to --label-maps or --voc", o.classes);
  VITRAL_CHECK((!o.zero_is_class && o.ignore.empty()) || !o.label_maps.empty(),
               "--zero-is-class and --ignore belong to --label-maps");
  for (const auto value : o.ignore)
    VITRAL_CHECK(value >= 0 && value <= 65535, "--ignore {}: must be in 0..65535", value);
}

AnnotatedImages::AnnotatedImages(const AnnotationOptions& options) : options_(options) {
  if (!options_.voc.empty()) annotations_ = read_voc(options_.voc, options_.split, options_.classes);
  if (!options_.coco.empty()) {
    if (!std::filesystem::is_directory(file_status(options_.images)))
      throw_error<UsageError>("--images {}: is no folder", options_.images);
    coco_.emplace(options_.coco);
    annotations_ = read_coco(*coco_);
    for (AnnotatedImage& image : annotations_.images)
      image.path = (std::filesystem::path(options_.images) / image.name).string();
  }
  if (!options_.label_maps.empty()) {
    annotations_.concepts = read_class_names(options_.classes);
    ClassNumbers& numbers = annotations_.numbers;
    numbers.classes = static_cast<std::int64_t>(annotations_.concepts.size());
    numbers.zero_is_class = options_.zero_is_class;
    numbers.ignore = options_.ignore;
    // As nearly all have it, where that is no class.
    if (numbers.ignore.empty() && numbers.classes + (numbers.zero_is_class ? 0 : 1) <= 255)
      numbers.ignore = {255};
    annotations_.has_masks = true;
  }
}

std::vector<ImageFile> AnnotatedImages::files() const {
  std::vector<ImageFile> out;
  for (const AnnotatedImage& image : annotations_.images) out.push_back({image.path, image.name});
  return out;
}

void AnnotatedImages::choose(const std::vector<ImageFile>& files) {
  auto& images = annotations_.images;
  if (!options_.label_maps.empty()) {
    const LabelMapFolder maps(options_.label_maps);
    for (const ImageFile& file : files) {
      AnnotatedImage& image = images.emplace_back();
      image.name = file.name;
      image.label_map = maps.find(file.name);
    }
    if (!files.empty() &&
        std::all_of(images.begin(), images.end(), [](const auto& image) { return image.label_map.empty(); }))
      throw_error<UsageError>(
          "{}: holds no map with the name of an image; the first image is {}, the first map {}",
          options_.label_maps, files.front().name, maps.first());
  }
  for (std::size_t k = 0; k < images.size(); ++k) place_.emplace(images[k].name, k);
  if (coco_)
    for (const ImageFile& file : files)
      if (!std::filesystem::exists(file_status(file.path)))
        throw_error<UsageError>(
            "{}: names {}, which is not in {}; give the folder of its images, or take some by "
            "--limit",
            options_.coco, file.name, options_.images);
}

AnnotatedImages::Notes AnnotatedImages::notes_of(const std::string& name, Size pixels, int orientation,
                                                 Exif exif, const std::optional<Size>& stored) const {
  Notes notes;
  notes.image = &annotations_.images[place_.at(name)];
  notes.size = exif == Exif::apply ? turned(pixels, orientation) : pixels;
  AnnotatedImage image = *notes.image;
  Size noted{image.height, image.width};
  if (image.height == 0 || image.width == 0) noted = pixels;
  int left = orientation_left(image.source, noted, name, pixels, orientation, exif);
  clip_boxes(image, noted.height, noted.width);
  for (const AnnotatedObject& object : image.objects)
    notes.boxes.push_back(turned_box(object.box, noted, left));
  if (!image.label_map.empty()) {
    notes.labels = read_label_map(image.label_map, annotations_.numbers);
    noted = {notes.labels.height, notes.labels.width};
    left = orientation_left(image.label_map, noted, name, pixels, orientation, exif);
  } else if (coco_ && has_masks()) {
    std::vector<Region> regions;
    for (const AnnotatedObject& object : image.objects) regions.push_back(read_coco_region(*coco_, object));
    notes.labels = paint_objects(image, regions, noted.height, noted.width);
  } else {
    return notes;
  }
  if (left > 1) {
    notes.labels.labels = upright(notes.labels.labels, noted.height, noted.width, left);
    notes.labels.height = notes.size.height;
    notes.labels.width = notes.size.width;
  }
  if (stored) notes.labels = stretched(notes.labels, *stored);
  return notes;
}

void AnnotatedImages::Objects::add(std::int64_t image, const Notes& notes) {
  for (std::size_t k = 0; k < notes.boxes.size(); ++k) {
    const AnnotatedObject& object = notes.image->objects[k];
    all_.image.push_back(image);
    all_.concept_index.push_back(object.concept_index);
    boxes_.insert(boxes_.end(), notes.boxes[k].begin(), notes.boxes[k].end());
    if (from_->annotations_.marks_difficult) all_.difficult.push_back(object.difficult ? 1 : 0);
    if (from_->annotations_.marks_crowds) all_.crowd.push_back(object.crowd ? 1 : 0);
  }
}

Concepts AnnotatedImages::Objects::concepts() const {
  Concepts out = all_;
  out.names = from_->concepts();
  out.boxes = Tensor::from(boxes_, {count(), 4});
  return out;
}

}  // namespace vitral::data
