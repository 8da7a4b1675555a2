#include <cmath>
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/signals.h"
#include "cli/commands.h"
#include "cli/print.h"
#include "cli/profile_print.h"
#include "processes/launch.h"
#include "train/trainer.h"

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

void print_line(const train::RunSummary& s, const std::string& output) {
  std::string line = fmt::format("{}: step {}, {} in {:.1f} s, waited for data {:.1f} %", output, s.step,
                                 s.steps_now == 1 ? "1 step" : fmt::format("{} steps", s.steps_now),
                                 s.seconds, 100 * s.data_wait);
  if (s.validated) line += ", validation " + models::describe(s.validation);
  if (s.skipped_samples > 0) line += fmt::format(", {} images skipped", s.skipped_samples);
  if (s.end == train::RunEnd::stopped)
    line += fmt::format("; stopped by {}, continue with --resume auto", signal_name(s.signal));
  fmt::print("{}\n", line);
}

ordered_json to_json(const train::RunSummary& s, const std::string& output) {
  ordered_json out{{"output", output},
                   {"step", s.step},
                   {"steps_now", s.steps_now},
                   {"seconds", s.seconds},
                   {"data_wait", s.data_wait}};
  for (const auto& [name, value] : s.validation)
    out["val_" + name] = std::isfinite(value) ? ordered_json(value) : ordered_json();
  out["skipped_images"] = s.skipped_samples;
  out["stopped_by"] = s.end == train::RunEnd::stopped ? ordered_json(signal_name(s.signal)) : ordered_json();
  return out;
}

}  // namespace

void add_train(Program& program) {
  struct Arguments {
    std::string config, resume, device;
    std::vector<std::string> overrides;
    bool profile = false, json = false;
  };
  auto a = std::make_shared<Arguments>();
  Command command = program.command(
      "train", "trains a student or a CLIP on a dataset, into a run folder",
      "vitral train configs/shapes.yaml train.epochs=4 train.output=runs/short --resume auto\n"
      "  vitral train configs/shapes.yaml train.max_steps=20 train.output=runs/profile --profile");
  command.option("config", a->config, "YAML file; docs/config.md has every key")
      .required()
      .type_name("CONFIG");
  command.option("overrides", a->overrides, "section.key=value, over the file").type_name("KEY=VALUE");
  command
      .option("--resume", a->resume,
              "auto: go on where the run folder stands; or a checkpoint, also a .pt of PyTorch with "
              "AdamW's state")
      .type_name("auto|PATH");
  command.option("--device", a->device, "short for train.device=...").type_name("cpu|cuda|cuda:N|auto");
  command.takes_processes();
  command.flag("--profile", a->profile,
               "at the end: calls, time, and GFLOP/s or GB/s of each operation of the training steps");
  command.flag("--json", a->json, "the summary, with --profile also that, as one JSON object");
  command.run([a] {
    // A second signal must not interrupt the end of a run that the first stopped.
    StopSignals::until_exit();
    Group& group = processes();
    auto overrides = a->overrides;
    if (!a->device.empty()) overrides.push_back("train.device=" + a->device);
    const train::Config config = train::load_config(
        a->config, overrides, a->resume.empty() ? train::CheckFiles::all : train::CheckFiles::data);
    Profile profile;
    const train::RunSummary s =
        train::train(config, a->resume, stderr, a->profile ? &profile : nullptr, group);
    if (!group.is_first()) return;
    if (!a->json) {
      print_line(s, config.train.output);
      if (a->profile) print_table(profile, s);
      return;
    }
    ordered_json out = to_json(s, config.train.output);
    if (a->profile) out["profile"] = to_json(profile, s);
    print_json(out);
  });
}

}  // namespace vitral::cli
