#include "data/annotations/voc.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include <pugixml.hpp>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/text.h"
#include "data/annotations/label_maps.h"
#include "data/images/image.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t longest_xml = 16 << 20;  // bytes

// PASCAL VOC 2012 development kit, VOCinit.m; their places are the palette's.
constexpr std::array voc_classes{"aeroplane",   "bicycle", "bird",  "boat",      "bottle",
                                 "bus",         "car",     "cat",   "chair",     "cow",
                                 "diningtable", "dog",     "horse", "motorbike", "person",
                                 "pottedplant", "sheep",   "sofa",  "train",     "tvmonitor"};

bool is_folder(const fs::path& path) { return fs::is_directory(file_status(path.string())); }

// The files of a folder by the stem of their names.
std::map<std::string, std::string> by_stem(const fs::path& folder, bool (*takes)(const std::string& path)) {
  std::map<std::string, std::string> files;
  std::error_code why;
  for (fs::directory_iterator entry(folder, why), end; !why && entry != end; entry.increment(why)) {
    const std::string path = entry->path().string();
    if (!takes(path)) continue;
    const auto [place, is_new] = files.emplace(entry->path().stem().string(), path);
    if (!is_new)
      throw_error<UsageError>("{} and {} are called alike; keep one of them", std::min(place->second, path),
                              std::max(place->second, path));
  }
  if (why)
    throw_error<UsageError>("{}: cannot be searched: {}; check its permissions", folder.string(),
                            why.message());
  return files;
}

double number_of(const pugi::xml_node& parent, const char* key, const std::string& where) {
  const std::string_view text = parent.child(key).text().get();
  const auto begin = text.find_first_not_of(" \t\r\n");
  const auto trimmed = text.substr(std::min(begin, text.size()));
  double value = 0;
  const auto [end, why] = std::from_chars(trimmed.data(), trimmed.data() + trimmed.size(), value);
  const auto rest = std::string_view(end, static_cast<std::size_t>(trimmed.data() + trimmed.size() - end));
  if (why != std::errc{} || !std::isfinite(value) ||
      rest.find_first_not_of(" \t\r\n") != std::string_view::npos)
    throw_error("{}: {} is '{}'; a number is needed", where, key, shown(text));
  return value;
}

}  // namespace

void read_voc_xml(std::string_view xml, const std::string& name, const std::vector<std::string>& concepts,
                  AnnotatedImage& image) {
  pugi::xml_document document;
  const pugi::xml_parse_result parsed = document.load_buffer(xml.data(), xml.size());
  if (!parsed)
    throw_error("{}: is no XML: {} at byte {}; write it again", name, parsed.description(), parsed.offset);
  const pugi::xml_node root = document.child("annotation");
  if (!root) throw_error("{}: has no <annotation>, it is no annotation of VOC", name);
  image.source = name;
  if (const pugi::xml_node size = root.child("size")) {
    image.width = static_cast<std::int64_t>(std::clamp(number_of(size, "width", name + ": size"), 0.0, 1e9));
    image.height =
        static_cast<std::int64_t>(std::clamp(number_of(size, "height", name + ": size"), 0.0, 1e9));
  }
  for (const pugi::xml_node node : root.children("object")) {
    AnnotatedObject object;
    object.id = static_cast<std::int64_t>(image.objects.size()) + 1;
    const std::string where = fmt::format("{}: object {}", name, object.id);
    const std::string called = node.child("name").text().get();
    if (called.empty()) throw_error("{}: has no name; write <name>", where);
    const auto found = std::find_if(concepts.begin(), concepts.end(), [&](const std::string& line) {
      return line == called || is_synonym(called, line);
    });
    if (found == concepts.end())
      throw_error("{}: is a '{}', which is none of the {} classes; name those of this dataset with --classes",
                  where, shown(called), concepts.size());
    object.concept_index = found - concepts.begin();
    object.difficult = node.child("difficult") && number_of(node, "difficult", where) != 0;
    const pugi::xml_node box = node.child("bndbox");
    if (!box) throw_error("{}: has no box; write <bndbox>", where);
    object.box = {number_of(box, "xmin", where) - 1, number_of(box, "ymin", where) - 1,
                  number_of(box, "xmax", where), number_of(box, "ymax", where)};
    if (object.box[0] > object.box[2] || object.box[1] > object.box[3])
      throw_error("{}: its box begins at ({}, {}) but ends at ({}, {}); correct it", where, object.box[0] + 1,
                  object.box[1] + 1, object.box[2], object.box[3]);
    image.objects.push_back(object);
  }
}

Annotations read_voc(const std::string& folder, const std::string& split, const std::string& classes) {
  const fs::path root(folder);
  if (!is_folder(root / "JPEGImages"))
    throw_error<UsageError>("{}: has no folder JPEGImages; name the one that holds it, as VOCdevkit/VOC2012",
                            folder);
  const bool boxes = is_folder(root / "Annotations"), masks = is_folder(root / "SegmentationClass");
  if (!boxes && !masks)
    throw_error<UsageError>(
        "{}: has neither Annotations nor SegmentationClass; without them, pack {}/JPEGImages", folder,
        folder);
  Annotations out;
  if (classes.empty())
    out.concepts.assign(voc_classes.begin(), voc_classes.end());
  else
    out.concepts = read_class_names(classes);
  out.numbers = {static_cast<std::int64_t>(out.concepts.size()), false, {255}};
  out.has_boxes = out.marks_difficult = boxes;
  out.has_masks = masks;
  const auto is_image = [](const std::string& path) { return has_image_suffix(path); };
  const auto is_xml = [](const std::string& path) { return path.ends_with(".xml"); };
  const auto is_map = [](const std::string& path) { return path.ends_with(".png"); };
  const auto images = by_stem(root / "JPEGImages", is_image);
  const auto notes = boxes ? by_stem(root / "Annotations", is_xml) : decltype(images){};
  const auto maps = masks ? by_stem(root / "SegmentationClass", is_map) : decltype(images){};
  const auto add = [&](const std::string& stem, const std::string& path) {
    AnnotatedImage& image = out.images.emplace_back();
    image.path = path;
    image.name = fs::path(path).filename().string();
    if (const auto note = notes.find(stem); note != notes.end())
      read_voc_xml(read_text_file(note->second, longest_xml), note->second, out.concepts, image);
    if (const auto map = maps.find(stem); map != maps.end()) image.label_map = map->second;
  };
  if (split.empty()) {
    for (const auto& [stem, path] : images) add(stem, path);
    return out;
  }
  std::set<std::string> taken;
  for (const TextLine& line : read_lines(split)) {
    const auto begin = line.text.find_first_not_of(" \t");
    const std::string stem = line.text.substr(begin, line.text.find_first_of(" \t", begin) - begin);
    const auto image = images.find(stem);
    if (image == images.end())
      throw_error<UsageError>("{}:{}: {} is not in {}", split, line.number, shown(stem),
                              (root / "JPEGImages").string());
    if (!taken.insert(stem).second)
      throw_error<UsageError>("{}:{}: {} is there twice; remove one", split, line.number, shown(stem));
    add(stem, image->second);
  }
  return out;
}

}  // namespace vitral::data
