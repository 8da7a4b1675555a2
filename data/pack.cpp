#include "data/pack.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <thread>
#include <utility>

#include <fnmatch.h>

#include "base/hash.h"
#include "base/input_file.h"
#include "base/ordered.h"
#include "base/text.h"
#include "data/archive.h"
#include "data/dataset_writer.h"
#include "data/images/resize.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

// An image file, or a member of an archive.
struct Source {
  ImageFile file;
  std::string caption;
  std::int64_t archive = -1;  // which of the inputs
  std::int64_t position = 0;  // among the archive's members, then among those that are read
};

std::vector<Source> list_sources(const std::vector<std::string>& inputs, LeftOut& left_out) {
  std::vector<Source> sources;
  const auto archives = std::count_if(inputs.begin(), inputs.end(), is_archive);
  const auto is_plain = [](const std::string& path) { return !is_archive(path) || fs::is_directory(path); };
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    std::vector<std::string> plain;  // together, so that their names are unique
    for (; k < inputs.size() && is_plain(inputs[k]); ++k) plain.push_back(inputs[k]);
    if (!plain.empty())
      for (auto& file : list_images(plain, &left_out)) sources.push_back({std::move(file), "", -1, 0});
    if (k == inputs.size()) break;
    // Shards number their members anew.
    const std::string prefix = archives > 1 ? fs::path(inputs[k]).filename().string() + "/" : "";
    for (auto& member : list_archive(inputs[k], left_out))
      sources.push_back({{inputs[k], prefix + member.name, ""},
                         std::move(member.caption),
                         static_cast<std::int64_t>(k),
                         member.position});
  }
  return sources;
}

// One reader an archive, each for the members that are left after all limits.
std::map<std::int64_t, ArchiveReader> readers_of(std::vector<Source>& sources) {
  std::map<std::int64_t, std::vector<std::int64_t>> positions;
  std::map<std::int64_t, std::string> paths;
  for (Source& source : sources) {
    if (source.archive < 0) continue;
    auto& wanted = positions[source.archive];
    wanted.push_back(std::exchange(source.position, static_cast<std::int64_t>(wanted.size())));
    paths[source.archive] = source.file.path;
  }
  std::map<std::int64_t, ArchiveReader> readers;
  for (auto& [archive, wanted] : positions) readers.try_emplace(archive, paths[archive], std::move(wanted));
  return readers;
}

std::vector<Source> limited(std::vector<Source> files, const PackOptions& options) {
  std::vector<std::int64_t> taken(options.limits.size(), 0);
  std::vector<bool> matched(options.limits.size(), false);
  std::erase_if(files, [&](const Source& source) {
    std::vector<std::size_t> patterns;
    for (std::size_t k = 0; k < taken.size(); ++k)
      if (::fnmatch(options.limits[k].first.c_str(), source.file.name.c_str(), 0) == 0) patterns.push_back(k);
    bool full = false;
    for (auto k : patterns) {
      matched[k] = true;
      full = full || taken[k] >= options.limits[k].second;
    }
    if (!full)
      for (auto k : patterns) ++taken[k];
    return full;
  });
  for (std::size_t k = 0; k < matched.size(); ++k)
    if (!matched[k])
      throw_error<UsageError>("--limit {}={}: no file has such a name; * stands for any text",
                              options.limits[k].first, options.limits[k].second);
  return files;
}

bool goes_to_validation(const PackOptions& options, const std::string& name) {
  return static_cast<double>(hash_of(name) >> 11) * 0x1p-53 < options.val_fraction;
}

void check(const PackOptions& o) {
  VITRAL_CHECK(!o.inputs.empty(), "pack: no images given");
  VITRAL_CHECK(!o.output.empty(), "pack: no output file given");
  VITRAL_CHECK(o.size >= 1 && o.size <= 16384, "--size {}: must be in 1..16384", o.size);
  VITRAL_CHECK(o.val_fraction >= 0 && o.val_fraction < 1, "--val {}: must be at least 0 and below 1",
               o.val_fraction);
  VITRAL_CHECK((o.val_fraction > 0) == !o.val_output.empty(),
               "--val and --val-out belong together: a fraction above 0 and a file for it");
  VITRAL_CHECK(o.val_output != o.output, "{}: -o and --val-out must be different files", o.output);
  for (const auto& path : {o.output, o.val_output}) {
    std::error_code ignored;  // what is wrong with the place is told when it is written to
    const auto status = fs::status(path, ignored);
    if (path.empty() || !fs::exists(status)) continue;
    if (fs::is_directory(status)) throw_error<UsageError>("{}: is a directory, name a file", path);
    if (!o.force) throw_error<UsageError>("{}: exists already; use --force to replace it", path);
  }
}

struct Packed {
  std::vector<std::uint8_t> file;  // encoded
  Tensor image;                    // plain
  std::string problem;
};

std::vector<std::uint8_t> read_whole(const ImageFile& source) {
  const InputFile reader(source.path);
  if (reader.size() > std::uint64_t{1} << 30) throw_error("{}: is larger than 2^30 bytes", source.name);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(reader.size()));
  reader.read(0, bytes.data(), bytes.size());
  return bytes;
}

Packed load(const ImageFile& source, ArchiveReader* archive, std::int64_t position,
            const PackOptions& options) {
  Packed packed;
  try {
    if (!source.problem.empty()) throw_error("{}", source.problem);
    packed.file = archive ? archive->read(position) : read_whole(source);
    const bool scaled = options.scaled_decode && !options.encoded;
    const Tensor image =
        decode_image(packed.file, source.name,
                     {.min_side = scaled ? min_side_for(options.size) : 0, .exif = options.exif});
    if (options.encoded) return packed;
    packed.image = resize(image, options.size, options.size, Filter::bilinear);
    packed.file = {};
  } catch (const Error& e) {
    packed.problem = one_line(e.what());
  }
  return packed;
}

}  // namespace

PackSummary pack(const PackOptions& options) {
  check(options);
  PackSummary summary;
  std::vector<Source> files = limited(list_sources(options.inputs, summary.left_out), options);
  std::map<std::int64_t, ArchiveReader> archives = readers_of(files);
  summary.found = static_cast<std::int64_t>(files.size());
  if (files.empty()) return summary;
  const bool split = options.val_fraction > 0;
  std::vector<bool> validation;
  validation.reserve(files.size());
  for (const auto& file : files) validation.push_back(split && goes_to_validation(options, file.file.name));
  const auto chosen = std::count(validation.begin(), validation.end(), true);
  if (split && (chosen == 0 || chosen == summary.found))
    throw_error<UsageError>("--val {}: puts {} of {} images into --val-out; choose another fraction",
                            options.val_fraction, chosen, summary.found);

  std::optional<Dataset::Size> size;
  if (!options.encoded) size = Dataset::Size{options.size, options.size};
  DatasetWriter train(options.output, size);
  std::optional<DatasetWriter> val;
  if (split) val.emplace(options.val_output, size);
  const int cores = std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
  const int workers = options.workers > 0 ? options.workers : cores;
  parallel_ordered(
      summary.found, workers, std::int64_t{4} * workers,
      [&](std::int64_t i) {
        const Source& source = files[static_cast<std::size_t>(i)];
        ArchiveReader* const archive = source.archive < 0 ? nullptr : &archives.at(source.archive);
        return load(source.file, archive, source.position, options);
      },
      [&](std::int64_t i, const Packed& packed) {
        const auto k = static_cast<std::size_t>(i);
        if (!packed.problem.empty()) {
          summary.skipped.push_back({files[k].file.name, packed.problem});
        } else {
          DatasetWriter& writer = validation[k] ? *val : train;
          if (options.encoded)
            writer.add_encoded(packed.file, files[k].file.name);
          else
            writer.add_image(packed.image, files[k].file.name);
          writer.add_caption(files[k].caption);
        }
        if (options.progress) options.progress(i + 1, summary.found);
      });
  summary.train = train.size();
  summary.val = val ? val->size() : 0;
  if (summary.train == 0 || (split && summary.val == 0)) return summary;
  if (val) val->finish();
  train.finish();
  summary.written = true;
  return summary;
}

}  // namespace vitral::data
