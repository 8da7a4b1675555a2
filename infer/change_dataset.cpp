#include "infer/change_dataset.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/files/in_place.h"
#include "base/files/input_file.h"
#include "data/hdf5/storage_index.h"

namespace vitral::infer {
namespace {

// Until they are complete they have another name, so that those before stay where they are: what is new comes
// behind it.
constexpr std::string_view embeddings = "/embeddings", seeds = "/view_seeds",
                           unfinished = "/embeddings.unfinished";
constexpr std::array embedding_datasets{embeddings, seeds, unfinished};

void require_room(const std::string& path, std::int64_t bytes) {
  std::error_code unknown;
  const auto room = std::filesystem::space(path, unknown);
  if (!unknown && room.available < static_cast<std::uintmax_t>(bytes) + (16 << 20))
    throw_error(
        "{}: {} MB more are needed on its disk; the file is as it was, make room and run the command again",
        path, (bytes >> 20) + 16);
}

// Where values lie that no change of embeddings touches, such as pixels: the HDF5 library reads and writes
// those of other datasets only.
std::vector<ByteRange> bytes_that_stay(const std::string& path) {
  const data::H5File file = data::H5File::open(path);
  const InputFile bytes(path);
  std::vector<ByteRange> out;
  for (const auto& entry : file.contents()) {
    if (std::find(embedding_datasets.begin(), embedding_datasets.end(), entry.name) !=
            embedding_datasets.end() ||
        entry.dtype == "other" || entry.dtype == "link" || file.shape(entry.name).rank() == 0)
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
                    const std::function<void(data::H5File&)>& change) {
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
  data::Dataset::open(output.partial(), names);  // what does not fit is found here, not by the trainer
  if (in_place)
    change_in_place(path, output.partial(), unchanged);
  else
    output.commit();
}

void replace_embeddings(data::H5File& file, const std::function<void(const std::string& name)>& write,
                        const std::function<void()>& describe) {
  const auto remove = [&](std::string_view dataset) {
    if (file.has(std::string(dataset))) file.remove(std::string(dataset));
  };
  remove(unfinished);
  write(std::string(unfinished));
  remove(embeddings);
  remove(seeds);
  for (const char* attribute :
       {"teacher", "teacher_tower", "transform", "plain_transform", "view_size", "exif"})
    file.remove_attribute(attribute);
  describe();
  file.rename(std::string(unfinished), std::string(embeddings));
}

}  // namespace vitral::infer
