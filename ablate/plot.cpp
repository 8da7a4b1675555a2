#include "ablate/plot.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ablate/report.h"
#include "base/utf8.h"
#include "infer/show/html.h"

namespace vitral::ablate {
namespace {

using infer::html_escaped;

// Pixels.
constexpr double row_height = 30, panel_width = 190, panel_gap = 22, top = 46, bottom = 66, character = 7,
                 narrowest = 860;          // for the lines below
constexpr std::size_t longest_label = 34;  // characters

struct Axis {
  double low = 0, high = 1, left = 0;
  std::vector<double> ticks;

  double place(double value) const { return left + (value - low) / (high - low) * panel_width; }
};

// About three round numbers in [low, high].
std::vector<double> round_numbers(double low, double high) {
  const double rough = (high - low) / 3, power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double m : {5.0, 2.0, 1.0})
    if (m * power >= rough * 0.999) step = m * power;
  std::vector<double> out;
  for (double n = std::ceil(low / step); n * step <= high; ++n) out.push_back(n * step);
  return out;
}

// As many decimals as tell the ticks apart.
std::string tick_text(double value, const std::vector<double>& ticks) {
  const double step = ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
  const int decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step) + 1e-9)));
  return fmt::format("{:.{}f}", value == 0 ? 0 : value, std::min(decimals, 12));
}

const char* colour_of(const Summary& s, const Measure& measure, bool is_first) {
  if (is_first) return "#1f2937";
  if (!s.differs()) return "#6b7280";
  return s.better(measure) ? "#0f766e" : "#c2410c";
}

class Plot {
 public:
  explicit Plot(const Results& results) : r_(results) {
    for (const std::size_t m : r_.measures())
      if (all_measures()[m].varies) measures_.push_back(m);
    for (const Variant& v : r_.grid->variants) labels_.push_back(label_of(v.name));
    std::size_t longest = 8;
    for (const std::string& l : labels_) longest = std::max(longest, l.size());
    first_panel_ = 16 + character * static_cast<double>(longest);
    end_of_rows_ = top + row_height * static_cast<double>(labels_.size());
  }

  std::string svg() {
    const double panels = static_cast<double>(measures_.size()) * (panel_width + panel_gap);
    const double width = std::max(first_panel_ + panels, narrowest);
    out_ = fmt::format(
        R"(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0:.0f} {1:.0f}" width="{0:.0f}" height="{1:.0f}" )"
        R"(font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="12" fill="#1f2937">)"
        "\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        width, end_of_rows_ + bottom);
    rows();
    for (std::size_t p = 0; p < measures_.size(); ++p) panel(p);
    legend();
    return out_ + "</svg>\n";
  }

 private:
  static std::string label_of(const std::string& name) {
    const std::u32string text = from_utf8(infer::clean_text(name));
    return text.size() <= longest_label ? to_utf8(text)
                                        : to_utf8(text.substr(0, longest_label - 1)) + "\u2026";
  }
  double middle(std::size_t row) const { return top + row_height * (static_cast<double>(row) + 0.5); }
  void text(double x, double y, const char* anchor, const std::string& what, const std::string& more = "") {
    out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor,
                        more, html_escaped(what));
  }
  void line(double x0, double y0, double x1, double y1, const std::string& stroke) {
    out_ += fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x0, y0, x1,
                        y1, stroke);
  }
  double value(std::size_t run, std::size_t measure) const {
    const Outcome& o = r_.outcomes[run];
    return o.values.empty() ? std::numeric_limits<double>::quiet_NaN() : o.values[measure];
  }

  void rows();
  Axis axis_of(std::size_t panel) const;
  void panel(std::size_t p);
  void points(const Axis& axis, std::size_t variant, std::size_t measure);
  void legend();

  const Results& r_;
  std::vector<std::size_t> measures_;
  std::vector<std::string> labels_;
  double first_panel_ = 0, end_of_rows_ = 0;
  std::string out_;
};

void Plot::rows() {
  for (std::size_t v = 0; v < labels_.size(); ++v)
    text(first_panel_ - 12, middle(v) + 4, "end", labels_[v], v == 0 ? " font-weight=\"bold\"" : "");
}

Axis Plot::axis_of(std::size_t p) const {
  Axis axis{.low = std::numeric_limits<double>::infinity(),
            .high = -std::numeric_limits<double>::infinity(),
            .left = first_panel_ + static_cast<double>(p) * (panel_width + panel_gap),
            .ticks = {}};
  const auto include = [&axis](double v) {
    if (!std::isfinite(v)) return;
    axis.low = std::min(axis.low, v);
    axis.high = std::max(axis.high, v);
  };
  for (std::size_t run = 0; run < r_.outcomes.size(); ++run) include(value(run, measures_[p]));
  for (std::size_t v = 0; v < labels_.size(); ++v) {
    const infer::Estimate mean = r_.summary(v, measures_[p]).mean;
    include(mean.low);
    include(mean.high);
  }
  const double margin = std::max((axis.high - axis.low) * 0.06, std::abs(axis.high) * 1e-6 + 1e-9);
  axis.low -= margin;
  axis.high += margin;
  axis.ticks = round_numbers(axis.low, axis.high);
  return axis;
}

void Plot::panel(std::size_t p) {
  const std::size_t m = measures_[p];
  const Measure& measure = all_measures()[m];
  const Axis axis = axis_of(p);
  for (const double tick : axis.ticks) {
    line(axis.place(tick), top, axis.place(tick), end_of_rows_, "stroke=\"#e5e7eb\"");
    text(axis.place(tick), end_of_rows_ + 17, "middle", tick_text(tick, axis.ticks),
         " font-size=\"11\" fill=\"#4b5563\"");
  }
  const infer::Estimate first = r_.summary(0, m).mean;
  if (std::isfinite(first.low))
    out_ += fmt::format(
        "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" fill=\"#1f2937\" "
        "fill-opacity=\"0.06\"/>\n",
        axis.place(first.low), top, axis.place(first.high) - axis.place(first.low), end_of_rows_ - top);
  if (std::isfinite(first.mean))
    line(axis.place(first.mean), top, axis.place(first.mean), end_of_rows_,
         "stroke=\"#1f2937\" stroke-dasharray=\"3 3\" stroke-opacity=\"0.6\"");
  for (std::size_t v = 0; v < labels_.size(); ++v) points(axis, v, m);
  line(axis.left, end_of_rows_, axis.left + panel_width, end_of_rows_, "stroke=\"#9ca3af\"");
  text(axis.left + panel_width / 2, top - 22, "middle", measure.title, " font-weight=\"bold\"");
  text(axis.left + panel_width / 2, top - 8, "middle",
       measure.more_is_better ? "more is better \u2192" : "\u2190 less is better",
       " font-size=\"10\" fill=\"#6b7280\"");
}

void Plot::points(const Axis& axis, std::size_t variant, std::size_t measure) {
  const Summary s = r_.summary(variant, measure);
  const double y = middle(variant);
  const std::string colour = colour_of(s, all_measures()[measure], variant == 0);
  if (!std::isfinite(s.mean.mean)) {
    text(axis.left + panel_width / 2, y + 4, "middle", "none", " font-size=\"10\" fill=\"#9ca3af\"");
    return;
  }
  for (std::size_t run = r_.first_run(variant); run < r_.first_run(variant + 1); ++run)
    if (std::isfinite(value(run, measure)))
      out_ += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.6\" fill=\"none\" stroke=\"{}\" "
          "stroke-opacity=\"0.75\"/>\n",
          axis.place(value(run, measure)), y + 7, colour);
  const std::string stroke = fmt::format("stroke=\"{}\" stroke-width=\"1.6\"", colour);
  if (std::isfinite(s.mean.low)) {
    const double low = axis.place(s.mean.low), high = axis.place(s.mean.high);
    line(low, y - 3, high, y - 3, stroke);
    for (const double end : {low, high}) line(end, y - 6.5, end, y + 0.5, stroke);
  }
  out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\"/>\n", axis.place(s.mean.mean),
                      y - 3, colour);
}

void Plot::legend() {
  const char* small = " font-size=\"11\" fill=\"#4b5563\"";
  text(16, end_of_rows_ + 40, "start", explanation(r_), small);
  if (r_.grid->seeds.size() > 1 && labels_.size() > 1)
    text(
        16, end_of_rows_ + 56, "start",
        fmt::format(
            "Rings: seeds. Dashed line and band: \"{}\". Green: better, orange: worse, grey: not told apart.",
            labels_.front()),
        small);
}

std::string table_of(const Results& r) {
  const auto used = r.measures();
  std::string out = "<table><thead><tr><th>variant</th><th>seed</th>";
  for (const std::size_t m : used) out += "<th>" + html_escaped(all_measures()[m].title) + "</th>";
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < r.outcomes.size(); ++i) {
    const Run& run = (*r.runs)[i];
    const Outcome& o = r.outcomes[i];
    out +=
        fmt::format("<tr><th>{}</th><td>{}</td>", html_escaped(r.grid->variants[run.variant].name), run.seed);
    if (o.values.empty())
      out +=
          fmt::format("<td class=\"missing\" colspan=\"{}\">{}</td>", std::max<std::size_t>(used.size(), 1),
                      o.error.empty() ? "not run yet" : "failed: " + html_escaped(o.error));
    else
      for (const std::size_t m : used) out += "<td>" + number_text(o.values[m], all_measures()[m]) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table>\n";
}

}  // namespace

std::string plot_svg(const Results& results) { return Plot(results).svg(); }

std::string plot_page(const Results& r) {
  const std::string title = html_escaped(r.grid->path);
  return R"(<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="vitral">
<link rel="icon" href="data:,">
<title>)" +
         title + R"( · vitral ablate</title>
<style>
body { margin: 0 auto; padding: 24px; max-width: 1200px; color: #1f2937; background: #fff; font: 15px/1.5 system-ui, sans-serif; }
.plot { overflow-x: auto; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin-top: 24px; }
th, td { padding: 3px 14px 3px 0; text-align: right; border-bottom: 1px solid #e5e7eb; font-weight: normal; }
th:first-child, .missing { text-align: left; }
thead th { font-weight: 650; }
.missing { color: #c2410c; }
</style>
</head>
<body>
<h1>)" + title +
         R"(</h1>
<div class="plot">
)" + plot_svg(r) +
         "</div>\n" + table_of(r) + "</body>\n</html>\n";
}

}  // namespace vitral::ablate
