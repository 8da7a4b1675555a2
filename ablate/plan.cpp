#include "ablate/plan.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <tuple>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/files/json_file.h"
#include "data/dataset.h"
#include "train/run/checkpoint.h"

namespace vitral::ablate {
namespace {

using train::Config;

Overrides joined(Overrides a, const Overrides& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// "": it is valid.
std::string problem_of(const Grid& grid, const Overrides& overrides) {
  try {
    train::load_config(grid.base, overrides, train::CheckFiles::all);
    return "";
  } catch (const UsageError& e) {
    return e.what();
  }
}

// What is wrong without the variant, too, is not its fault.
[[noreturn]] void fail(const Grid& grid, const Variant& variant, const Overrides& of_all,
                       const std::string& problem) {
  if (problem_of(grid, {}) == problem) throw UsageError(problem);
  if (problem_of(grid, of_all) == problem) throw_error<UsageError>("{}: {}", grid.path, problem);
  throw_error<UsageError>("{}:{}: variant {}: {}", grid.path, variant.line, variant.name, problem);
}

Config config_of(const Grid& grid, const Variant& variant, const Overrides& of_all) {
  try {
    return train::load_config(grid.base, joined(of_all, variant.overrides), train::CheckFiles::all);
  } catch (const UsageError& e) {
    fail(grid, variant, of_all, e.what());
  }
}

// Datasets are opened once, whatever the number of variants that share them.
class Data {
 public:
  std::int64_t training_images(const train::DataConfig& config) { return open(config.train, config).size(); }
  void check_validation(const train::DataConfig& config) {
    VITRAL_CHECK(!config.val.empty(), "data.val: is empty; variants are compared on validation data");
    open(config.val, config).require_embeddings();
  }

 private:
  const data::Dataset& open(const std::vector<std::string>& files, const train::DataConfig& config) {
    const auto key = std::tuple(files, config.images, config.embeddings);
    const auto it = open_.find(key);
    if (it != open_.end()) return it->second;
    return open_
        .emplace(key, data::Dataset::open(files, {.images = config.images, .embeddings = config.embeddings}))
        .first->second;
  }

  std::map<std::tuple<std::vector<std::string>, std::string, std::string>, data::Dataset> open_;
};

}  // namespace

std::int64_t Run::total_steps() const {
  const std::int64_t batch = config.train.batch_size, batches = (epoch_images + batch - 1) / batch;
  const std::int64_t all = batches * config.train.epochs;
  return std::min(all, config.train.max_steps.value_or(all));
}

std::int64_t Run::images_of(std::int64_t steps) const {
  const std::int64_t batch = config.train.batch_size, batches = (epoch_images + batch - 1) / batch;
  return steps / batches * epoch_images + std::min(steps % batches * batch, epoch_images);
}

std::vector<Run> plan_runs(const Grid& grid, const Overrides& overrides, const std::string& output,
                           const std::vector<std::string>& backgrounds) {
  const Overrides of_all = joined(grid.overrides, overrides);
  Data data;
  std::vector<Run> runs;
  for (std::size_t v = 0; v < grid.variants.size(); ++v) {
    const Variant& variant = grid.variants[v];
    Run run{.variant = v, .seed = 0, .name = {}, .config = config_of(grid, variant, of_all)};
    try {
      data.check_validation(run.config.data);
      run.epoch_images = data.training_images(run.config.data);
    } catch (const UsageError& e) {
      throw_error<UsageError>("{}:{}: variant {}: {}", grid.path, variant.line, variant.name, e.what());
    }
    run.backgrounds = backgrounds;
    for (const std::int64_t seed : grid.seeds) {
      run.seed = seed;
      run.name = fmt::format("{}, seed {}", variant.name, seed);
      run.config.train.seed = seed;
      run.config.train.output = fmt::format("{}/runs/{}/{}", output, variant.name, seed);
      runs.push_back(run);
    }
  }
  return runs;
}

nlohmann::json read_evaluation(const Run& run) {
  constexpr std::uint64_t largest = 1 << 26;  // bytes: it lists every concept
  return read_json_object(run.evaluation_file(), largest);
}

State state_of(const Run& run) {
  const auto is_there = [](const std::string& path) {
    return file_status(path).type() != std::filesystem::file_type::not_found;
  };
  const bool measured = is_there(run.evaluation_file());
  const bool begun = train::holds_run(run.folder());
  if (!measured && !begun) return State::fresh;
  if (is_there(run.config_file())) {
    Config before = train::load_config(run.config_file());
    before.train.output = run.folder();  // the same folder may have been named otherwise
    const std::string difference = train::first_difference(before, run.config);
    VITRAL_CHECK(difference.empty(),
                 "{}: holds a run of another configuration ({}); give the variant another name, choose "
                 "another folder with -o, or remove that run",
                 run.folder(), difference);
  }
  if (!measured) return State::begun;
  const nlohmann::json with = read_evaluation(run).value("backgrounds", nlohmann::json::object());
  const bool all = std::all_of(run.backgrounds.begin(), run.backgrounds.end(),
                               [&with](const std::string& b) { return with.contains(b); });
  return all ? State::done : State::begun;
}

}  // namespace vitral::ablate
