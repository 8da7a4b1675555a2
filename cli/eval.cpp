#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "infer/evaluate.h"

namespace vitral::cli {
namespace {

nlohmann::json number(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

void print(const infer::Evaluation& e, double seconds, bool as_json) {
  if (as_json) {
    nlohmann::json out = {{"images", e.images},
                          {"skipped", e.skipped},
                          {"loss", number(e.loss)},
                          {"cosine", number(e.cosine)},
                          {"top1_agreement", number(e.top1_agreement)},
                          {"top1_candidates", e.candidates},
                          {"seconds", seconds}};
    if (e.pointing) {
      out["objects"] = e.pointing->objects;
      out["pointing_game"] = e.pointing->accuracy();
      out["pointing_chance"] = e.pointing->chance();
    }
    std::printf("%s\n", out.dump().c_str());
    return;
  }
  const auto row = [](const char* what, const std::string& value) {
    std::printf("%-18s %s\n", what, value.c_str());
  };
  row("images", fmt::format("{}", e.images) + (e.skipped > 0 ? fmt::format(" ({} skipped)", e.skipped) : ""));
  row("loss", fmt::format("{:.4f}", e.loss));
  row("cosine", fmt::format("{:.4f}", e.cosine));
  row("top-1 agreement", fmt::format("{:.4f} of {} candidates", e.top1_agreement, e.candidates));
  if (e.pointing)
    row("pointing game", fmt::format("{:.4f} of {} objects (chance {:.4f})", e.pointing->accuracy(),
                                     e.pointing->objects, e.pointing->chance()));
  row("seconds", fmt::format("{:.1f}", seconds));
}

}  // namespace

void add_eval(CLI::App& app) {
  struct Arguments {
    EncoderArguments encoder;
    std::vector<std::string> files;
    infer::EvaluateOptions options;
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  auto* command = add_command(app, "eval",
                              "measures a student on a dataset: loss, cosine, top-1 agreement, pointing game",
                              "vitral eval runs/shapes shapes/val.h5 --json");
  a->encoder.add_to(*command);
  command->add_option("files", a->files, "dataset files (HDF5)")->required()->type_name("FILE");
  command->add_option("--batch", a->options.batch_size, "images at once")
      ->capture_default_str()
      ->check(at_least(1));
  command->add_option("--workers", a->options.workers, "loader threads")
      ->capture_default_str()
      ->check(at_least(0));
  command->add_option("--loss-norm", a->options.loss_norm, "factor of the loss")
      ->capture_default_str()
      ->check(positive_number());
  command->add_flag("--json", a->json, "one JSON object");
  command->callback([a] {
    const data::Dataset dataset = data::Dataset::open(a->files);
    const infer::Encoder encoder = a->encoder.load();
    a->options.progress = terminal_counter("evaluated");
    a->options.skipped = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    const auto start = std::chrono::steady_clock::now();
    const infer::Evaluation e = infer::evaluate(encoder, dataset, a->options);
    print(e, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), a->json);
  });
}

}  // namespace vitral::cli
