// vitral scenes: writes the scenes benchmark (data/benchmarks/scenes.h).
#include "data/benchmarks/scenes.h"

#include "cli/commands.h"
#include "cli/made_files.h"
#include "cli/print.h"

namespace vitral::cli {

void add_scenes(Program& program) {
  struct Options {
    MadeFiles files{.folder = "", .train = 12000, .val = 1000};
    std::string font, backgrounds;
  };
  Command command = program.command(
      "scenes", "writes the scenes benchmark: pictures of emoji with captions and objects, to train a CLIP",
      "vitral scenes -o data/scenes --train 12000 --val 1000");
  auto options = std::make_shared<Options>();
  options->files.add_to(command);
  command.option("--font", options->font, "emoji font with bitmaps in colour; default: Noto Color Emoji")
      .type_name("FILE");
  command
      .option("--backgrounds", options->backgrounds,
              "photographs whose crops are the backgrounds; default: noise, gradients and blobs")
      .type_name("FOLDER");
  command.run([options] {
    const MadeFiles& files = options->files;
    const data::Scenes scenes(options->font, options->backgrounds);
    const auto unread = static_cast<std::int64_t>(scenes.skipped().size());
    report_skipped(scenes.skipped(), scenes.photographs() + unread);
    files.write(data::scenes_image_size, static_cast<std::int64_t>(data::emoji_classes().size()),
                [&](const std::string& path, std::int64_t count, data::Split split) {
                  return data::write_scenes(path, scenes, count, static_cast<std::uint64_t>(files.seed),
                                            split);
                });
  });
}

}  // namespace vitral::cli
