#include "data/annotations/coco.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <filesystem>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files/file_bytes.h"
#include "base/text.h"
#include "data/annotations/coco_names.h"

namespace vitral::data {
namespace {

using namespace coco;
using nlohmann::json;

// nlohmann's events. What is nested: 1 the file, 2 a section, 3 an element of it, 4 and 5 what its fields
// hold.
class Reader : public nlohmann::json_sax<json> {
 public:
  explicit Reader(const InputFile& file) : file_(file) {}

  Annotations read();
  Region read_region(std::string_view text);

  bool null() override {
    value();
    return true;
  }
  bool boolean(bool value) override { return number(value ? 1 : 0); }
  bool number_integer(number_integer_t value) override { return number(static_cast<double>(value)); }
  bool number_unsigned(number_unsigned_t value) override { return number(static_cast<double>(value)); }
  bool number_float(number_float_t value, const string_t&) override { return number(value); }
  bool binary(binary_t&) override { return true; }
  bool string(string_t& text) override;
  bool start_object(std::size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    fail_json(file_, position);
  }

 private:
  // What the fields of an element have said.
  struct Element {
    std::int64_t number = 0;  // in its section
    std::optional<std::int64_t> id, image_id, category_id;
    std::string name, file_name, coco_url;
    double width = 0, height = 0;
    bool crowd = false, has_runs = false;
    std::vector<double> box, size;
    std::string text;  // compressed runs
    Region region;
    std::uint64_t region_begin = 0, region_end = 0;  // in the file
  };

  template <class... A>
  [[noreturn]] void fail(fmt::format_string<A...> format, A&&... arguments) const {
    static constexpr std::array kinds{"", "image", "category", "annotation"};
    const auto kind = static_cast<std::size_t>(section_);
    throw_error("{}: {} {}: {}", file_.path(), kinds[kind],
                element_.id ? fmt::format("{}", *element_.id) : fmt::format("number {}", element_.number + 1),
                fmt::format(format, std::forward<A>(arguments)...));
  }
  [[noreturn]] void fail_mask() const {
    fail("its segmentation is neither a list of polygons nor a run-length encoding; write one of these");
  }
  Annotations finish();
  void begin_element();
  void enter();
  void leave();
  void value();
  bool number(double n);
  void field_number(double value);
  std::int64_t whole(const char* field, double value) const;
  void finish_image();
  void finish_category();
  void finish_annotation();
  void finish_region();

  const InputFile& file_;
  FileBytes at_;
  int depth_ = 0;
  Section section_ = Section::other;
  Field field_ = Field::other;
  RunField run_field_ = RunField::other;
  bool in_runs_ = false;
  bool seen_[4] = {};
  Element element_;
  std::int64_t count_[4] = {};  // elements of each section

  Annotations out_;
  std::unordered_map<std::int64_t, std::size_t> images_;
  std::unordered_map<std::int64_t, std::int64_t> categories_;
  std::unordered_set<std::string> names_, concepts_;
  std::deque<std::pair<std::int64_t, AnnotatedObject>>
      early_;  // annotations before their images, by image_id
};

void Reader::begin_element() {
  element_ = {};
  element_.number = count_[static_cast<int>(section_)]++;
  field_ = Field::other;
}

// What stands in a section's list.
void Reader::value() {
  if (section_ == Section::other || depth_ != 2) return;
  begin_element();
  fail("is no object; an object is needed");
}

void Reader::enter() {
  ++depth_;
  if (depth_ == 4 && field_ == Field::segmentation) element_.region_begin = at_.position() - 1;
}

void Reader::leave() {
  --depth_;
  if (depth_ == 3 && field_ == Field::segmentation) element_.region_end = at_.position();
}

bool Reader::start_object(std::size_t) {
  enter();
  if (section_ == Section::other) return true;
  if (depth_ == 2) throw_error("{}: {} is no list", file_.path(), name_of(section_names, section_));
  if (depth_ == 3) {
    begin_element();
  } else if (field_ == Field::segmentation) {
    if (depth_ != 4) fail_mask();
    in_runs_ = element_.has_runs = true;
  }
  return true;
}

bool Reader::key(string_t& name) {
  if (depth_ == 1) {
    section_ = one_of(section_names, name);
    bool& seen = seen_[static_cast<int>(section_)];
    if (section_ != Section::other && seen)
      throw_error("{}: {} is there twice; keep one", file_.path(), name);
    seen = true;
  } else if (section_ != Section::other && depth_ == 3) {
    field_ = one_of(field_names, name);
    if (section_ != Section::annotations && field_ >= Field::image_id) field_ = Field::other;
  } else if (in_runs_ && depth_ == 4) {
    run_field_ = one_of(run_field_names, name);
  }
  return true;
}

bool Reader::end_object() {
  leave();
  if (in_runs_ && depth_ == 3) in_runs_ = false;
  if (depth_ != 2) return true;
  if (section_ == Section::images) finish_image();
  if (section_ == Section::categories) finish_category();
  if (section_ == Section::annotations) finish_annotation();
  return true;
}

bool Reader::start_array(std::size_t) {
  value();
  enter();
  if (depth_ == 1)
    throw_error("{}: is a list, not an instances file of COCO with images, categories and annotations",
                file_.path());
  if (section_ == Section::other) return true;
  if (field_ == Field::segmentation && depth_ > 5) fail_mask();
  return true;
}

bool Reader::end_array() {
  if (field_ == Field::segmentation && section_ == Section::annotations && depth_ == 5 && !in_runs_) {
    // Fewer than three corners enclose nothing.
    Region& region = element_.region;
    const std::size_t begin = region.ends.empty() ? 0 : region.ends.back(),
                      corners = region.corners.size() - begin;
    if (corners % 2 != 0) fail("a polygon has {} coordinates; an even number is needed", corners);
    if (corners >= 6)
      region.ends.push_back(static_cast<std::uint32_t>(region.corners.size()));
    else
      region.corners.resize(begin);
  }
  leave();
  return true;
}

bool Reader::string(string_t& text) {
  value();
  if (section_ == Section::other) return true;
  if (in_runs_ && depth_ == 4 && run_field_ == RunField::counts) {
    element_.text = std::move(text);
  } else if (depth_ == 3) {
    if (field_ == Field::id || field_ == Field::image_id || field_ == Field::category_id)
      fail("'{}' is a text where a whole number is needed", shown(text));
    if (field_ == Field::name)
      element_.name = std::move(text);
    else if (field_ == Field::file_name)
      element_.file_name = std::move(text);
    else if (field_ == Field::coco_url)
      element_.coco_url = std::move(text);
  } else if (field_ == Field::segmentation || field_ == Field::bbox) {
    fail("'{}' is a text where a number is needed", shown(text));
  }
  return true;
}

std::int64_t Reader::whole(const char* field, double value) const {
  if (std::floor(value) != value || std::abs(value) > 0x1p53)
    fail("{} is {}; a whole number is needed", field, value);
  return static_cast<std::int64_t>(value);
}

void Reader::field_number(double value) {
  switch (field_) {
    case Field::id:
      element_.id = whole("id", value);
      break;
    case Field::image_id:
      element_.image_id = whole("image_id", value);
      break;
    case Field::category_id:
      element_.category_id = whole("category_id", value);
      break;
    case Field::width:
      element_.width = value;
      break;
    case Field::height:
      element_.height = value;
      break;
    case Field::iscrowd:
      element_.crowd = value != 0;
      break;
    default:
      break;
  }
}

bool Reader::number(double n) {
  value();
  if (section_ == Section::other) return true;
  if (depth_ == 3) {
    field_number(n);
  } else if (field_ == Field::bbox && depth_ == 4) {
    if (element_.box.size() == 4) fail("its bbox has more than 4 numbers");
    element_.box.push_back(n);
  } else if (field_ == Field::segmentation && section_ == Section::annotations) {
    if (in_runs_) {
      if (run_field_ == RunField::size && depth_ == 5 && element_.size.size() < 3) element_.size.push_back(n);
      if (run_field_ != RunField::counts || depth_ != 5) return true;
      if (!(n >= 0 && n < 0x1p32)) fail("a run of its mask is {} pixels long", n);
      element_.region.runs.push_back(static_cast<std::uint32_t>(n));
      return true;
    }
    if (depth_ != 5) fail_mask();
    std::int32_t fifths = 0;
    if (!to_fifths(n, fifths)) fail("a corner of its polygon lies at {}; no image is so large", n);
    element_.region.corners.push_back(fifths);
  }
  return true;
}

void Reader::finish_image() {
  Element& e = element_;
  if (!e.id) fail("has no id");
  if (e.file_name.empty()) e.file_name = e.coco_url.substr(e.coco_url.rfind('/') + 1);
  if (e.file_name.empty()) fail("has no file_name");
  const std::filesystem::path path(e.file_name);
  if (path.is_absolute() || std::find(path.begin(), path.end(), "..") != path.end())
    fail("its file_name '{}' leads out of the folder of images; name it from there", shown(e.file_name));
  if (!(e.width >= 1 && e.width < 0x1p31 && e.height >= 1 && e.height < 0x1p31))
    fail("its width and height are {} and {}; write those of the image", e.width, e.height);
  if (!images_.emplace(*e.id, out_.images.size()).second) fail("another image has this id");
  if (!names_.insert(e.file_name).second) fail("another image is called '{}', too", shown(e.file_name));
  AnnotatedImage& image = out_.images.emplace_back();
  image.name = std::move(e.file_name);
  image.source = file_.path();
  image.kind = "annotation";
  image.height = static_cast<std::int64_t>(e.height);
  image.width = static_cast<std::int64_t>(e.width);
}

void Reader::finish_category() {
  const Element& e = element_;
  if (!e.id) fail("has no id");
  if (e.name.empty()) fail("has no name; write one");
  if (!categories_.emplace(*e.id, static_cast<std::int64_t>(out_.concepts.size())).second)
    fail("another category has this id");
  if (!concepts_.insert(e.name).second) fail("another category is called '{}', too", shown(e.name));
  out_.concepts.push_back(e.name);
}

void Reader::finish_region() {
  Element& e = element_;
  Region& region = e.region;
  if (!e.has_runs) return;
  if (e.size.size() != 2 || !(e.size[0] >= 1 && e.size[0] < 0x1p31 && e.size[1] >= 1 && e.size[1] < 0x1p31))
    fail("its mask has no size; write \"size\": [height, width]");
  region.height = static_cast<std::int64_t>(e.size[0]);
  region.width = static_cast<std::int64_t>(e.size[1]);
  if (!e.text.empty() && !decode_runs(e.text, region.runs))
    fail("the counts of its mask are no run-length encoding; write them again");
  if (region.runs.empty()) fail("its mask has no counts; write them");
}

void Reader::finish_annotation() {
  Element& e = element_;
  if (!e.image_id) fail("has no image_id");
  if (!e.category_id)
    fail("has no category_id; an instances file is needed, not one of captions or panoptic segments");
  if (e.box.size() != 4) fail("has no bbox; write \"bbox\": [x, y, width, height]");
  const bool finite = std::all_of(e.box.begin(), e.box.end(), [](double v) { return std::abs(v) < 0x1p31; });
  if (!finite || e.box[2] < 0 || e.box[3] < 0)
    fail("its bbox is ({}, {}, {}, {}); x, y, width and height are needed", e.box[0], e.box[1], e.box[2],
         e.box[3]);
  finish_region();
  AnnotatedObject object;
  object.id = e.id.value_or(e.number + 1);
  object.concept_index = *e.category_id;  // its concept is known at the end
  object.crowd = e.crowd;
  object.box = {e.box[0], e.box[1], e.box[0] + e.box[2], e.box[1] + e.box[3]};
  if (!e.region.empty()) {
    constexpr std::uint64_t longest = 1 << 30;
    if (e.region_end - e.region_begin > longest) fail("its segmentation is longer than 2^30 bytes");
    object.region_begin = e.region_begin;
    object.region_bytes = static_cast<std::uint32_t>(e.region_end - e.region_begin);
    out_.has_masks = true;
  }
  if (const auto image = images_.find(*e.image_id); image != images_.end())
    out_.images[image->second].objects.push_back(object);
  else
    early_.emplace_back(*e.image_id, object);
}

Annotations Reader::finish() {
  for (const auto& [name, section] : section_names)
    if (!seen_[static_cast<int>(section)])
      throw_error("{}: has no {}; an instances file of COCO has images, categories and annotations",
                  file_.path(), name);
  if (out_.images.empty()) throw_error("{}: lists no images", file_.path());
  if (out_.concepts.empty() || static_cast<std::int64_t>(out_.concepts.size()) > LabelMap::most_concepts)
    throw_error("{}: has {} categories; 1 to {} are possible", file_.path(), out_.concepts.size(),
                LabelMap::most_concepts);
  for (; !early_.empty(); early_.pop_front()) {
    const auto& [id, object] = early_.front();
    const auto image = images_.find(id);
    if (image == images_.end())
      throw_error("{}: annotation {}: its image_id {} is not among the images", file_.path(), object.id, id);
    out_.images[image->second].objects.push_back(object);
  }
  for (AnnotatedImage& image : out_.images) {
    for (AnnotatedObject& object : image.objects) {
      const auto category = categories_.find(object.concept_index);
      if (category == categories_.end())
        throw_error("{}: annotation {}: its category_id {} is not among the categories", file_.path(),
                    object.id, object.concept_index);
      object.concept_index = category->second;
    }
    clip_boxes(image, image.height, image.width);
  }
  out_.has_boxes = out_.marks_crowds = true;
  return std::move(out_);
}

Annotations Reader::read() {
  at_ = FileBytes(file_);
  json::sax_parse(at_, FileBytes(), this);
  return finish();
}

// As it comes to it in the file.
Region Reader::read_region(std::string_view text) {
  at_ = FileBytes(file_);
  depth_ = 3;
  section_ = Section::annotations;
  field_ = Field::segmentation;
  json::sax_parse(text.begin(), text.end(), this);
  finish_region();
  return std::move(element_.region);
}

}  // namespace

Annotations read_coco(const InputFile& file) { return Reader(file).read(); }

Region read_coco_region(const InputFile& file, const AnnotatedObject& object) {
  if (object.region_bytes == 0) return {};
  std::string text(object.region_bytes, ' ');
  file.read(object.region_begin, text.data(), text.size());
  return Reader(file).read_region(text);
}

}  // namespace vitral::data
