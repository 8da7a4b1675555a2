#include "cli/made_files.h"

#include <chrono>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "cli/print.h"

namespace vitral::cli {

void MadeFiles::add_to(Command& command) {
  command.option("-o,--output", folder, "folder for train.h5 and val.h5").required();
  command.option("--train", train, "images in train.h5").shows_default().at_least(1);
  command.option("--val", val, "images in val.h5").shows_default().at_least(1);
  command.option("--seed", seed, "another seed draws other images of the same concepts")
      .shows_default()
      .at_least(0);
  command.flag("--json", json, "a summary as one JSON object");
}

void MadeFiles::write(int image_size, std::int64_t concepts,
                      const std::function<data::BenchmarkFile(const std::string&, std::int64_t, data::Split)>&
                          write_file) const {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw_error<UsageError>("{}: cannot be created as a folder: {}", folder, error.message());
  nlohmann::json files = nlohmann::json::array();
  const auto one = [&](const char* name, std::int64_t count, data::Split split) {
    const std::string path = (std::filesystem::path(folder) / name).string();
    const auto start = std::chrono::steady_clock::now();
    const data::BenchmarkFile file = write_file(path, count, split);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (json)
      files.push_back({{"path", path},
                       {"images", file.images},
                       {"objects", file.objects},
                       {"concepts", concepts},
                       {"bytes", file.bytes}});
    else
      fmt::print("{}: {} images of {}x{} with {} objects, {} concepts, {:.1f} MB, {:.1f} s\n", path,
                 file.images, image_size, image_size, file.objects, concepts,
                 static_cast<double>(file.bytes) / 1e6, seconds.count());
  };
  one("train.h5", train, data::Split::train);
  one("val.h5", val, data::Split::val);
  if (json) print_json(nlohmann::json{{"seed", seed}, {"files", files}});
}

}  // namespace vitral::cli
