#include "cli/localisation_print.h"

#include <cmath>

#include <fmt/format.h>

#include "base/text.h"

namespace vitral::cli {
namespace {

using infer::LocalisationRow;
using nlohmann::ordered_json;

ordered_json json_of(const infer::Interval& i) {
  return std::isfinite(i.low) ? ordered_json{i.low, i.high} : ordered_json();
}

ordered_json json_of(const infer::FieldPointing& game, const infer::Measured& accuracy,
                     const std::vector<std::string>& concepts) {
  ordered_json out = {{"trials", game.trials()},
                      {"accuracy", game.trials() > 0 ? ordered_json(accuracy.value) : ordered_json()},
                      {"interval", json_of(accuracy.interval)},
                      {"classes", ordered_json::array()}};
  for (std::size_t c = 0; c < concepts.size(); ++c)
    if (game.classes[c].trials > 0)
      out["classes"].push_back(
          {{"concept", concepts[c]}, {"trials", game.classes[c].trials}, {"hits", game.classes[c].hits}});
  return out;
}

ordered_json json_of(const infer::SegmentationResult& s, const infer::Measured& mean_iou,
                     const std::vector<std::string>& concepts) {
  const auto counts = [&](const infer::PixelCounts& c) {
    const bool counts = c.labelled > 0 || (s.on_masks && c.predicted > 0);
    return ordered_json{{"pixels", c.labelled},
                        {"predicted", c.predicted},
                        {"iou", counts ? ordered_json(c.iou()) : ordered_json()}};
  };
  ordered_json classes = ordered_json::array();
  for (std::size_t c = 0; c < concepts.size(); ++c) {
    classes.push_back({{"concept", concepts[c]}});
    classes.back().update(counts(s.concepts[c]));
  }
  ordered_json out = {{"mean_iou", s.mean_iou()},
                      {"interval", json_of(mean_iou.interval)},
                      {"chance", s.chance()},
                      {"pixel_accuracy", s.pixel_accuracy()},
                      {"mean_accuracy", s.mean_accuracy()},
                      {"pixels", s.pixels},
                      {"ambiguous_pixels", s.ambiguous},
                      {"concepts", std::move(classes)}};
  if (s.background) out["background"] = counts(*s.background);
  return out;
}

ordered_json json_of(const LocalisationRow& row, const std::vector<std::string>& concepts) {
  ordered_json out = {{"name", row.name}};
  if (row.grid > 0) out["grid"] = row.grid;
  if (row.objects.objects > 0)
    out["objects"] = {{"objects", row.objects.objects},
                      {"hits", row.objects.hits},
                      {"accuracy", row.on_objects.value},
                      {"interval", json_of(row.on_objects.interval)}};
  out["pixels"] = {{"all", json_of(row.all, row.on_all, concepts)},
                   {"difficult", json_of(row.difficult, row.on_difficult, concepts)}};
  if (row.segmentation) out["segmentation"] = json_of(*row.segmentation, row.mean_iou, concepts);
  return out;
}

// "0.9312 [0.9205, 0.9411]"
std::string text_of(const infer::Measured& m) {
  const std::string value = fmt::format("{:.4f}", m.value);
  return std::isfinite(m.interval.low)
             ? fmt::format("{} [{:.4f}, {:.4f}]", value, m.interval.low, m.interval.high)
             : value;
}

void line(const std::string& name, const std::vector<std::string>& values, int width) {
  std::string text = fmt::format("{:<24}", name);
  for (const std::string& v : values) text += fmt::format(" {:<{}}", v, width);
  fmt::print("{}\n", text.substr(0, text.find_last_not_of(' ') + 1));
}

// Of each concept a number of each row that has it.
void print_concepts(const infer::LocalisationResult& r, const std::vector<std::string>& concepts,
                    const std::string& title, auto&& has, auto&& value) {
  std::vector<std::string> names;
  for (const LocalisationRow& row : r.rows) names.push_back(row.name);
  fmt::print("{}\n", title);
  line("", names, 24);
  for (std::size_t c = 0; c < concepts.size(); ++c) {
    if (!has(r.rows.front(), c)) continue;
    std::vector<std::string> values;
    for (const LocalisationRow& row : r.rows) values.push_back(value(row, c));
    line("  " + shown(concepts[c], 20), values, 24);
  }
}

}  // namespace

void add_localisation(const infer::LocalisationResult& r, const std::vector<std::string>& concepts,
                      ordered_json& to) {
  const LocalisationRow& student = r.rows.front();
  if (student.objects.objects > 0) {
    to["objects"] = student.objects.objects;
    to["pointing_game"] = student.objects.accuracy();
    to["pointing_interval"] = json_of(student.on_objects.interval);
    to["pointing_chance"] = student.objects.chance();
  }
  to["segmentation"] = json_of(*student.segmentation, student.mean_iou, concepts);
  ordered_json rows = ordered_json::array();
  for (const LocalisationRow& row : r.rows) rows.push_back(json_of(row, concepts));
  to["localisation"] = {{"protocol", infer::name(r.protocol)},
                        {"labels", r.on_masks ? "masks" : "boxes"},
                        {"tolerance", r.tolerance},
                        {"resamples", r.resamples},
                        {"rows", std::move(rows)}};
}

void print_localisation(const infer::LocalisationResult& r, const std::vector<std::string>& concepts,
                        bool every_concept) {
  const LocalisationRow& student = r.rows.front();
  const bool on_objects = student.objects.objects > 0;
  fmt::print("localisation, {}, segmentation on {}; in brackets 95 % of {} resamples of the images\n",
             r.protocol == infer::Protocol::slide ? "sliding windows" : "whole images",
             r.on_masks ? "masks" : "boxes", r.resamples);
  const std::string pixels = fmt::format("within {:g} pixels", r.tolerance);
  std::vector<std::string> heads{pixels, "of these difficult", "mean IoU"};
  if (on_objects) heads.insert(heads.begin(), "pointing game");
  line("", heads, 24);
  for (const LocalisationRow& row : r.rows) {
    std::vector<std::string> values{text_of(row.on_all),
                                    row.difficult.trials() > 0 ? text_of(row.on_difficult) : "-",
                                    row.segmentation ? text_of(row.mean_iou) : "-"};
    if (on_objects) values.insert(values.begin(), text_of(row.on_objects));
    line("  " + row.name, values, 24);
  }
  std::vector<std::string> chance{"-", "-", fmt::format("{:.4f}", student.segmentation->chance())};
  if (on_objects) chance.insert(chance.begin(), fmt::format("{:.4f}", student.objects.chance()));
  line("  chance", chance, 24);
  if (!every_concept) return;
  print_concepts(
      r, concepts, "IoU",
      [](const LocalisationRow& row, std::size_t c) {
        const infer::PixelCounts& p = row.segmentation->concepts[c];
        return p.labelled > 0 || (row.segmentation->on_masks && p.predicted > 0);
      },
      [](const LocalisationRow& row, std::size_t c) {
        return row.segmentation ? fmt::format("{:.4f}", row.segmentation->concepts[c].iou()) : "-";
      });
  print_concepts(
      r, concepts, pixels,
      [](const LocalisationRow& row, std::size_t c) { return row.all.classes[c].trials > 0; },
      [](const LocalisationRow& row, std::size_t c) {
        const auto& [trials, hits] = row.all.classes[c];
        return fmt::format("{:.4f} of {}", static_cast<double>(hits) / static_cast<double>(trials), trials);
      });
}

}  // namespace vitral::cli
