#include "infer/measure/labels.h"

#include <algorithm>
#include <map>
#include <optional>
#include <unordered_map>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/input_file.h"
#include "base/text.h"

namespace vitral::infer {
namespace {

using nlohmann::json;

constexpr std::uint64_t largest_list = std::uint64_t{1} << 30;  // bytes

struct Line {
  std::int64_t number;
  std::string text;
};

// Without line ends and blank lines.
std::vector<Line> lines_of(const std::string& path) {
  const std::string text = read_text_file(path, largest_list);
  std::vector<Line> out;
  std::int64_t number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.pop_back();
    ++number;
    begin = end + 1;
    if (line.find_first_not_of(" \t") != std::string::npos) out.push_back({number, std::move(line)});
  }
  if (out.empty()) throw_error<UsageError>("{}: holds no lines", path);
  return out;
}

// The last folder of a path, or "".
std::string folder_of(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  if (slash == std::string::npos || slash == 0) return "";
  const std::size_t before = name.rfind('/', slash - 1);
  return name.substr(before == std::string::npos ? 0 : before + 1,
                     slash - (before == std::string::npos ? 0 : before + 1));
}

std::map<std::string, std::int64_t> folders_of(const std::vector<std::string>& image_names,
                                               const std::string& where) {
  std::map<std::string, std::int64_t> folders;
  for (const auto& name : image_names)
    if (const std::string folder = folder_of(name); !folder.empty()) folders.emplace(folder, 0);
  if (folders.empty())
    throw_error<UsageError>(
        "{}: no image lies in a folder that could name its class; sort the images into one folder a class",
        where);
  return folders;
}

// From folders with the number of their class.
std::vector<std::int64_t> labels_by(const std::map<std::string, std::int64_t>& classes,
                                    const std::vector<std::string>& image_names) {
  std::vector<std::int64_t> out;
  out.reserve(image_names.size());
  for (const auto& name : image_names) {
    const auto found = classes.find(folder_of(name));
    out.push_back(found == classes.end() ? -1 : found->second);
  }
  return out;
}

// Numbers for names as they come, the same for the same name.
std::int64_t number_of(const std::string& name, std::vector<std::string>& names,
                       std::unordered_map<std::string, std::int64_t>& known) {
  const auto [at, added] = known.emplace(name, static_cast<std::int64_t>(names.size()));
  if (added) names.push_back(name);
  return at->second;
}

struct CaptionLine {
  std::string name;
  std::vector<std::string> captions;
};

CaptionLine caption_from_json(const std::string& text, const std::string& at) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  CaptionLine out;
  const auto is_text = [&](const char* key) { return object.contains(key) && object[key].is_string(); };
  if (object.is_object() && is_text("name") && is_text("caption")) {
    out = {object["name"], {object["caption"]}};
  } else if (object.is_object() && is_text("name") && object.contains("captions") &&
             object["captions"].is_array() &&
             std::all_of(object["captions"].begin(), object["captions"].end(),
                         [](const json& c) { return c.is_string(); })) {
    out = {object["name"], object["captions"]};
  } else {
    throw_error<UsageError>(R"({}: is not {{"name": "...", "caption": "..."}}, nor "captions": [...])", at);
  }
  return out;
}

CaptionLine caption_from_table(const std::string& text, const std::string& at) {
  const std::size_t tab = text.find('\t');
  if (tab == std::string::npos)
    throw_error<UsageError>("{}: has no tab; write the image's name, a tab and the caption", at);
  return {text.substr(0, tab), {text.substr(tab + 1)}};
}

}  // namespace

std::int64_t ClassLabels::labelled() const {
  return std::count_if(label.begin(), label.end(), [](auto l) { return l >= 0; });
}

ClassLabels classes_of_folders(const std::vector<std::string>& image_names, const std::string& where) {
  auto folders = folders_of(image_names, where);
  ClassLabels out;
  std::unordered_map<std::string, std::int64_t> known;
  for (auto& [folder, number] : folders) {
    std::string name = folder;
    std::replace(name.begin(), name.end(), '_', ' ');
    number = number_of(name, out.names, known);
  }
  out.label = labels_by(folders, image_names);
  return out;
}

ClassLabels classes_of_list(const std::vector<std::string>& image_names, const std::string& list,
                            const std::string& where) {
  const std::vector<Line> lines = lines_of(list);
  const bool with_folders = lines.front().text.find('\t') != std::string::npos;
  ClassLabels out;
  std::map<std::string, std::int64_t> classes;
  std::unordered_map<std::string, std::int64_t> known;
  if (!with_folders) {
    classes = folders_of(image_names, where);
    if (classes.size() != lines.size())
      throw_error<UsageError>(
          "{}: has {} names for the {} folders of {}; write one for each, or lines folder<TAB>name", list,
          lines.size(), classes.size(), where);
  }
  auto next = classes.begin();
  for (const Line& line : lines) {
    const std::size_t tab = line.text.find('\t');
    if ((tab != std::string::npos) != with_folders)
      throw_error<UsageError>("{}:{}: has {} tab, but line {} has {}; write all lines alike", list,
                              line.number, with_folders ? "no" : "a", lines.front().number,
                              with_folders ? "one" : "none");
    const std::string name = with_folders ? line.text.substr(tab + 1) : line.text;
    if (name.find_first_not_of(" \t") == std::string::npos)
      throw_error<UsageError>("{}:{}: has no name behind the tab", list, line.number);
    const std::int64_t number = number_of(name, out.names, known);
    if (!with_folders)
      (next++)->second = number;
    else if (!classes.emplace(line.text.substr(0, tab), number).second)
      throw_error<UsageError>("{}:{}: names folder '{}' again", list, line.number,
                              shown(line.text.substr(0, tab)));
  }
  out.label = labels_by(classes, image_names);
  if (out.labelled() == 0)
    throw_error<UsageError>("{}: none of its folders holds an image of {}; the first is '{}'", list, where,
                            shown(classes.begin()->first));
  return out;
}

Captions read_captions(const std::vector<std::string>& image_names, const std::string& path) {
  std::unordered_map<std::string, std::vector<std::int64_t>> images;
  for (std::size_t i = 0; i < image_names.size(); ++i)
    images[image_names[i]].push_back(static_cast<std::int64_t>(i));
  Captions out;
  out.of_image.resize(image_names.size());
  std::unordered_map<std::string, std::int64_t> known;
  const std::vector<Line> lines = lines_of(path);
  const bool is_json = lines.front().text.front() == '{';
  for (const Line& line : lines) {
    const std::string at = fmt::format("{}:{}", path, line.number);
    const CaptionLine read = is_json ? caption_from_json(line.text, at) : caption_from_table(line.text, at);
    const auto found = images.find(read.name);
    for (const std::string& caption : read.captions) {
      if (caption.find_first_not_of(" \t\r\n") == std::string::npos)
        throw_error<UsageError>("{}: the caption of {} is empty", at, shown(read.name));
      if (found == images.end()) {
        ++out.unknown;
        continue;
      }
      const std::int64_t text = number_of(caption, out.texts, known);
      for (const std::int64_t image : found->second) {
        auto& of = out.of_image[static_cast<std::size_t>(image)];
        if (std::find(of.begin(), of.end(), text) == of.end()) of.push_back(text);
      }
    }
  }
  if (out.texts.empty())
    throw_error<UsageError>("{}: none of its names is that of an image, which are called '{}' and the like",
                            path, image_names.empty() ? "" : shown(image_names.front()));
  return out;
}

Captions captions_of_classes(const ClassLabels& classes) {
  Captions out{classes.names, std::vector<std::vector<std::int64_t>>(classes.label.size()), 0};
  for (std::size_t i = 0; i < classes.label.size(); ++i)
    if (classes.label[i] >= 0) out.of_image[i] = {classes.label[i]};
  return out;
}

}  // namespace vitral::infer
