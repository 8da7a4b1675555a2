#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "data/input_file.h"
#include "infer/evaluate.h"

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

ordered_json number(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

ordered_json to_json(const infer::Retrieval& r) {
  ordered_json out = {{"queries", r.queries}, {"candidates", r.candidates}};
  for (std::size_t d = 0; d < r.depths.size(); ++d) {
    out[fmt::format("recall_at_{}", r.depths[d])] = r.recall[d];
    out[fmt::format("chance_at_{}", r.depths[d])] = r.chance[d];
  }
  return out;
}

ordered_json to_json(const infer::SegmentationResult& s, const std::vector<std::string>& names) {
  ordered_json concepts = ordered_json::array();
  const auto add = [](const infer::PixelCounts& c) {
    return ordered_json{{"pixels", c.labelled},
                        {"predicted", c.predicted},
                        {"iou", c.labelled > 0 ? ordered_json(c.iou()) : ordered_json()}};
  };
  for (std::size_t c = 0; c < names.size(); ++c) {
    concepts.push_back({{"concept", names[c]}});
    concepts.back().update(add(s.concepts[c]));
  }
  ordered_json out = {{"mean_iou", s.mean_iou()},
                      {"chance", s.chance()},
                      {"pixels", s.pixels},
                      {"ambiguous_pixels", s.ambiguous},
                      {"concepts", std::move(concepts)}};
  if (s.background) out["background"] = add(*s.background);
  return out;
}

ordered_json to_json(const infer::Evaluation& e, double seconds) {
  ordered_json out = {
      {"images", e.images},
      {"skipped", e.skipped},
      {"loss", number(e.loss)},
      {"cosine", number(e.cosine)},
      {"top1_agreement", e.to_teacher.recall[0]},
      {"top1_candidates", e.to_teacher.candidates},
      {"retrieval",
       {{"student_to_teacher", to_json(e.to_teacher)}, {"teacher_to_student", to_json(e.to_student)}}}};
  if (e.pointing) {
    out["objects"] = e.pointing->objects;
    out["pointing_game"] = e.pointing->accuracy();
    out["pointing_chance"] = e.pointing->chance();
  }
  if (e.segmentation) out["segmentation"] = to_json(*e.segmentation, e.concepts);
  out["seconds"] = seconds;
  return out;
}

void row(const std::string& what, const std::string& value) { fmt::print("{:<20} {}\n", what, value); }

std::string recalls(const infer::Retrieval& r) {
  return fmt::format("{:.4f} / {:.4f} / {:.4f} of {} candidates (chance {:.4f} / {:.4f} / {:.4f})",
                     r.recall[0], r.recall[1], r.recall[2], r.candidates, r.chance[0], r.chance[1],
                     r.chance[2]);
}

void print(const infer::Evaluation& e, double seconds, bool every_concept) {
  row("images", fmt::format("{}", e.images) + (e.skipped > 0 ? fmt::format(" ({} skipped)", e.skipped) : ""));
  row("loss", fmt::format("{:.4f}", e.loss));
  row("cosine", fmt::format("{:.4f}", e.cosine));
  row("top-1 agreement",
      fmt::format("{:.4f} of {} candidates", e.to_teacher.recall[0], e.to_teacher.candidates));
  row("recall@1/5/10", "");
  row("  student, teacher", recalls(e.to_teacher));
  row("  teacher, student", recalls(e.to_student));
  if (e.pointing)
    row("pointing game", fmt::format("{:.4f} of {} objects (chance {:.4f})", e.pointing->accuracy(),
                                     e.pointing->objects, e.pointing->chance()));
  if (e.segmentation) {
    const infer::SegmentationResult& s = *e.segmentation;
    row("mean IoU", fmt::format("{:.4f} of {} pixels (chance {:.4f}; {} more in boxes of several concepts)",
                                s.mean_iou(), s.pixels, s.chance(), s.ambiguous));
    if (s.background) row("  background", fmt::format("{:.4f}", s.background->iou()));
    for (std::size_t c = 0; every_concept && c < e.concepts.size(); ++c)
      if (s.concepts[c].labelled > 0)
        row("  " + data::shown(e.concepts[c]), fmt::format("{:.4f}", s.concepts[c].iou()));
  }
  row("seconds", fmt::format("{:.1f}", seconds));
}

}  // namespace

void add_eval(CLI::App& app) {
  struct Arguments {
    EncoderArguments encoder;
    std::vector<std::string> files;
    infer::EvaluateOptions options;
    bool per_class = false, json = false;
  };
  auto a = std::make_shared<Arguments>();
  auto* command =
      add_command(app, "eval", "measures a student on a dataset: loss, cosine, retrieval, localisation",
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
  command->add_option("--candidates", a->options.candidates, "images that retrieval is taken over, at most")
      ->capture_default_str()
      ->check(at_least(1));
  command
      ->add_option("--background", a->options.background,
                   "cosine below which a pixel shows no concept: segmentation with background")
      ->check(CLI::Range(-1.0, 1.0));
  command->add_flag("--per-class", a->per_class, "also what was measured of each concept");
  command->add_flag("--json", a->json, "one JSON object");
  command->callback([a] {
    const data::Dataset dataset = data::Dataset::open(a->files);
    const infer::Encoder encoder = a->encoder.load();
    a->options.progress = terminal_counter("evaluated");
    a->options.skipped = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    const auto start = std::chrono::steady_clock::now();
    const infer::Evaluation e = infer::evaluate(encoder, dataset, a->options);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (a->json)
      fmt::print("{}\n", to_json(e, seconds).dump(-1, ' ', false, ordered_json::error_handler_t::replace));
    else
      print(e, seconds, a->per_class);
  });
}

}  // namespace vitral::cli
