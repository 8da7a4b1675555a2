#include "ablate/report.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/utf8.h"

namespace vitral::ablate {
namespace {

using infer::Estimate;
using nlohmann::ordered_json;

constexpr const char* minus = "\u2212";
constexpr const char* plus_minus = "\u00b1";

ordered_json number(double value) { return std::isfinite(value) ? ordered_json(value) : ordered_json(); }

ordered_json to_json(const Estimate& e) {
  return {{"count", e.count}, {"mean", number(e.mean)}, {"interval", {number(e.low), number(e.high)}}};
}

ordered_json to_json(const Summary& s, const Measure& measure, bool is_first) {
  ordered_json out = to_json(s.mean);
  if (is_first || !measure.varies) return out;
  out["difference"] = to_json(s.difference);
  out["difference"]["significant"] = s.differs();
  out["difference"]["better"] = s.differs() ? ordered_json(s.better(measure)) : ordered_json();
  return out;
}

ordered_json runs_of(const Results& r, std::size_t variant) {
  ordered_json out = ordered_json::array();
  for (std::size_t i = r.first_run(variant); i < r.first_run(variant + 1); ++i) {
    const Outcome& o = r.outcomes[i];
    const Run& run = (*r.runs)[i];
    ordered_json row{{"seed", run.seed},
                     {"folder", run.folder()},
                     {"state", !o.error.empty()         ? "failed"
                               : o.state == State::done ? "done"
                                                        : "not run"}};
    if (!o.error.empty()) row["error"] = o.error;
    for (std::size_t m = 0; m < o.values.size(); ++m) row[all_measures()[m].key] = number(o.values[m]);
    out.push_back(std::move(row));
  }
  return out;
}

std::string with_minus(const std::string& text) {
  return text.starts_with('-') ? fmt::format("{}{}", minus, text.substr(1)) : text;
}

// "0.958 ± 0.004"; without an interval the mean alone.
std::string estimate_text(const Estimate& e, const Measure& measure, bool is_difference) {
  if (!std::isfinite(e.mean)) return "-";
  std::string out = with_minus(number_text(e.mean, measure));
  if (is_difference && e.mean > 0) out.insert(0, 1, '+');
  if (measure.varies && std::isfinite(e.low))
    out += fmt::format(" {} {}", plus_minus, number_text((e.high - e.low) / 2, measure));
  return out;
}

std::string cell(const Results& r, std::size_t variant, std::size_t m) {
  const Measure& measure = all_measures()[m];
  const Summary s = r.summary(variant, m);
  std::string out = estimate_text(s.mean, measure, false);
  if (variant == 0 || !measure.varies || !std::isfinite(s.difference.mean)) return out;
  const std::string difference = estimate_text(s.difference, measure, true);
  return s.differs() ? fmt::format("{}<br>**{}**", out, difference)
                     : fmt::format("{}<br>{}", out, difference);
}

// What would end a cell of the table, or begin a style.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : one_line(text)) {
    if (std::string_view("\\`*_|<>[]").find(c) != std::string_view::npos) out += '\\';
    out += c;
  }
  return out;
}

// Lines "- full attention, seed 1: failed: ...".
std::string missing_runs(const Results& r, const std::string& before, auto&& name_of) {
  std::string out;
  for (std::size_t i = 0; i < r.outcomes.size(); ++i) {
    const Outcome& o = r.outcomes[i];
    if (!o.error.empty())
      out += fmt::format("{}{}: failed: {}\n", before, name_of((*r.runs)[i].name), name_of(o.error));
    else if (o.state != State::done)
      out += fmt::format("{}{}: not run yet\n", before, name_of((*r.runs)[i].name));
  }
  return out;
}

std::string padded(const std::string& text, std::size_t width, bool right) {
  const std::size_t length = from_utf8(text).size();
  std::string out = text;
  return out.insert(right ? 0 : out.size(), width > length ? width - length : 0, ' ');
}

}  // namespace

std::string number_text(double value, const Measure& measure) {
  if (!std::isfinite(value)) return "-";
  std::string text = fmt::format("{:.{}f}", value, measure.decimals);
  if (measure.decimals > 0) return text;
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!out.empty() && out.back() != '-' && (text.size() - i) % 3 == 0) out += ',';
    out += text[i];
  }
  return out;
}

std::string explanation(const Results& r) {
  const std::size_t seeds = r.grid->seeds.size();
  if (seeds == 1) return "One seed: no intervals, and no telling a difference from chance.";
  return fmt::format(
      "{} seeds: mean and 95 % interval (Student's t). Differences to \"{}\" are paired by seed; they are "
      "marked where their interval leaves zero out.",
      seeds, r.grid->variants.front().name);
}

ordered_json to_json(const Results& r) {
  ordered_json measures = ordered_json::array(), variants = ordered_json::array();
  const auto used = r.measures();
  for (const std::size_t m : used) {
    const Measure& measure = all_measures()[m];
    measures.push_back({{"key", measure.key},
                        {"title", measure.title},
                        {"better", measure.more_is_better ? "more" : "less"}});
  }
  for (std::size_t v = 0; v < r.grid->variants.size(); ++v) {
    const Variant& variant = r.grid->variants[v];
    ordered_json row{{"name", variant.name}, {"overrides", variant.overrides}, {"runs", runs_of(r, v)}};
    for (const std::size_t m : used)
      row["summary"][all_measures()[m].key] = to_json(r.summary(v, m), all_measures()[m], v == 0);
    variants.push_back(std::move(row));
  }
  return {{"grid", r.grid->path},           {"base", r.grid->base}, {"overrides", r.grid->overrides},
          {"seeds", r.grid->seeds},         {"confidence", 0.95},   {"runs", r.outcomes.size()},
          {"done", r.count(State::done)},   {"failed", r.failed()}, {"measures", std::move(measures)},
          {"variants", std::move(variants)}};
}

std::string to_markdown(const Results& r) {
  const auto used = r.measures();
  std::string out = "| variant |", rule = "\n|---|";
  for (const std::size_t m : used) {
    out += fmt::format(" {} |", all_measures()[m].title);
    rule += "---|";
  }
  out += rule;
  out += '\n';
  for (std::size_t v = 0; v < r.grid->variants.size(); ++v) {
    out += fmt::format("| {} |", escaped(r.grid->variants[v].name));
    for (const std::size_t m : used) out += fmt::format(" {} |", cell(r, v, m));
    out += "\n";
  }
  out += fmt::format("\n{}\n", escaped(explanation(r)));
  const std::string missing = missing_runs(r, "- ", escaped);
  if (!missing.empty()) out += fmt::format("\n{}", missing);
  return out;
}

std::string to_text(const Results& r) {
  const auto used = r.measures();
  std::vector<std::vector<std::string>> rows{{"variant"}};
  for (const std::size_t m : used) rows[0].push_back(all_measures()[m].title + "  ");  // of the marks
  for (std::size_t v = 0; v < r.grid->variants.size(); ++v) {
    std::vector<std::string> row{shown(r.grid->variants[v].name)};
    for (const std::size_t m : used) {
      const Measure& measure = all_measures()[m];
      const Summary s = r.summary(v, m);
      const bool marked = v > 0 && measure.varies && s.differs();
      row.push_back(estimate_text(s.mean, measure, false) + (!marked             ? "  "
                                                             : s.better(measure) ? " +"
                                                                                 : " -"));
    }
    rows.push_back(std::move(row));
  }
  std::string out;
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], from_utf8(row[c]).size());
  for (const auto& row : rows) {
    std::string line = padded(row[0], widths[0], false);
    for (std::size_t c = 1; c < row.size(); ++c) line += fmt::format("  {}", padded(row[c], widths[c], true));
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  if (r.grid->variants.size() > 1 && r.grid->seeds.size() > 1)
    out += fmt::format(
        "+ better, - worse than \"{}\": the 95 % interval of the paired difference leaves zero out\n",
        shown(r.grid->variants.front().name));
  return out + missing_runs(r, "", [](const std::string& text) { return one_line(text); });
}

}  // namespace vitral::ablate
