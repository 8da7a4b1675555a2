// The texts that name the concepts of a dataset.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace vitral::infer {

/// Several texts may name one concept: a pixel shows it as strongly as it shows the best of them.
struct ConceptTexts {
  std::vector<std::string> texts;        // [T], at least one of each concept
  std::vector<std::int64_t> concept_of;  // [T] 0..C-1, or C: the background
  Tensor embeddings = {};                // float32 [T,D]

  /// Of so many concepts, whether a text names the background.
  bool names_background(std::size_t concepts) const {
    return std::ranges::find(concept_of, static_cast<std::int64_t>(concepts)) != concept_of.end();
  }
};

/// Each concept by its whole name.
ConceptTexts one_text_each(const std::vector<std::string>& concepts);

/// Each concept by its name, of which commas make several: "building, edifice". UsageError: an empty text.
ConceptTexts texts_of_names(const std::vector<std::string>& concepts);

/// From a text file, in one of two forms (blank lines are skipped):
///   tv, television, monitor             texts with commas between, a line each concept in the order of
///   `concepts` tvmonitor<TAB>tv, television        a concept and its texts, in any order;
///   "background<TAB>sky, wall" names
///                                       what is background, where no concept is called so
/// UsageError, with file and line: both forms at once, another number of lines than of concepts, a name that
/// is no concept, a concept twice or not at all, an empty text.
ConceptTexts texts_of_list(const std::vector<std::string>& concepts, const std::string& list);

}  // namespace vitral::infer
