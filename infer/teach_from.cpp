#include "infer/teach_from.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <sstream>

#include "base/files/in_place.h"
#include "base/files/text_file.h"
#include "base/text.h"
#include "base/vectors.h"
#include "data/embedding_file.h"
#include "infer/change_dataset.h"

namespace vitral::infer {
namespace {

std::vector<std::string> read_names(const std::string& path) {
  std::istringstream lines(read_text(path, std::uint64_t{1} << 32));
  std::vector<std::string> names;
  for (std::string line; std::getline(lines, line);) names.push_back(line);
  return names;
}

// Which row belongs to each image.
std::vector<std::int64_t> rows_by_name(const data::Dataset& dataset, const std::vector<std::string>& names,
                                       const std::string& from) {
  std::map<std::string, std::int64_t> row;
  for (std::size_t i = 0; i < names.size(); ++i)
    if (!row.emplace(names[i], static_cast<std::int64_t>(i)).second)
      throw_error<UsageError>("{}: two rows are called {}; names must be unique", from, shown(names[i]));
  std::vector<std::int64_t> rows;
  std::set<std::string> named;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    const std::string name = dataset.name(i);
    const auto found = row.find(name);
    if (found == row.end())
      throw_error<UsageError>("{}: has no row for {} of {}", from, shown(name), dataset.paths().front());
    if (!named.insert(name).second)
      throw_error<UsageError>("{}: two images are called {}; names must be unique, pack the images again",
                              dataset.paths().front(), shown(name));
    rows.push_back(found->second);
  }
  return rows;
}

}  // namespace

TeachFromSummary teach_from(const TeachFromOptions& o) {
  const data::DatasetNames names{.images = o.names.images, .embeddings = ""};
  if (is_half_changed(o.file)) complete_change(OutputFile(o.file).path());
  std::optional<data::Dataset> dataset = data::Dataset::open(o.file, names);
  OutputFile output(o.file);  // nobody else may write the file meanwhile
  if (dataset->width() > 0 && !o.force)
    throw_error<UsageError>("{}: has /embeddings already; replace them with --force", o.file);
  data::EmbeddingFile source = data::read_embedding_file(o.from, o.name);
  check_targets_that_stay(o.file, {data::Target::image}, source.rows.dim(1), {});
  if (!o.names_file.empty()) source.names = read_names(o.names_file);
  const std::int64_t images = dataset->size(), count = source.rows.dim(0), width = source.rows.dim(1);
  VITRAL_CHECK(source.names.empty() || static_cast<std::int64_t>(source.names.size()) == count,
               "{}: has {} names but {} has {} rows; write one for each", o.names_file, source.names.size(),
               o.from, count);
  TeachFromSummary summary{.images = images, .width = width};
  const bool named = images > 0 && dataset->has_name(0);
  VITRAL_CHECK(o.names_file.empty() || named, "{}: has no /names to find rows by; leave --from-names out",
               o.file);
  summary.by_name = named && !source.names.empty();
  std::vector<std::int64_t> rows(static_cast<std::size_t>(images));
  if (summary.by_name) {
    rows = rows_by_name(*dataset, source.names, o.names_file.empty() ? o.from : o.names_file);
  } else {
    VITRAL_CHECK(count == images,
                 "{}: has {} rows but {} has {} images; one for each is needed, or --from-names", o.from,
                 count, o.file, images);
    std::iota(rows.begin(), rows.end(), std::int64_t{0});
  }
  Tensor embeddings({images, width});
  for (std::int64_t i = 0; i < images; ++i) {
    const std::int64_t row = rows[static_cast<std::size_t>(i)];
    Tensor to = embeddings.rows(i, i + 1);
    to.copy_from(source.rows.rows(row, row + 1).cast(DType::float32));
    const float* p = to.data<float>();
    if (all_finite(p, width)) continue;
    to.fill(0);
    ++summary.not_finite;
  }
  dataset.reset();  // HDF5 opens a file either for reading or for writing
  embeddings = embeddings.cast(o.dtype);
  change_dataset(
      output, o.in_place, images * width * static_cast<std::int64_t>(size_of(o.dtype)), names,
      [&](data::H5File& file) {
        const std::int64_t chunk_rows =
            std::max<std::int64_t>((64 << 10) / (width * static_cast<std::int64_t>(size_of(o.dtype))), 1);
        replace_targets(
            file, {data::Target::image}, {},
            [&](std::size_t, const std::string& name) { file.write(name, embeddings, chunk_rows); },
            [&] { file.set_attribute("teacher", o.from + (o.name.empty() ? "" : ": " + o.name)); });
      });
  return summary;
}

}  // namespace vitral::infer
