#include "data/annotations/coco_captions.h"

#include <cmath>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/files/file_bytes.h"
#include "base/text.h"
#include "data/annotations/coco_names.h"

namespace vitral::data {
namespace {

using namespace coco;
using nlohmann::json;

// nlohmann's events. What is nested: 1 the file, 2 a section, 3 an element of it.
class Reader : public nlohmann::json_sax<json> {
 public:
  using Take = std::function<void(const std::string&, const std::string&)>;
  Reader(const InputFile& file, const Take& take) : file_(file), take_(take) {}

  void read() {
    json::sax_parse(FileBytes(file_), FileBytes(), this);
    for (const Section section : {Section::images, Section::annotations})
      if (count_[static_cast<int>(section)] == 0)
        throw_error("{}: has no {}; a captions file of COCO has images and annotations", file_.path(),
                    name_of(section_names, section));
    for (; !early_.empty(); early_.pop_front()) {
      const auto& [id, caption] = early_.front();
      const auto image = images_.find(id);
      if (image == images_.end())
        throw_error("{}: the caption '{}' is of image_id {}, which is not among the images", file_.path(),
                    shown(caption), id);
      take_(image->second, caption);
    }
  }

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t value) override { return number(static_cast<double>(value)); }
  bool number_unsigned(number_unsigned_t value) override { return number(static_cast<double>(value)); }
  bool number_float(number_float_t value, const string_t&) override { return number(value); }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    if (++depth_ != 3 || section_ == Section::other) return true;
    element_ = {};
    field_ = Field::other;
    ++count_[static_cast<int>(section_)];
    return true;
  }
  bool key(string_t& name) override {
    if (depth_ == 1) section_ = one_of(section_names, name);
    if (depth_ == 3) field_ = one_of(field_names, name);
    return true;
  }
  bool end_object() override {
    if (--depth_ != 2) return true;
    if (section_ == Section::images) finish_image();
    if (section_ == Section::annotations) finish_annotation();
    return true;
  }
  bool start_array(std::size_t) override {
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool string(string_t& text) override {
    if (depth_ != 3) return true;
    if (field_ == Field::file_name) element_.file_name = std::move(text);
    if (field_ == Field::coco_url) element_.coco_url = std::move(text);
    if (field_ == Field::caption) element_.caption = std::move(text);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const json::exception&) override {
    fail_json(file_, position);
  }

 private:
  struct Element {
    std::optional<std::int64_t> id, image_id;
    std::string file_name, coco_url;
    std::optional<std::string> caption;
  };

  bool number(double value) {
    if (depth_ != 3 || (field_ != Field::id && field_ != Field::image_id)) return true;
    if (std::floor(value) != value || std::abs(value) > 0x1p53)
      throw_error("{}: {} is {}; a whole number is needed", file_.path(), name_of(field_names, field_),
                  value);
    (field_ == Field::id ? element_.id : element_.image_id) = static_cast<std::int64_t>(value);
    return true;
  }

  void finish_image() {
    Element& e = element_;
    const std::int64_t number = count_[static_cast<int>(Section::images)];
    if (e.file_name.empty()) e.file_name = e.coco_url.substr(e.coco_url.rfind('/') + 1);
    if (!e.id || e.file_name.empty())
      throw_error("{}: image number {} has no {}", file_.path(), number, e.id ? "file_name" : "id");
    if (!images_.emplace(*e.id, std::move(e.file_name)).second)
      throw_error("{}: image number {} has the id {} of another one", file_.path(), number, *e.id);
  }

  void finish_annotation() {
    Element& e = element_;
    if (!e.image_id || !e.caption)
      throw_error("{}: annotation number {} has no {}; a captions file of COCO is needed", file_.path(),
                  count_[static_cast<int>(Section::annotations)], e.image_id ? "caption" : "image_id");
    if (const auto image = images_.find(*e.image_id); image != images_.end())
      take_(image->second, *e.caption);
    else
      early_.emplace_back(*e.image_id, std::move(*e.caption));
  }

  const InputFile& file_;
  const Take& take_;
  int depth_ = 0;
  Section section_ = Section::other;
  Field field_ = Field::other;
  Element element_;
  std::int64_t count_[4] = {};  // elements of each section
  std::unordered_map<std::int64_t, std::string> images_;
  std::deque<std::pair<std::int64_t, std::string>> early_;  // captions before their images, by image_id
};

}  // namespace

void read_coco_captions(const InputFile& file,
                        const std::function<void(const std::string&, const std::string&)>& take) {
  Reader(file, take).read();
}

}  // namespace vitral::data
