// vitral shapes: writes the shapes benchmark (data/benchmarks/shapes.h).
#include "data/benchmarks/shapes.h"

#include "cli/commands.h"
#include "cli/made_files.h"

namespace vitral::cli {

void add_shapes(Program& program) {
  struct Options {
    MadeFiles files{.folder = "", .train = 6000, .val = 1000};
    data::ShapesPlaces places;
  };
  Command command = program.command("shapes", "writes the shapes benchmark: images, embeddings and objects",
                                    "vitral shapes -o data/shapes --train 6000 --val 1000");
  auto options = std::make_shared<Options>();
  options->files.add_to(command);
  command
      .option("--regions", options->places.regions,
              "Also targets for the cells of a G x G grid, into /regions; 0: without")
      .shows_default()
      .between(0, data::shapes_grid)
      .type_name("G");
  command.flag("--patches", options->places.patches,
               "Also a target for each patch of an 8 x 8 grid, into /patches");
  command.run([options] {
    options->files.write(data::shapes_image_size, data::shapes_concept_count,
                         [&](const std::string& path, std::int64_t count, data::Split split) {
                           return data::write_shapes(path, count,
                                                     static_cast<std::uint64_t>(options->files.seed), split,
                                                     options->places);
                         });
  });
}

}  // namespace vitral::cli
