// vitral shapes: writes the shapes benchmark (data/shapes_benchmark.h).
#include <chrono>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "cli/common.h"
#include "cli/print.h"
#include "data/shapes_benchmark.h"

namespace vitral::cli {
namespace {

struct Options {
  std::string folder;
  std::int64_t train = 6000;
  std::int64_t val = 1000;
  std::int64_t seed = 0;
  data::ShapesPlaces places;
  bool json = false;
};

void make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw_error<UsageError>("{}: cannot be created as a folder: {}", path, error.message());
}

void run(const Options& options) {
  make_folder(options.folder);
  nlohmann::json files = nlohmann::json::array();
  const auto write = [&](const char* name, std::int64_t count, data::ShapesSplit split) {
    const std::string path = (std::filesystem::path(options.folder) / name).string();
    const auto start = std::chrono::steady_clock::now();
    const data::ShapesFile file =
        data::write_shapes(path, count, static_cast<std::uint64_t>(options.seed), split, options.places);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (options.json)
      files.push_back({{"path", path},
                       {"images", file.images},
                       {"objects", file.objects},
                       {"concepts", data::shapes_concept_count},
                       {"bytes", file.bytes}});
    else
      fmt::print("{}: {} images of {}x{} with {} objects, {} concepts, {:.1f} MB, {:.1f} s\n", path,
                 file.images, data::shapes_image_size, data::shapes_image_size, file.objects,
                 data::shapes_concept_count, static_cast<double>(file.bytes) / 1e6, seconds.count());
  };
  write("train.h5", options.train, data::ShapesSplit::train);
  write("val.h5", options.val, data::ShapesSplit::val);
  if (options.json) print_json(nlohmann::json{{"seed", options.seed}, {"files", files}});
}

}  // namespace

void add_shapes(Program& program) {
  Command command = program.command("shapes", "Write the shapes benchmark: images, embeddings and objects",
                                    "vitral shapes -o data/shapes --train 6000 --val 1000");
  auto options = std::make_shared<Options>();
  command.option("-o,--output", options->folder, "Folder for train.h5 and val.h5").required();
  command.option("--train", options->train, "Images in train.h5").shows_default().at_least(1);
  command.option("--val", options->val, "Images in val.h5").shows_default().at_least(1);
  command.option("--seed", options->seed, "Another seed draws other images of the same concepts")
      .shows_default()
      .at_least(0);
  command
      .option("--regions", options->places.regions,
              "Also targets for the cells of a G x G grid, into /regions; 0: without")
      .shows_default()
      .between(0, data::shapes_grid)
      .type_name("G");
  command.flag("--patches", options->places.patches,
               "Also a target for each patch of an 8 x 8 grid, into /patches");
  command.flag("--json", options->json, "Print one JSON object instead of text");
  command.run([options] { run(*options); });
}

}  // namespace vitral::cli
