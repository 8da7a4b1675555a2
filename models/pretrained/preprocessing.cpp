#include "models/pretrained/preprocessing.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <nlohmann/json.hpp>

#include "base/error.h"

namespace vitral::models {
namespace {

using data::ResizeCrop;
using nlohmann::json;

constexpr ChannelStatistics half{{0.5F, 0.5F, 0.5F}, {0.5F, 0.5F, 0.5F}};

const json* find(const json& config, const char* key) {
  const auto found = config.find(key);
  return found == config.end() || found->is_null() ? nullptr : &*found;
}

bool flag(const json& config, const char* key, bool otherwise) {
  const json* value = find(config, key);
  return value && value->is_boolean() ? value->get<bool>() : otherwise;
}

std::string text(const json& config, const char* key) {
  const json* value = find(config, key);
  return value && value->is_string() ? value->get<std::string>() : "";
}

// Three numbers, or one for all three colours.
void read_channels(const json& config, const char* key, bool positive, const std::string& file,
                   std::array<float, 3>& to) {
  const json* list = find(config, key);
  if (!list) return;
  const json three = list->is_number() ? json{*list, *list, *list} : *list;
  const auto good = [positive](const json& v) { return v.is_number() && (!positive || v.get<double>() > 0); };
  VITRAL_CHECK(three.is_array() && three.size() == 3 && std::all_of(three.begin(), three.end(), good),
               "{}: {} must be three numbers, one a colour{}", file, key, positive ? ", above 0" : "");
  for (std::size_t i = 0; i < 3; ++i) to[i] = three[i].get<float>();
}

void refuse(Preprocessing& out, const std::string& key, const std::string& value) {
  if (out.problem.empty())
    out.problem = fmt::format("{}: {} is {}, which the transform 'clip' cannot do; take 'resize'", out.file,
                              key, value);
}

int side(const json& value, const std::string& key, const std::string& file) {
  constexpr int longest = 1 << 14;
  VITRAL_CHECK(
      value.is_number_integer() && value.get<std::int64_t>() > 0 && value.get<std::int64_t>() <= longest,
      "{}: {} is {}; it must be a whole number of pixels, at most {}", file, key, value.dump(), longest);
  return value.get<int>();
}

// 224, [224, 224] or {"height": 224, "width": 224}; 0, and a problem noted, where it is no square.
int square_side(const json& value, const char* key, Preprocessing& out) {
  if (value.is_array() && value.size() == 2 && value[0] == value[1]) return side(value[0], key, out.file);
  if (value.is_object() && value.contains("height") && value.contains("width") &&
      value["height"] == value["width"])
    return side(value["height"], key, out.file);
  if (!value.is_array() && !value.is_object()) return side(value, key, out.file);
  refuse(out, key, value.dump());
  return 0;
}

// What transformers' processors do where their file says nothing; CLIP, ChineseCLIP, Bit and others alike.
struct Defaults {
  const char* type;  // how image_processor_type begins
  bool number_is_square, center_crop;
  data::Filter filter;
  const ChannelStatistics& statistics;
};
constexpr Defaults defaults[] = {{"Siglip", false, false, data::Filter::bicubic, half},
                                 {"ViT", true, false, data::Filter::bilinear, half},
                                 {"", false, true, data::Filter::bicubic, clip_statistics}};

const Defaults& defaults_of(const json& config) {
  std::string type = text(config, "image_processor_type");
  if (type.empty()) type = text(config, "feature_extractor_type");
  return *std::find_if(std::begin(defaults), std::end(defaults),
                       [&](const Defaults& d) { return type.starts_with(d.type); });
}

// (x f - mean) / std of bytes x is (x / 255 - mean / s) / (std / s) with s = 255 f.
void rescale(ChannelStatistics& statistics, double factor) {
  const double s = 255 * factor;
  if (std::abs(s - 1) < 1e-6) return;
  for (auto* list : {&statistics.mean, &statistics.std})
    for (float& v : *list) v = static_cast<float>(v / s);
}

void read_statistics(const json& config, const Defaults& own, Preprocessing& out) {
  out.statistics = own.statistics;
  read_channels(config, "image_mean", false, out.file, out.statistics.mean);
  read_channels(config, "image_std", true, out.file, out.statistics.std);
  if (!flag(config, "do_normalize", true)) out.statistics = {{0, 0, 0}, {1, 1, 1}};
  const json* factor = find(config, "rescale_factor");
  const bool given = factor && flag(config, "do_rescale", true);
  VITRAL_CHECK(!given || (factor->is_number() && factor->get<double>() > 0),
               "{}: rescale_factor must be a number above 0", out.file);
  if (!flag(config, "do_rescale", true))
    rescale(out.statistics, 1);
  else if (given)
    rescale(out.statistics, factor->get<double>());
}

void read_filter(const json& config, Preprocessing& out) {
  const json* resample = find(config, "resample");
  if (!resample) return;
  constexpr const char* names[] = {"nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"};
  if (*resample == 2)
    out.resize_crop.filter = data::Filter::bilinear;
  else if (*resample == 3)
    out.resize_crop.filter = data::Filter::bicubic;
  else
    refuse(out, "resample",
           resample->is_number_unsigned() && *resample < std::size(names)
               ? fmt::format("{} ({})", resample->dump(), names[resample->get<std::size_t>()])
               : resample->dump());
}

}  // namespace

Preprocessing parse_image_processor(const json& config, const std::string& file) {
  const Defaults& own = defaults_of(config);
  Preprocessing out;
  out.file = file;
  out.statistics_given = out.resize_crop_given = true;
  read_statistics(config, own, out);
  ResizeCrop& how = out.resize_crop;
  how.odd_margin = data::OddMargin::down;
  how.filter = own.filter;
  read_filter(config, out);

  const json* size = find(config, "size");
  const bool edge = size && size->is_object() && size->contains("shortest_edge") && size->size() == 1;
  const bool stretch = size ? !edge && (!size->is_number() || own.number_is_square) : !own.center_crop;
  how.mode = stretch ? ResizeCrop::Mode::stretch : ResizeCrop::Mode::shorter_edge;
  if (edge)
    how.resize = side((*size)["shortest_edge"], "size.shortest_edge", file);
  else if (size)
    how.resize = square_side(*size, "size", out);
  if (!flag(config, "do_resize", true)) refuse(out, "do_resize", "false");
  for (const char* key : {"do_pad", "crop_pct"})
    if (const json* value = find(config, key); value && *value != false) refuse(out, key, value->dump());

  if (flag(config, "do_center_crop", own.center_crop)) {
    if (const json* crop = find(config, "crop_size")) out.size = square_side(*crop, "crop_size", out);
  } else if (stretch) {
    out.size = how.resize;
  } else {
    refuse(out, "do_center_crop", "false");
  }
  return out;
}

std::string format_image_processor(const Preprocessing& preprocessing, int image_size) {
  const ResizeCrop& how = resize_crop_for(preprocessing, image_size);
  const bool crops = how.mode == ResizeCrop::Mode::shorter_edge;
  const json square = {{"height", image_size}, {"width", image_size}};
  // As many digits as a float32 has.
  const auto channels = [](const std::array<float, 3>& values) {
    return json::parse(fmt::format("[{}, {}, {}]", values[0], values[1], values[2]));
  };
  nlohmann::ordered_json out = {
      {"image_processor_type", "CLIPImageProcessor"},
      {"do_convert_rgb", true},
      {"do_resize", true},
      {"size", crops ? json{{"shortest_edge", how.resize > 0 ? how.resize : image_size}} : square},
      {"resample", how.filter == data::Filter::bilinear ? 2 : 3},
      {"do_center_crop", crops}};
  if (crops) out["crop_size"] = square;
  out.update({{"do_rescale", true},
              {"rescale_factor", 1.0 / 255},
              {"do_normalize", true},
              {"image_mean", channels(preprocessing.statistics.mean)},
              {"image_std", channels(preprocessing.statistics.std)}});
  return out.dump(2) + '\n';
}

Preprocessing parse_preprocess_cfg(const json& config, const std::string& file) {
  Preprocessing out;
  out.file = file;
  out.statistics_given = out.resize_crop_given = true;
  read_channels(config, "mean", false, file, out.statistics.mean);
  read_channels(config, "std", true, file, out.statistics.std);
  const std::string mode = text(config, "resize_mode"), filter = text(config, "interpolation");
  if (mode == "squash")
    out.resize_crop.mode = ResizeCrop::Mode::stretch;
  else if (!mode.empty() && mode != "shortest")
    refuse(out, "preprocess_cfg.resize_mode", mode);
  if (filter == "bilinear")
    out.resize_crop.filter = data::Filter::bilinear;
  else if (!filter.empty() && filter != "bicubic" && filter != "random")  // random is bicubic in evaluation
    refuse(out, "preprocess_cfg.interpolation", filter);
  return out;
}

std::string describe(const ResizeCrop& how) {
  return fmt::format("{} to {}, {}, margins {}",
                     how.mode == ResizeCrop::Mode::stretch ? "both edges" : "shorter edge",
                     how.resize > 0 ? std::to_string(how.resize) : "its size",
                     how.filter == data::Filter::bilinear ? "bilinear" : "bicubic",
                     how.odd_margin == data::OddMargin::to_even ? "to even" : "down");
}

const ResizeCrop& resize_crop_for(const Preprocessing& preprocessing, int image_size) {
  const int size = preprocessing.size;
  if (!preprocessing.problem.empty()) throw UsageError(preprocessing.problem);
  if (size != 0 && size != image_size)
    throw_error<UsageError>(
        "{}: makes images of {} x {} pixels, the image tower reads {} x {}; take the preprocessor that "
        "belongs to the weights, or the transform 'resize'",
        preprocessing.file, size, size, image_size, image_size);
  return preprocessing.resize_crop;
}

}  // namespace vitral::models
