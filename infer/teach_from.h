// Embeddings that another program has made, into a dataset file: what `vitral teach --from` does.
#pragma once
#include <cstdint>
#include <string>

#include "data/dataset.h"

namespace vitral::infer {

struct TeachFromOptions {
  std::string file;          // the dataset
  data::DatasetNames names;  // of its images; embeddings become /embeddings
  std::string from;          // data/embedding_file.h
  std::string name;          // which array or dataset of it
  std::string names_file;    // a name a line, of each row of `from`: rows go to the images of these names
  DType dtype = DType::float32;
  bool force = false, in_place = false;  // as in TeachOptions
};

struct TeachFromSummary {
  std::int64_t images = 0, width = 0;
  std::int64_t not_finite = 0;  // rows that hold NaN or infinity; stored as zeros, which training leaves out
  bool by_name = false;
};

/// Rows go to the images of the same name where `from` brings names (names_file, or /names of an HDF5 file)
/// and the dataset has them, else by order; then there must be as many as images. The attribute `teacher`
/// says where they are from. UsageError: names or counts that do not fit, embeddings without `force`.
TeachFromSummary teach_from(const TeachFromOptions& options);

}  // namespace vitral::infer
