// What images are called: classes from folders or a list, captions from a file.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"

namespace vitral::infer {

struct ClassLabels {
  std::vector<std::string> names;                 // [C]
  std::vector<std::int64_t> label;                // [N] of each image, -1: none
  std::vector<std::vector<std::string>> folders;  // [C] those that stand for it, in their order

  std::int64_t labelled() const;  // images with a label
};

/// The class of an image is the folder that it lies in: of "birds/barn_owl/3.jpg" it is "barn owl", with
/// underscores as spaces; an image in no folder has none. Classes are sorted by folder: as text, or as
/// numbers (0, 1, 2, 10) where all folders are called by one. UsageError naming `where`: no image lies in a
/// folder.
ClassLabels classes_of_folders(const std::vector<std::string>& image_names, const std::string& where);

/// The same with names from a text file, in one of two forms (blank lines are skipped):
///   barn owl                       one name a line, for the folders in the order of their sorted names
///   n01622779<TAB>great grey owl   folder and name; images in other folders have no class, and a class
///                                  without images is one more that can be mistaken for another
/// Several folders may have one name. UsageError: both forms at once, another number of names than of
/// folders, a folder twice, no image in any of them.
ClassLabels classes_of_list(const std::vector<std::string>& image_names, const std::string& list,
                            const std::string& where);

/// The class of an image is the concept of the one object that it shows; images that show several have none.
/// Nothing where no image of the dataset has a class so.
std::optional<ClassLabels> classes_of_concepts(const data::Dataset& dataset);

struct Captions {
  std::vector<std::string> texts;                   // [T], each once
  std::vector<std::vector<std::int64_t>> of_image;  // [N] which of them say what the image shows
  std::int64_t unknown = 0;                         // captions of images that are not there
};

/// The captions of a file of any form that data/captions.h lists, of images by their names.
/// UsageError, with file and line: as there, a caption without text, a name that several images have; no
/// image has a caption.
Captions read_captions(const std::vector<std::string>& image_names, const std::string& path);

/// Those of /captions. UsageError: the dataset has none.
Captions captions_of_dataset(const data::Dataset& dataset);

/// The class of each image as its one caption.
Captions captions_of_classes(const ClassLabels& classes);

}  // namespace vitral::infer
