// vitral ablate: a table of experiments (ablate/ablate.h).
#include "ablate/ablate.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>

#include "ablate/report.h"
#include "base/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/print.h"
#include "processes/launch.h"
#include "train/run/progress.h"

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

struct Arguments {
  std::string grid, output, device;
  std::vector<std::string> overrides, backgrounds;
  int jobs = 1;
  bool dry_run = false, json = false;
};

void show(const ablate::Ablation& ablation, const Arguments& a, const StopSignals& stop) {
  const ablate::TimeLeft time = estimate_time(ablation, stop);
  ordered_json rows = ordered_json::array();
  for (std::size_t i = 0; i < ablation.runs.size(); ++i) {
    const ablate::Run& run = ablation.runs[i];
    const std::int64_t total = run.total_steps(), step = trained(run, run.folder()).steps;
    const ablate::State state = ablation.states[i];
    if (a.json)
      rows.push_back({{"variant", ablation.grid.variants[run.variant].name},
                      {"seed", run.seed},
                      {"folder", run.folder()},
                      {"done", state == ablate::State::done},
                      {"step", step},
                      {"steps", total}});
    else
      fmt::print("{}: {}\n", shown(run.name),
                 state == ablate::State::done    ? "done"
                 : state == ablate::State::begun ? fmt::format("goes on near step {} of {}", step, total)
                                                 : fmt::format("{} steps", total));
  }
  if (a.json)
    print_json(ordered_json{{"runs", std::move(rows)},
                            {"left", ablation.left()},
                            {"seconds_left", time.seconds},
                            {"estimated", time.source}});
  else if (ablation.left() == 0)
    fmt::print("all {} runs are done\n", ablation.runs.size());
  else
    fmt::print("{} of {} runs are left: about {} of training, one after the other, {}\n", ablation.left(),
               ablation.runs.size(), train::format_duration(time.seconds), time.source);
}

std::string cosine_problem(const std::string& text) {
  double value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem == std::errc() && end == text.data() + text.size() && std::abs(value) <= 1) return "";
  return "must be a cosine from -1 to 1, not " + text;
}

// "3/18 full attention, seed 1: pointing game 0.602, ..."
void tell(const ablate::Progress& p) {
  std::string line = fmt::format("{}/{} {}: ", p.ended, p.all, p.run->name);
  if (!p.outcome->error.empty()) {
    line += "failed: " + p.outcome->error;
  } else {
    std::string values;
    for (std::size_t m = 0; m < p.outcome->values.size(); ++m)
      if (const ablate::Measure& measure = ablate::all_measures()[m]; std::isfinite(p.outcome->values[m]))
        values += fmt::format("{}{} {}", values.empty() ? "" : ", ", measure.title,
                              number_text(p.outcome->values[m], measure));
    line += values;
  }
  std::fprintf(stderr, "%s\n", one_line(line).c_str());
}

void run(const Arguments& a) {
  const StopSignals& stop = StopSignals::until_exit();
  require_one_process("ablate: runs are started");
  auto overrides = a.overrides;
  if (!a.device.empty()) overrides.push_back("train.device=" + a.device);
  const ablate::Ablation ablation = ablate::open_ablation(a.grid, overrides, a.output, a.backgrounds);
  if (a.dry_run) return show(ablation, a, stop);
  const ablate::Results results = run_ablation(ablation, a.output, a.jobs, stop, tell);
  if (a.json)
    print_json(to_json(results));
  else
    fmt::print("{}", to_text(results));
  const std::size_t failed = results.failed();
  if (stop.requested() && results.count(ablate::State::done) + failed < ablation.runs.size())
    throw_stopped(a.output, stop.signal());
  if (failed > 0)
    throw_error(
        "{}: {} of {} runs failed; log.txt in their folders says more, the same command tries them again",
        a.output, failed, ablation.runs.size());
}

}  // namespace

void add_ablate(Program& program) {
  auto a = std::make_shared<Arguments>();
  Command command = program.command(
      "ablate", "trains and measures variants of a configuration with several seeds, into one table",
      "vitral ablate configs/ablations/attention.yaml -o runs/attention --dry-run\n"
      "  vitral ablate configs/ablations/attention.yaml -o runs/attention train.epochs=4 --jobs 2");
  command
      .option("grid", a->grid, "YAML file: base, overrides, seeds, variants; docs/research.md describes it")
      .required()
      .type_name("GRID");
  command
      .option("overrides", a->overrides,
              "section.key=value for all variants, over the grid's overrides and under those of a variant")
      .type_name("KEY=VALUE");
  command
      .option("-o,--output", a->output,
              "folder of the runs and of ablation.json, .md, .html and .svg; what is done in it is kept")
      .required()
      .type_name("DIR");
  command.option("--jobs", a->jobs, "runs at once, each with its share of the cores")
      .shows_default()
      .at_least(1);
  command.option("--device", a->device, "short for train.device=...").type_name("cpu|cuda|cuda:N|auto");
  command
      .option(
          "--background", a->backgrounds,
          "also measure mIoU with a background: pixels below this cosine; of several each run's best counts")
      .takes_many()
      .is_text()
      .valid(cosine_problem)
      .type_name("T");
  command.flag(
      "--dry-run", a->dry_run,
      "only show what would run, and about how long; trains for some seconds where no run is there yet");
  command.flag("--json", a->json, "print ablation.json on one line; with --dry-run the runs that are left");
  command.run([a] { run(*a); });
}

}  // namespace vitral::cli
