#include "ablate/ablate.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "ablate/plot.h"
#include "ablate/report.h"
#include "ablate/runner.h"
#include "base/error.h"
#include "base/files/atomic.h"
#include "base/json_text.h"

namespace vitral::ablate {
namespace {

void write_files(const Results& results, const std::string& output) {
  write_file_atomic(output + "/ablation.json", json_text(to_json(results), 1) + "\n");
  write_file_atomic(output + "/ablation.md", to_markdown(results));
  write_file_atomic(output + "/ablation.svg", plot_svg(results));
  write_file_atomic(output + "/ablation.html", plot_page(results));
}

// A run of which the files cannot be read is one that failed.
Outcome outcome_of(const Run& run) try { return outcome_of_done(run); } catch (const Error& e) {
  return {.state = State::begun, .error = e.what(), .values = {}};
}

}  // namespace

std::size_t Ablation::left() const {
  return runs.size() - static_cast<std::size_t>(std::count(states.begin(), states.end(), State::done));
}

Ablation open_ablation(const std::string& grid, const Overrides& overrides, const std::string& output,
                       const std::vector<std::string>& backgrounds) {
  Ablation out{.grid = read_grid(grid), .runs = {}, .states = {}};
  out.runs = plan_runs(out.grid, overrides, output, backgrounds);
  for (const Run& run : out.runs) out.states.push_back(state_of(run));
  return out;
}

Results run_ablation(const Ablation& ablation, const std::string& output, int jobs, const StopSignals& stop,
                     const std::function<void(const Progress&)>& progress) {
  const FolderLock lock(output);
  Results results{.grid = &ablation.grid, .runs = &ablation.runs, .outcomes = {}};
  for (std::size_t i = 0; i < ablation.runs.size(); ++i)
    results.outcomes.push_back(ablation.states[i] == State::done
                                   ? outcome_of(ablation.runs[i])
                                   : Outcome{.state = ablation.states[i], .error = {}, .values = {}});
  write_files(results, output);
  std::size_t ended = ablation.runs.size() - ablation.left();
  run_all(ablation.runs, ablation.states, stop,
          {.jobs = jobs, .ended = [&](std::size_t run, const std::string& error) {
             Outcome& outcome = results.outcomes[run];
             if (error.empty())
               outcome = outcome_of(ablation.runs[run]);
             else
               outcome.error = error;
             write_files(results, output);
             progress({.ended = ++ended,
                       .all = ablation.runs.size(),
                       .run = &ablation.runs[run],
                       .outcome = &outcome});
           }});
  return results;
}

}  // namespace vitral::ablate
