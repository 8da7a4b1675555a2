#include "cli/eval_print.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.h"
#include "cli/localisation_print.h"
#include "cli/print.h"

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

ordered_json number(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

ordered_json to_json(const models::Retrieval& r) {
  ordered_json out = {{"queries", r.queries}, {"candidates", r.candidates}};
  for (std::size_t d = 0; d < r.depths.size(); ++d) {
    out[fmt::format("recall_at_{}", r.depths[d])] = r.recall[d];
    out[fmt::format("chance_at_{}", r.depths[d])] = r.chance[d];
  }
  return out;
}

ordered_json to_json(const infer::Evaluation& e, double seconds) {
  ordered_json out = {
      {"images", e.images},
      {"skipped", e.skipped},
  };
  if (e.has_targets)
    out.update(
        {{"loss", number(e.loss)},
         {"cosine", number(e.cosine)},
         {"top1_agreement", e.to_teacher.recall[0]},
         {"top1_candidates", e.to_teacher.candidates},
         {"retrieval",
          {{"student_to_teacher", to_json(e.to_teacher)}, {"teacher_to_student", to_json(e.to_student)}}}});
  if (e.localisation) add_localisation(*e.localisation, e.concepts, out);
  out["seconds"] = seconds;
  return out;
}

void row(const std::string& what, const std::string& value) { fmt::print("{:<20} {}\n", what, value); }

std::string recalls(const models::Retrieval& r) {
  return fmt::format("{:.4f} / {:.4f} / {:.4f} of {} candidates (chance {:.4f} / {:.4f} / {:.4f})",
                     r.recall[0], r.recall[1], r.recall[2], r.candidates, r.chance[0], r.chance[1],
                     r.chance[2]);
}

void print_table(const infer::Evaluation& e, double seconds, bool every_concept) {
  row("images", fmt::format("{}", e.images) + (e.skipped > 0 ? fmt::format(" ({} skipped)", e.skipped) : ""));
  if (e.has_targets) {
    row("loss", fmt::format("{:.4f}", e.loss));
    row("cosine", fmt::format("{:.4f}", e.cosine));
    row("top-1 agreement",
        fmt::format("{:.4f} of {} candidates", e.to_teacher.recall[0], e.to_teacher.candidates));
    row("recall@1/5/10", "");
    row("  student, teacher", recalls(e.to_teacher));
    row("  teacher, student", recalls(e.to_student));
  }
  if (e.pointing && e.pointing->objects > 0)
    row("pointing game", fmt::format("{:.4f} of {} objects (chance {:.4f})", e.pointing->accuracy(),
                                     e.pointing->objects, e.pointing->chance()));
  if (e.segmentation) {
    const infer::SegmentationResult& s = *e.segmentation;
    row("mean IoU",
        fmt::format("{:.4f} of {} pixels (chance {:.4f}; {} more {})", s.mean_iou(), s.pixels, s.chance(),
                    s.ambiguous, s.on_masks ? "that nobody labelled" : "in boxes of several concepts"));
    if (s.background) row("  background", fmt::format("{:.4f}", s.background->iou()));
  }
  if (e.localisation) print_localisation(*e.localisation, e.concepts, every_concept);
  row("seconds", fmt::format("{:.1f}", seconds));
}

// A table with a column for each model.
void columns(const std::string& what, const std::vector<std::string>& values) {
  std::string line = fmt::format("{:<28}", what);
  for (const std::string& v : values) line += fmt::format(" {:>12}", v);
  fmt::print("{}\n", line);
}

// One number of each model, then that of chance.
void compare(const std::string& what, const infer::TextResult& r, auto&& value,
             const std::string& chance = "") {
  std::vector<std::string> values;
  for (const infer::TextEvaluation& m : r.models) values.push_back(fmt::format("{:.4f}", value(m)));
  values.push_back(chance);
  columns(what, values);
}

// The folders of a class where its name does not tell them; "" otherwise.
std::string folders_of(const infer::ClassLabels& classes, std::size_t c) {
  std::string name = fmt::format("{}", fmt::join(classes.folders[c], ", "));
  std::string as_words = name;
  std::replace(as_words.begin(), as_words.end(), '_', ' ');
  return as_words == classes.names[c] ? "" : name;
}

std::string decimal(double value) { return fmt::format("{:.4f}", value); }

void print_zero_shot(const infer::TextResult& r, const infer::ClassLabels& classes, bool every_class) {
  const models::ZeroShotResult& first = *r.models.front().zero_shot;
  fmt::print("zero-shot, {} images of {} classes\n", first.images, classes.names.size());
  compare(
      "  top-1", r, [](const auto& m) { return m.zero_shot->top1; }, decimal(first.chance(1)));
  if (classes.names.size() > 5)
    compare(
        "  top-5", r, [](const auto& m) { return m.zero_shot->top5; }, decimal(first.chance(5)));
  compare(
      "  top-1, mean over classes", r, [](const auto& m) { return m.zero_shot->mean_per_class(); },
      decimal(first.chance(1)));
  for (std::size_t c = 0; every_class && c < classes.names.size(); ++c)
    if (first.classes[c].images > 0) {
      const std::string folders = folders_of(classes, c);
      compare(
          "    " + shown(classes.names[c], 24), r,
          [c](const auto& m) { return m.zero_shot->classes[c].accuracy(); },
          fmt::format("of {}{}", first.classes[c].images,
                      folders.empty() ? "" : ", folder " + shown(folders, 40)));
    }
}

void print_retrieval(const std::string& what, const infer::TextResult& r,
                     std::optional<models::Retrieval> infer::TextEvaluation::*direction) {
  const models::Retrieval& first = *(r.models.front().*direction);
  fmt::print("{}, {} queries among {}\n", what, first.queries, first.candidates);
  for (std::size_t d = 0; d < first.depths.size(); ++d)
    compare(
        fmt::format("  recall@{}", first.depths[d]), r,
        [&](const auto& m) { return (m.*direction)->recall[d]; }, decimal(first.chance[d]));
}

void print_table(const infer::TextResult& r, const infer::TextTask& task, double seconds, bool every_class) {
  std::string left_out;
  if (r.skipped > 0) left_out += fmt::format(", {} skipped", r.skipped);
  if (r.unlabelled > 0) left_out += fmt::format(", {} without class or caption left out", r.unlabelled);
  fmt::print("{} images{}\n", r.images, left_out);
  if (task.captions && task.captions->unknown > 0)
    fmt::print("{} captions of images that are not there\n", task.captions->unknown);
  std::vector<std::string> names;
  for (const infer::TextEvaluation& m : r.models) names.push_back(m.model);
  names.emplace_back("chance");
  columns("", names);
  if (task.classes) print_zero_shot(r, *task.classes, every_class);
  if (r.models.front().image_to_text) {
    print_retrieval("image to text", r, &infer::TextEvaluation::image_to_text);
    print_retrieval("text to image", r, &infer::TextEvaluation::text_to_image);
  }
  fmt::print("{:.1f} seconds\n", seconds);
}

ordered_json to_json(const models::ZeroShotResult& z, const infer::ClassLabels& labels) {
  ordered_json classes = ordered_json::array();
  for (std::size_t c = 0; c < labels.names.size(); ++c)
    classes.push_back(
        {{"class", labels.names[c]},
         {"folders", labels.folders[c]},
         {"images", z.classes[c].images},
         {"accuracy", z.classes[c].images > 0 ? ordered_json(z.classes[c].accuracy()) : ordered_json()}});
  const bool five = labels.names.size() > 5;
  return {{"images", z.images},
          {"top1", z.top1},
          {"top5", five ? ordered_json(z.top5) : ordered_json()},
          {"mean_per_class", z.mean_per_class()},
          {"chance_top1", z.chance(1)},
          {"chance_top5", five ? ordered_json(z.chance(5)) : ordered_json()},
          {"classes", std::move(classes)}};
}

ordered_json to_json(const infer::TextResult& r, const infer::TextTask& task, const data::LeftOut& left_out,
                     double seconds) {
  ordered_json out = {{"images", r.images},
                      {"skipped", r.skipped},
                      {"left_out", json_of(left_out)},
                      {"unlabelled", r.unlabelled}};
  if (task.captions) out["unknown_captions"] = task.captions->unknown;
  for (const infer::TextEvaluation& m : r.models) {
    ordered_json& model = out[m.model];
    if (m.zero_shot) model["zero_shot"] = to_json(*m.zero_shot, *task.classes);
    if (m.image_to_text)
      model["retrieval"] = {{"image_to_text", to_json(*m.image_to_text)},
                            {"text_to_image", to_json(*m.text_to_image)}};
  }
  out["seconds"] = seconds;
  return out;
}

}  // namespace

void print(const infer::Evaluation& e, double seconds, const EvalStyle& style) {
  if (style.json)
    print_json(to_json(e, seconds));
  else
    print_table(e, seconds, style.per_class);
}

void print(const infer::TextResult& r, const infer::TextTask& task, const data::LeftOut& left_out,
           double seconds, const EvalStyle& style) {
  if (style.json)
    print_json(to_json(r, task, left_out, seconds));
  else
    print_table(r, task, seconds, style.per_class);
}

}  // namespace vitral::cli
