#include "infer/change_dataset.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/files/in_place.h"
#include "base/files/input_file.h"
#include "data/hdf5/storage_index.h"

namespace vitral::infer {
namespace {

constexpr const char* seeds = "/view_seeds";
constexpr const char* boxes = "/regions/boxes";

// Until they are complete they have another name, so that those before stay where they are: what is new comes
// behind it.
std::string unfinished(data::Target kind) { return std::string(data::kind_of(kind).dataset) + ".unfinished"; }

bool is_of_targets(const std::string& name) {
  return name == seeds || name == boxes || std::ranges::any_of(data::target_kinds, [&](const auto& kind) {
           return name == kind.dataset || name == unfinished(kind.kind);
         });
}

void require_room(const std::string& path, std::int64_t bytes) {
  std::error_code unknown;
  const auto room = std::filesystem::space(path, unknown);
  if (!unknown && room.available < static_cast<std::uintmax_t>(bytes) + (16 << 20))
    throw_error(
        "{}: {} MB more are needed on its disk; the file is as it was, make room and run the command again",
        path, (bytes >> 20) + 16);
}

// Where values lie that no change of targets touches, such as pixels: the HDF5 library reads and writes
// those of other datasets only.
std::vector<ByteRange> bytes_that_stay(const std::string& path) {
  const data::H5File file = data::H5File::open(path);
  const InputFile bytes(path);
  std::vector<ByteRange> out;
  for (const auto& entry : file.contents()) {
    if (is_of_targets(entry.name) || entry.dtype == "other" || entry.dtype == "link" ||
        file.shape(entry.name).rank() == 0)
      continue;
    const data::StorageIndex index = data::index_storage(file, bytes, entry.name, file.layout(entry.name));
    if (!index.obstacle.empty()) continue;
    for (std::size_t i = 0; i < index.pieces.size(); ++i) {
      const std::int64_t rows =
          std::min(index.rows_a_piece, index.rows - static_cast<std::int64_t>(i) * index.rows_a_piece);
      const std::uint64_t at = index.pieces[i];
      if (at != data::StorageIndex::unwritten)
        out.push_back({at, at + static_cast<std::uint64_t>(rows) * index.row_bytes});
    }
  }
  return out;
}

}  // namespace

void change_dataset(OutputFile& output, bool in_place, std::int64_t more, const data::DatasetNames& names,
                    const std::function<void(data::H5File&)>& change,
                    const std::vector<data::Target>& targets) {
  const std::string& path = output.path();
  const std::vector<ByteRange> unchanged = in_place ? bytes_that_stay(path) : std::vector<ByteRange>();
  std::int64_t copied = in_place ? more : 0;  // in place, what is new is in the copy, too
  for (const auto& [begin, end] : without(unchanged, std::filesystem::file_size(path)))
    copied += static_cast<std::int64_t>(end - begin);
  require_room(path, more + copied);
  output.copy(path, unchanged);
  data::H5File file = data::H5File::modify(output.partial());
  change(file);
  file.close();
  output.share();
  data::Dataset::open(output.partial(), names,
                      targets);  // what does not fit is found here, not by the trainer
  if (in_place)
    change_in_place(path, output.partial(), unchanged);
  else
    output.commit();
}

std::vector<data::Target> targets_in(const std::string& path) {
  const data::H5File file = data::H5File::open(path);
  std::vector<data::Target> out;
  for (const auto& kind : data::target_kinds)
    if (file.has(kind.dataset)) out.push_back(kind.kind);
  return out;
}

std::string check_targets_that_stay(const std::string& path, const std::vector<data::Target>& replaced,
                                    std::int64_t width, const ViewsOfTargets& views) {
  const data::H5File file = data::H5File::open(path);
  std::string all;
  for (const auto& kind : data::target_kinds) {
    if (!file.has(kind.dataset) || std::ranges::count(replaced, kind.kind) > 0) continue;
    all += (all.empty() ? "" : " and ") + std::string(kind.dataset);
    const Shape shape = file.shape(kind.dataset);
    if (shape.empty() || shape.back() != width)
      throw_error<UsageError>(
          "{}: its {} stay, and are {}, but this teacher's embeddings {} wide; use one teacher", path,
          kind.dataset, shape, width);
    const bool has_views =
        kind.kind == data::Target::image ? shape.rank() == 3 && file.has(seeds) : shape.rank() == 4;
    ViewsOfTargets theirs;
    if (has_views)
      theirs = {file.read_uint64(seeds), shape.dim(1), file.attribute("transform").value_or(""),
                file.attribute("view_size").value_or("")};
    if (theirs != views)
      throw_error<UsageError>(
          "{}: its {} stay, and are of {}; ask for the same, or replace all together: --force with --regions "
          "and "
          "--patches",
          path, kind.dataset,
          has_views ? fmt::format("{} other views of each image", theirs.count) : "images without views");
  }
  return all;
}

void replace_targets(data::H5File& file, const std::vector<data::Target>& kinds, const ViewsOfTargets& views,
                     const std::function<void(std::size_t k, const std::string& name)>& write,
                     const std::function<void()>& describe) {
  const auto remove = [&](const std::string& dataset) {
    if (file.has(dataset)) file.remove(dataset);
  };
  for (std::size_t k = 0; k < kinds.size(); ++k) {
    remove(unfinished(kinds[k]));
    write(k, unfinished(kinds[k]));
  }
  for (const data::Target kind : kinds) {
    remove(data::kind_of(kind).dataset);
    if (kind == data::Target::regions) remove(boxes);
    for (const char* attribute : {"teacher", "teacher_tower", "plain_transform"})
      file.remove_attribute(attribute, data::kind_of(kind).group);
  }
  remove(seeds);
  for (const char* attribute : {"transform", "view_size"}) file.remove_attribute(attribute);
  if (std::ranges::none_of(data::target_kinds, [&](const auto& kind) { return file.has(kind.dataset); }))
    file.remove_attribute("exif");  // else it is that of those that stay, too
  if (!views.seeds.empty()) {
    file.write_uint64(seeds, views.seeds,
                      {static_cast<std::int64_t>(views.seeds.size()) / views.count, views.count});
    file.set_attribute("transform", views.transform);
    file.set_attribute("view_size", views.size);
  }
  describe();
  for (const data::Target kind : kinds) file.rename(unfinished(kind), data::kind_of(kind).dataset);
}

}  // namespace vitral::infer
