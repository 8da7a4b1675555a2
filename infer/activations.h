// Activations of a student's patches for the concepts that a dataset stores, as rows of a picture.
#pragma once
#include <string>
#include <vector>

#include "data/dataset.h"
#include "infer/encoder.h"
#include "infer/picture.h"

namespace vitral::infer {

struct ActivationRequest {
  std::vector<std::int64_t> images;  // of the dataset; empty: `count` of them, those with most objects first
  std::vector<std::string>
      concepts;  // for every image; empty: the concepts of its labelled objects, else the first three
  std::int64_t count = 4;
};

/// One row an image, one panel a concept, scored by the cosine of each patch embedding with the concept.
/// UsageError: a dataset without /concepts, of another width, an image or a concept that it does not have
/// (naming a near one).
std::vector<ActivationRow> concept_activations(const Encoder& encoder, const data::Dataset& dataset,
                                               const ActivationRequest& request);

}  // namespace vitral::infer
