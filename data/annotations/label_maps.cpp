#include "data/annotations/label_maps.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/text.h"
#include "data/images/png_samples.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// Takes the first of the endings that it has from a text, and says which; -1: none.
template <std::size_t N>
int strip(std::string& text, const std::array<std::string_view, N>& endings) {
  for (std::size_t k = 0; k < N; ++k) {
    if (!text.ends_with(endings[k])) continue;
    text.resize(text.size() - endings[k].size());
    return static_cast<int>(k);
  }
  return -1;
}

constexpr std::array<std::string_view, 1> image_endings{"_leftImg8bit"};
// The more complete first.
constexpr std::array<std::string_view, 6> map_endings{"_gtFine_labelTrainIds", "_gtCoarse_labelTrainIds",
                                                      "_labelTrainIds",        "_gtFine_labelIds",
                                                      "_gtCoarse_labelIds",    "_labelIds"};
constexpr int train_ids = 3;  // the endings before

std::string without_suffix(const fs::path& path) {
  return (path.parent_path() / path.stem()).lexically_normal().generic_string();
}

std::string stem_of(const std::string& place) { return place.substr(place.rfind('/') + 1); }

}  // namespace

bool is_synonym(std::string_view name, std::string_view line) {
  for (std::size_t begin = 0; begin <= line.size();) {
    const std::size_t end = std::min(line.find(',', begin), line.size());
    if (trimmed(line.substr(begin, end - begin)) == name) return true;
    begin = end + 1;
  }
  return false;
}

std::vector<std::string> read_class_names(const std::string& path) {
  std::vector<std::string> names;
  std::map<std::string, std::int64_t> lines;
  for (const TextLine& line : read_lines(path)) {
    std::string name(trimmed(line.text));
    const auto [place, is_new] = lines.emplace(name, line.number);
    if (!is_new)
      throw_error<UsageError>("{}:{}: '{}' stands in line {} already; give each class a name of its own",
                              path, line.number, shown(name), place->second);
    names.push_back(std::move(name));
  }
  if (static_cast<std::int64_t>(names.size()) > LabelMap::most_concepts)
    throw_error<UsageError>("{}: names {} classes, at most {} are possible", path, names.size(),
                            LabelMap::most_concepts);
  return names;
}

LabelMapFolder::LabelMapFolder(const std::string& folder) {
  std::error_code why;
  if (!fs::is_directory(file_status(folder)))
    throw_error<UsageError>("{}: is no folder; --label-maps names one", folder);
  for (fs::recursive_directory_iterator entry(folder, fs::directory_options::follow_directory_symlink, why),
       end;
       !why && entry != end; entry.increment(why)) {
    const fs::path& path = entry->path();
    if (path.extension() != ".png" && path.extension() != ".PNG") continue;
    Map map{path.string(), without_suffix(path.lexically_relative(folder)), 0};
    const int ending = strip(map.place, map_endings);
    map.rank = ending < 0 ? 0 : ending < train_ids ? 2 : 1;
    if (first_.empty() || map.path < first_) first_ = map.path;
    std::string stem = stem_of(map.place);
    maps_.emplace(std::move(stem), std::move(map));
  }
  if (why)
    throw_error<UsageError>("{}: cannot be searched: {}; check its permissions", folder, why.message());
  if (maps_.empty())
    throw_error<UsageError>("{}: holds no PNG; --label-maps names a folder of class numbers", folder);
}

std::string LabelMapFolder::find(const std::string& image) const {
  std::string place = without_suffix(image);
  strip(place, image_endings);
  const auto [begin, end] = maps_.equal_range(stem_of(place));
  std::vector<const Map*> best;
  const auto key = [&](const Map& map) { return std::pair(map.place == place, map.rank); };
  for (auto at = begin; at != end; ++at) {
    if (!best.empty() && key(at->second) < key(*best.front())) continue;
    if (!best.empty() && key(at->second) > key(*best.front())) best.clear();
    best.push_back(&at->second);
  }
  if (best.empty()) return "";
  if (best.size() > 1)
    throw_error<UsageError>(
        "{}: both {} and {} could be its label map; keep one, or lay them out like the images", image,
        std::min(best[0]->path, best[1]->path), std::max(best[0]->path, best[1]->path));
  return best.front()->path;
}

LabelMap read_label_map(const std::string& path, const ClassNumbers& numbers) {
  const InputFile file(path);
  if (file.size() > std::uint64_t{1} << 30) throw_error("{}: is larger than 2^30 bytes", path);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(file.size()));
  file.read(0, bytes.data(), bytes.size());
  PngSamples samples = decode_png_samples(bytes, path);
  constexpr std::int32_t unknown = -1;
  std::vector<std::int32_t> label_of(65536, unknown);
  for (std::int64_t c = 0; c < numbers.classes; ++c)
    label_of[static_cast<std::size_t>(numbers.zero_is_class ? c : c + 1)] = static_cast<std::int32_t>(c + 1);
  if (!numbers.zero_is_class) label_of[0] = LabelMap::none;
  for (const std::int64_t value : numbers.ignore)
    label_of[static_cast<std::size_t>(value)] = LabelMap::ignore;
  for (std::size_t k = 0; k < samples.values.size(); ++k) {
    std::uint16_t& value = samples.values[k];
    const std::int32_t label = label_of[value];
    if (label == unknown)
      throw_error(
          "{}: the pixel at x {}, y {} is of class {}, but there are {} classes, from {} on; name all of "
          "them, "
          "or leave it out with --ignore {}",
          path, k % static_cast<std::size_t>(samples.width), k / static_cast<std::size_t>(samples.width),
          value, numbers.classes, numbers.zero_is_class ? 0 : 1, value);
    value = static_cast<std::uint16_t>(label);
  }
  return {samples.height, samples.width, std::move(samples.values)};
}

}  // namespace vitral::data
