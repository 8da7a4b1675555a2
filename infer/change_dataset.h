// A dataset file that is changed whole or not at all.
#pragma once
#include <cstdint>
#include <functional>

#include "base/files/output_file.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"

namespace vitral::infer {

/// `change` gets a copy of output.path(), which then takes its name; with in_place one without the values of
/// other datasets than the embeddings, from which the file itself is changed (base/files/in_place.h). What it
/// has become is opened as a dataset, whose datasets have these names, before. more: bytes that the file
/// grows by, at most. Error: there is no room for them; what Dataset::open() says.
void change_dataset(OutputFile& output, bool in_place, std::int64_t more, const data::DatasetNames& names,
                    const std::function<void(data::H5File& file)>& change);

/// Replaces the embeddings that a file has and all that is said of them: `write` makes the dataset of the
/// name that it gets, which becomes /embeddings when it is complete and `describe` has set what belongs to
/// it.
void replace_embeddings(data::H5File& file, const std::function<void(const std::string& name)>& write,
                        const std::function<void()>& describe);

}  // namespace vitral::infer
