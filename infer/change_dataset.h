// A dataset file that is changed whole or not at all.
#pragma once
#include <cstdint>
#include <functional>

#include "base/files/output_file.h"
#include "data/dataset.h"
#include "data/hdf5/file.h"

namespace vitral::infer {

/// `change` gets a copy of output.path(), which then takes its name; with in_place one without the values of
/// other datasets than the targets, from which the file itself is changed (base/files/in_place.h). What it
/// has become is opened as a dataset with these targets, whose datasets have these names, before. more: bytes
/// that the file grows by, at most. Error: there is no room for them; what Dataset::open() says.
void change_dataset(OutputFile& output, bool in_place, std::int64_t more, const data::DatasetNames& names,
                    const std::function<void(data::H5File& file)>& change,
                    const std::vector<data::Target>& targets = {});

/// The targets that a file has.
std::vector<data::Target> targets_in(const std::string& path);
/// The stored views that all targets of a file are of; without seeds: they have none.
struct ViewsOfTargets {
  std::vector<std::uint64_t> seeds;  // [N,V]
  std::int64_t count = 0;            // V
  std::string transform, size;       // attributes `transform`, `view_size`

  bool operator==(const ViewsOfTargets&) const = default;
};

/// For one who is about to replace targets by some of these views, `width` wide: the datasets of those that
/// stay
/// ("": none). UsageError where they do not fit beside the new ones.
std::string check_targets_that_stay(const std::string& path, const std::vector<data::Target>& replaced,
                                    std::int64_t width, const ViewsOfTargets& views);

/// Replaces targets that a file has and all that is said of them: `write` makes the dataset of the k-th under
/// the name that it gets, which takes its own when all are complete and `describe` has set what belongs to
/// them.
void replace_targets(data::H5File& file, const std::vector<data::Target>& kinds, const ViewsOfTargets& views,
                     const std::function<void(std::size_t k, const std::string& name)>& write,
                     const std::function<void()>& describe);

}  // namespace vitral::infer
