// Inside data/annotations only: what the files of COCO call their parts.
#pragma once
#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/files/input_file.h"

namespace vitral::data::coco {

using namespace std::string_view_literals;

enum class Section { other, images, categories, annotations };
enum class Field {
  other,
  id,
  file_name,
  coco_url,
  width,
  height,
  name,
  image_id,  // from here on of annotations alone
  caption,
  category_id,
  iscrowd,
  bbox,
  segmentation
};
enum class RunField { other, counts, size };

inline constexpr std::array section_names{
    std::pair{"images"sv, Section::images},
    std::pair{"categories"sv, Section::categories},
    std::pair{"annotations"sv, Section::annotations},
};
inline constexpr std::array field_names{
    std::pair{"id"sv, Field::id},
    std::pair{"file_name"sv, Field::file_name},
    std::pair{"coco_url"sv, Field::coco_url},
    std::pair{"width"sv, Field::width},
    std::pair{"height"sv, Field::height},
    std::pair{"name"sv, Field::name},
    std::pair{"image_id"sv, Field::image_id},
    std::pair{"caption"sv, Field::caption},
    std::pair{"category_id"sv, Field::category_id},
    std::pair{"iscrowd"sv, Field::iscrowd},
    std::pair{"bbox"sv, Field::bbox},
    std::pair{"segmentation"sv, Field::segmentation},
};
inline constexpr std::array run_field_names{
    std::pair{"counts"sv, RunField::counts},
    std::pair{"size"sv, RunField::size},
};

template <class T, std::size_t N>
T one_of(const std::array<std::pair<std::string_view, T>, N>& names, std::string_view name) {
  const auto found =
      std::find_if(names.begin(), names.end(), [&](const auto& known) { return known.first == name; });
  return found == names.end() ? T::other : found->second;
}
template <class T, std::size_t N>
std::string_view name_of(const std::array<std::pair<std::string_view, T>, N>& names, T value) {
  const auto found =
      std::find_if(names.begin(), names.end(), [&](const auto& known) { return known.second == value; });
  return found == names.end() ? "" : found->first;
}

/// What stands at `position` is no JSON.
[[noreturn]] inline void fail_json(const InputFile& file, std::size_t position) {
  if (position >= file.size())
    throw_error("{}: ends early, after {} bytes: it is cut off; copy it again", file.path(), file.size());
  throw_error("{}: is no valid JSON at byte {}; write it again", file.path(), position);
}

}  // namespace vitral::data::coco
