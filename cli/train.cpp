#include <csignal>
#include <memory>

#include "cli/commands.h"
#include "train/signals.h"
#include "train/trainer.h"

namespace vitral::cli {

void add_train(CLI::App& app) {
  struct Arguments {
    std::string config, resume, device;
    std::vector<std::string> overrides;
  };
  auto a = std::make_shared<Arguments>();
  auto* command =
      add_command(app, "train", "trains a student on a dataset, into a run folder",
                  "vitral train configs/shapes.yaml train.epochs=4 train.output=runs/short --resume auto");
  command->add_option("config", a->config, "YAML file; docs/config.md has every key")
      ->required()
      ->type_name("CONFIG");
  command->add_option("overrides", a->overrides, "section.key=value, over the file")->type_name("KEY=VALUE");
  command
      ->add_option("--resume", a->resume,
                   "auto: go on where the run folder stands; or a checkpoint, also a .pt of PyTorch with "
                   "AdamW's state")
      ->type_name("auto|PATH");
  command->add_option("--device", a->device, "short for train.device=...")->type_name("cpu|cuda|cuda:N|auto");
  command->callback([a] {
    // Until the process ends, so that a second signal cannot interrupt the end of a run that the first
    // stopped.
    static const train::StopSignals signals;
    // A reader of our output that ends first (tee, on the same Ctrl-C) must not take the checkpoint with it.
    std::signal(SIGPIPE, SIG_IGN);
    auto overrides = a->overrides;
    if (!a->device.empty()) overrides.push_back("train.device=" + a->device);
    const train::Config config = train::load_config(
        a->config, overrides, a->resume.empty() ? train::CheckFiles::all : train::CheckFiles::data);
    const train::RunSummary s = train::train(config, a->resume);
    std::string line = fmt::format(
        "{}: step {}, {} in {:.1f} s, waited for data {:.1f} %", config.train.output, s.step,
        s.steps_now == 1 ? "1 step" : fmt::format("{} steps", s.steps_now), s.seconds, 100 * s.data_wait);
    if (s.val_loss)
      line += fmt::format(", validation loss {:.4f}, cosine {:.4f}", *s.val_loss, *s.val_cosine);
    if (s.skipped_samples > 0) line += fmt::format(", {} images skipped", s.skipped_samples);
    if (s.end == train::RunEnd::stopped)
      line += fmt::format("; stopped by {}, continue with --resume auto",
                          s.signal == SIGINT ? "SIGINT" : "SIGTERM");
    fmt::print("{}\n", line);
  });
}

}  // namespace vitral::cli
