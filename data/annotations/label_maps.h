// Label maps: a PNG of class numbers for each image, as ADE20K, Pascal Context, COCO-Stuff and Cityscapes
// have them, and the names of the classes.
#pragma once
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/annotations/annotations.h"

namespace vitral::data {

/// The lines of a text file that are not blank, each a class; a line may hold several names for one,
/// separated by commas. UsageError: none, more than 65534, a line that is there twice.
std::vector<std::string> read_class_names(const std::string& path);
/// Whether `name` is one of the names in a line with several.
bool is_synonym(std::string_view name, std::string_view line);

/// The maps of a folder, at any depth, by the names of images.
class LabelMapFolder {
 public:
  /// UsageError: no folder, or one without PNG.
  explicit LabelMapFolder(const std::string& folder);

  /// The PNG of an image, by its name ("val/cat.jpg"): of the same path behind the folder but for what
  /// Cityscapes and others append (_leftImg8bit to images; _gtFine_labelTrainIds, _labelIds and the like to
  /// maps), else of the same stem, wherever it lies. "" where there is none. Of both kinds in one folder
  /// labelTrainIds counts. UsageError: several have that stem.
  std::string find(const std::string& image) const;
  const std::string& first() const { return first_; }  // for messages

 private:
  struct Map {
    std::string path, place;  // place: relative, without suffix
    int rank = 0;             // of several for one image the highest counts
  };
  std::string first_;
  std::multimap<std::string, Map> maps_;  // by stem
};

/// The numbers of a PNG (decode_png_samples()) as labels: c + 1, none or ignore. Error: a number beyond the
/// classes.
LabelMap read_label_map(const std::string& path, const ClassNumbers& numbers);

}  // namespace vitral::data
