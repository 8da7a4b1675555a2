#include "data/pack.h"

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>
#include <thread>
#include <utility>

#include <fnmatch.h>

#include "base/files/input_file.h"
#include "base/files/text_file.h"
#include "base/hash.h"
#include "base/ordered.h"
#include "base/text.h"
#include "data/archive.h"
#include "data/captions.h"
#include "data/dataset_writer.h"
#include "data/images/codec.h"
#include "data/images/resize.h"

namespace vitral::data {
namespace {

namespace fs = std::filesystem;

std::vector<ImageFile> list_sources(const std::vector<std::string>& inputs, LeftOut& left_out) {
  std::vector<ImageFile> all;
  const auto is_plain = [](const std::string& path) { return !is_archive(path) || fs::is_directory(path); };
  const auto archives =
      inputs.size() - static_cast<std::size_t>(std::count_if(inputs.begin(), inputs.end(), is_plain));
  const auto add = [&](std::vector<ImageFile> files) {
    all.insert(all.end(), std::make_move_iterator(files.begin()), std::make_move_iterator(files.end()));
  };
  for (const auto& input : inputs) refuse_other_dataset(input, fs::path(input).extension().string());
  for (auto input = inputs.begin(); input != inputs.end();) {
    const auto archive = std::find_if_not(input, inputs.end(), is_plain);
    if (archive != input) add(list_images({input, archive}, &left_out));
    if (archive == inputs.end()) break;
    auto members = list_archive(*archive, left_out);
    if (archives > 1)  // shards number their members anew
      for (auto& file : members) file.name = fs::path(*archive).filename().string() + "/" + file.member;
    add(std::move(members));
    input = archive + 1;
  }
  if (all.empty())  // a folder of them
    for (const auto& [kind, count] : left_out) refuse_other_dataset(inputs.front(), kind);
  make_unique(all);
  return all;
}

// One reader an archive, each for the members that are left after all limits, which it knows by their place
// among those.
std::map<std::string, ArchiveReader> readers_of(std::vector<ImageFile>& files) {
  std::map<std::string, std::vector<std::int64_t>> positions;
  for (ImageFile& file : files) {
    if (file.position < 0) continue;
    auto& wanted = positions[file.path];
    wanted.push_back(std::exchange(file.position, static_cast<std::int64_t>(wanted.size())));
  }
  std::map<std::string, ArchiveReader> readers;
  for (auto& [path, wanted] : positions) readers.try_emplace(path, path, std::move(wanted));
  return readers;
}

std::vector<ImageFile> limited(std::vector<ImageFile> files, const PackOptions& options) {
  std::vector<std::int64_t> taken(options.limits.size(), 0);
  std::vector<bool> matched(options.limits.size(), false);
  std::erase_if(files, [&](const ImageFile& file) {
    std::vector<std::size_t> patterns;
    for (std::size_t k = 0; k < taken.size(); ++k)
      if (::fnmatch(options.limits[k].first.c_str(), file.name.c_str(), 0) == 0) patterns.push_back(k);
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
  check_annotation_options(o.annotations);
  VITRAL_CHECK(!o.annotations.name_images() || o.inputs.empty(),
               "pack: {} names its images itself; leave {} out, or take some with --limit",
               o.annotations.voc.empty() ? "--coco" : "--voc", o.inputs.empty() ? "" : o.inputs.front());
  VITRAL_CHECK(!o.annotations.given() || !o.scaled_decode,
               "--scaled-decode: annotations count the pixels of whole images; leave it out");
  VITRAL_CHECK(!o.inputs.empty() || o.annotations.name_images(),
               "pack: no images given; name folders, files or archives, or a list of them with --list");
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
  AnnotatedImages::Notes notes;
  std::vector<std::string> captions;
  std::string problem;
};

// One dataset file with the objects of its images.
struct Output {
  Output(const std::string& path, const PackOptions& options, const AnnotatedImages* annotations)
      : writer(path,
               options.encoded ? std::nullopt : std::optional(Dataset::Size{options.size, options.size})) {
    if (annotations) objects.emplace(*annotations);
    if (!options.encoded) writer.set_attribute("stored", fmt::format("stretched to {0}x{0}", options.size));
    // What is noted is turned as the pictures are.
    if (options.encoded && annotations) writer.set_attribute("exif", name(Exif::apply));
  }

  void add(const Packed& packed, const ImageFile& file, bool has_masks) {
    if (packed.image.defined())
      writer.add_image(packed.image, file.name);
    else
      writer.add_encoded(packed.file, file.name);
    writer.add_captions(packed.captions);
    captions += static_cast<std::int64_t>(packed.captions.size());
    captioned += packed.captions.empty() ? 0 : 1;
    if (!objects) return;
    objects->add(writer.size() - 1, packed.notes);
    if (packed.image.defined()) writer.add_original_size(packed.notes.size);
    if (has_masks) writer.add_labels(packed.notes.labels);
    masks += packed.notes.labels.empty() ? 0 : 1;
  }
  void finish() {
    if (objects) writer.set_concepts(objects->concepts());
    writer.finish();
  }

  DatasetWriter writer;
  std::optional<AnnotatedImages::Objects> objects;
  std::int64_t masks = 0, captions = 0, captioned = 0;
};

std::vector<std::uint8_t> read_whole(const ImageFile& source) {
  const InputFile reader(source.path);
  if (reader.size() > std::uint64_t{1} << 30) throw_error("{}: is larger than 2^30 bytes", source.name);
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(reader.size()));
  reader.read(0, bytes.data(), bytes.size());
  return bytes;
}

// Of an image that is packed without a file of captions. A text that cannot be read is a problem of its
// image.
std::vector<std::string> captions_beside(const ImageFile& source) {
  if (!source.captions_problem.empty()) throw_error("{}", source.captions_problem);
  if (source.position >= 0) return source.captions;
  const std::string text = fs::path(source.path).replace_extension(".txt").string();
  std::error_code ignored;
  if (text == source.path || !fs::is_regular_file(text, ignored)) return {};
  constexpr std::uint64_t longest_text = most_captions * (longest_caption + 2);
  return captions_in(read_text(text, longest_text));
}

Packed load(const ImageFile& source, std::map<std::string, ArchiveReader>& archives,
            const AnnotatedImages* annotations, const PackOptions& options) {
  Packed packed;
  Dataset::Size size;
  int orientation = 1;
  try {
    if (!source.problem.empty()) throw_error("{}", source.problem);
    // First, for every member must be asked for.
    packed.file = source.position < 0 ? read_whole(source) : archives.at(source.path).read(source.position);
    packed.captions = options.captions.empty() ? captions_beside(source) : source.captions;
    if (const std::string why = caption_problem(packed.captions); !why.empty())
      throw_error("{}: {}", source.name, why);
    const bool scaled = options.scaled_decode && !options.encoded;
    const Decoded decoded =
        decode_as_stored(packed.file, source.name, scaled ? min_side_for(options.size) : 0);
    size = {decoded.pixels.dim(0), decoded.pixels.dim(1)};
    orientation = decoded.orientation;
    if (!options.encoded) {
      const bool turn = options.exif == Exif::apply;
      packed.image = resize(turn ? upright(decoded.pixels, orientation) : decoded.pixels, options.size,
                            options.size, Filter::bilinear);
      packed.file = {};
    }
  } catch (const ReadError&) {
    throw;
  } catch (const Error& e) {
    packed.problem = one_line(e.what());
    return packed;
  }
  if (annotations) {
    std::optional<Dataset::Size> stored;
    if (!options.encoded) stored = Dataset::Size{options.size, options.size};
    packed.notes = annotations->notes_of(source.name, size, orientation, options.exif, stored);
  }
  return packed;
}

}  // namespace

PackSummary pack(const PackOptions& options) {
  check(options);
  PackSummary summary;
  std::optional<AnnotatedImages> annotations;
  if (options.annotations.given()) annotations.emplace(options.annotations);
  std::vector<ImageFile> files = options.annotations.name_images()
                                     ? annotations->files()
                                     : list_sources(options.inputs, summary.left_out);
  if (!options.captions.empty() && !files.empty()) give_captions(options.captions, files);
  files = limited(std::move(files), options);
  if (annotations) annotations->choose(files);
  std::map<std::string, ArchiveReader> archives = readers_of(files);
  summary.found = static_cast<std::int64_t>(files.size());
  if (files.empty()) return summary;
  const bool split = options.val_fraction > 0;
  std::vector<bool> validation;
  validation.reserve(files.size());
  for (const auto& file : files) validation.push_back(split && goes_to_validation(options, file.name));
  const auto chosen = std::count(validation.begin(), validation.end(), true);
  if (split && (chosen == 0 || chosen == summary.found))
    throw_error<UsageError>("--val {}: puts {} of {} images into --val-out; choose another fraction",
                            options.val_fraction, chosen, summary.found);

  const AnnotatedImages* noted = annotations ? &*annotations : nullptr;
  Output train(options.output, options, noted);
  std::optional<Output> val;
  if (split) val.emplace(options.val_output, options, noted);
  const int cores = std::max(static_cast<int>(std::thread::hardware_concurrency()), 1);
  const int workers = options.workers > 0 ? options.workers : cores;
  parallel_ordered(
      summary.found, workers, std::int64_t{4} * workers,
      [&](std::int64_t i) { return load(files[static_cast<std::size_t>(i)], archives, noted, options); },
      [&](std::int64_t i, const Packed& packed) {
        const auto k = static_cast<std::size_t>(i);
        if (packed.problem.empty())
          (validation[k] ? *val : train).add(packed, files[k], noted && noted->has_masks());
        else
          summary.skipped.push_back({files[k].name, packed.problem});
        if (options.progress) options.progress(i + 1, summary.found);
      });
  summary.train = train.writer.size();
  summary.val = val ? val->writer.size() : 0;
  summary.captions = train.captions + (val ? val->captions : 0);
  summary.captioned = train.captioned + (val ? val->captioned : 0);
  if (noted) {
    summary.concepts = static_cast<std::int64_t>(noted->concepts().size());
    summary.objects = train.objects->count() + (val ? val->objects->count() : 0);
    summary.masks = train.masks + (val ? val->masks : 0);
  }
  if (summary.train == 0 || (split && summary.val == 0)) return summary;
  if (val) val->finish();
  train.finish();
  summary.written = true;
  return summary;
}

}  // namespace vitral::data
