#include "infer/measure/labels.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>

#include "base/error.h"
#include "base/files/text_file.h"
#include "base/text.h"
#include "data/captions.h"

namespace vitral::infer {
namespace {

// The last folder of a path, or "".
std::string folder_of(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  if (slash == std::string::npos || slash == 0) return "";
  const std::size_t before = name.rfind('/', slash - 1);
  return name.substr(before == std::string::npos ? 0 : before + 1,
                     slash - (before == std::string::npos ? 0 : before + 1));
}

bool is_number(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

// As text, or as people count: 2 before 10, leading zeros or not.
struct FolderOrder {
  bool as_numbers = false;

  bool operator()(const std::string& a, const std::string& b) const {
    if (!as_numbers) return a < b;
    const auto value = [](const std::string& text) {
      const std::string digits = text.substr(std::min(text.find_first_not_of('0'), text.size()));
      return std::tuple(digits.size(), digits, text);
    };
    return value(a) < value(b);
  }
};

// Folders with the number of their class.
using Folders = std::map<std::string, std::int64_t, FolderOrder>;

Folders folders_of(const std::vector<std::string>& image_names, const std::string& where) {
  Folders folders;
  for (const auto& name : image_names)
    if (const std::string folder = folder_of(name); !folder.empty()) folders.emplace(folder, 0);
  if (std::all_of(folders.begin(), folders.end(), [](const auto& f) { return is_number(f.first); }))
    folders = Folders(folders.begin(), folders.end(), FolderOrder{true});
  if (folders.empty())
    throw_error<UsageError>(
        "{}: no image lies in a folder that could name its class; sort the images into one folder a class",
        where);
  return folders;
}

void label_by(const Folders& folders, const std::vector<std::string>& image_names, ClassLabels& out) {
  out.label.reserve(image_names.size());
  for (const auto& name : image_names) {
    const auto found = folders.find(folder_of(name));
    out.label.push_back(found == folders.end() ? -1 : found->second);
  }
  out.folders.resize(out.names.size());
  for (const auto& [folder, number] : folders)
    out.folders[static_cast<std::size_t>(number)].push_back(folder);
}

// Numbers for names as they come, the same for the same name.
std::int64_t number_of(const std::string& name, std::vector<std::string>& names,
                       std::unordered_map<std::string, std::int64_t>& known) {
  const auto [at, added] = known.emplace(name, static_cast<std::int64_t>(names.size()));
  if (added) names.push_back(name);
  return at->second;
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
  label_by(folders, image_names, out);
  return out;
}

ClassLabels classes_of_list(const std::vector<std::string>& image_names, const std::string& list,
                            const std::string& where) {
  const std::vector<TextLine> lines = read_lines(list);
  const bool with_folders = lines.front().text.find('\t') != std::string::npos;
  ClassLabels out;
  Folders classes;
  std::unordered_map<std::string, std::int64_t> known;
  if (!with_folders) {
    classes = folders_of(image_names, where);
    if (classes.size() != lines.size())
      throw_error<UsageError>(
          "{}: has {} names for the {} folders of {}; write one for each, or lines folder<TAB>name", list,
          lines.size(), classes.size(), where);
  }
  auto next = classes.begin();
  for (const TextLine& line : lines) {
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
  label_by(classes, image_names, out);
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
  data::read_caption_file(path, [&](const data::NamedCaption& caption) {
    const std::string at = caption.place(path);
    const auto found = images.find(caption.image);
    if (found != images.end() && found->second.size() > 1)
      throw_error<UsageError>(
          "{}: {} images are called {}; a caption needs a unique name, as vitral pack and folders give them",
          at, found->second.size(), shown(caption.image));
    if (caption.text.find_first_not_of(" \t\r\n") == std::string::npos)
      throw_error<UsageError>("{}: the caption of {} is empty", at, shown(caption.image));
    if (found == images.end()) {
      ++out.unknown;
      return;
    }
    const std::int64_t text = number_of(caption.text, out.texts, known);
    auto& of = out.of_image[static_cast<std::size_t>(found->second.front())];
    if (std::find(of.begin(), of.end(), text) == of.end()) of.push_back(text);
  });
  if (out.texts.empty())
    throw_error<UsageError>("{}: none of its names is that of an image, which are called '{}' and the like",
                            path, image_names.empty() ? "" : shown(image_names.front()));
  return out;
}

std::optional<ClassLabels> classes_of_concepts(const data::Dataset& dataset) {
  auto concepts = dataset.concepts();
  if (!concepts) return std::nullopt;
  ClassLabels out;
  out.label = data::only_concepts(*concepts, dataset.size());
  out.names = std::move(concepts->names);
  out.folders.resize(out.names.size());
  return out.labelled() > 0 ? std::optional(std::move(out)) : std::nullopt;
}

Captions captions_of_dataset(const data::Dataset& dataset) {
  VITRAL_CHECK(dataset.has_captions(),
               "{}: has no /captions; name a file of captions with --captions, or pack it with one",
               dataset.paths().front());
  Captions out;
  std::unordered_map<std::string, std::int64_t> known;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    auto& of = out.of_image.emplace_back();
    for (const std::string& caption : dataset.captions(i)) {
      const std::int64_t text = number_of(caption, out.texts, known);
      if (std::find(of.begin(), of.end(), text) == of.end()) of.push_back(text);
    }
  }
  VITRAL_CHECK(!out.texts.empty(), "{}: all of its /captions are empty; pack it with others",
               dataset.paths().front());
  return out;
}

Captions captions_of_classes(const ClassLabels& classes) {
  Captions out{classes.names, std::vector<std::vector<std::int64_t>>(classes.label.size()), 0};
  for (std::size_t i = 0; i < classes.label.size(); ++i)
    if (classes.label[i] >= 0) out.of_image[i] = {classes.label[i]};
  return out;
}

}  // namespace vitral::infer
