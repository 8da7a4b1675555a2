#include "infer/change_dataset.h"

#include <filesystem>

#include "base/files/atomic.h"

namespace vitral::infer {
namespace {

void require_room(const std::string& path, std::int64_t bytes) {
  std::error_code unknown;
  const auto room = std::filesystem::space(path, unknown);
  if (!unknown && room.available < static_cast<std::uintmax_t>(bytes) + (16 << 20))
    throw_error(
        "{}: {} MB more are needed on its disk; the file is as it was, make room and run the command again",
        path, (bytes >> 20) + 16);
}

}  // namespace

void change_dataset(OutputFile& output, bool in_place, std::int64_t more, const data::DatasetNames& names,
                    const std::function<void(data::H5File&)>& change) {
  std::error_code unknown;
  const auto file_bytes = static_cast<std::int64_t>(std::filesystem::file_size(output.path(), unknown));
  require_room(output.path(), more + (in_place ? 0 : file_bytes));
  if (!in_place) output.copy(output.path());
  const std::string target = in_place ? output.path() : output.partial();
  data::H5File file = data::H5File::modify(target);
  change(file);
  file.close();
  if (!in_place) output.share();
  data::Dataset::open(target, names);  // what does not fit together is found here, not by the trainer
  if (in_place)
    sync_file(target);
  else
    output.commit();
}

void replace_embeddings(data::H5File& file, const std::function<void(const std::string& name)>& write,
                        const std::function<void()>& describe) {
  const std::string unfinished = "/embeddings.unfinished";  // in place, a killed process may leave it
  const auto remove = [&](const std::string& dataset) {
    if (file.has(dataset)) file.remove(dataset);
  };
  remove(unfinished);
  write(unfinished);
  file.flush();
  remove("/embeddings");
  remove("/view_seeds");
  for (const char* attribute :
       {"teacher", "teacher_tower", "transform", "plain_transform", "view_size", "exif"})
    file.remove_attribute(attribute);
  describe();
  file.rename(unfinished, "/embeddings");
}

}  // namespace vitral::infer
