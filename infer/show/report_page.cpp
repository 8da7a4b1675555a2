#include "infer/show/report_page.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "data/images/image.h"
#include "infer/show/html.h"
#include "infer/show/report_assets.h"

namespace vitral::infer {
namespace {

using nlohmann::ordered_json;

constexpr std::int64_t largest_page = std::int64_t{256} << 20;
constexpr std::int64_t small_image = 160;  // pixels a side up to which JPEG would show
constexpr int jpeg_quality = 88;

// JSON that may stand in a script element: ASCII, and nothing that could end the element.
std::string for_script(const ordered_json& value) {
  std::string out;
  for (const char c : value.dump(-1, ' ', true, ordered_json::error_handler_t::replace))
    if (c == '<' || c == '>' || c == '&')
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    else
      out += c;
  return out;
}

std::string base64(const std::vector<std::uint8_t>& bytes) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < left ? bytes[i + k] : 0U);
    for (std::size_t k = 0; k < 4; ++k) out += k <= left ? digits[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

// Rows as int16, little-endian; the largest number of each becomes 32767. A row that is not finite: zeros.
void append_rows(const Tensor& rows, std::int64_t width, std::vector<std::uint8_t>& to) {
  const float* row = rows.data<float>();
  for (std::int64_t r = 0; r < rows.numel() / width; ++r, row += width) {
    float most = 0;
    bool finite = true;
    for (std::int64_t i = 0; i < width; ++i) {
      finite = finite && std::isfinite(row[i]);
      most = std::max(most, std::abs(row[i]));
    }
    for (std::int64_t i = 0; i < width; ++i) {
      const double scaled = finite && most > 0 ? double{row[i]} / most * 32767 : 0;
      const auto word = static_cast<std::uint16_t>(static_cast<std::int16_t>(std::lround(scaled)));
      to.push_back(static_cast<std::uint8_t>(word & 0xFF));
      to.push_back(static_cast<std::uint8_t>(word >> 8));
    }
  }
}

// To 6 digits; null where it is not finite.
ordered_json rounded(double value) {
  return std::isfinite(value) ? ordered_json(std::stod(fmt::format("{:.6g}", value))) : ordered_json();
}

ordered_json column(const std::vector<double>& values) {
  ordered_json out = ordered_json::array();
  for (const double v : values) out.push_back(rounded(v));
  return out;
}

ordered_json to_json(const RunRecord& run) {
  return {
      {"train",
       {{"step", column(run.train.step)},
        {"loss", column(run.train.loss)},
        {"lr", column(run.train.lr)},
        {"images_per_second", column(run.train.images_per_second)}}},
      {"val",
       {{"step", column(run.val.step)}, {"loss", column(run.val.loss)}, {"cosine", column(run.val.cosine)}}}};
}

ordered_json to_json(const ReportImage& image, std::int64_t width) {
  std::vector<std::uint8_t> vectors;
  append_rows(image.patches, width, vectors);
  append_rows(image.embedding, width, vectors);
  if (image.teacher.defined()) append_rows(image.teacher, width, vectors);
  ordered_json weights = ordered_json::array(), objects = ordered_json::array();
  for (std::int64_t n = 0; n < image.weights.numel(); ++n) {
    const float w = image.weights.data<float>()[n];
    weights.push_back(std::isfinite(w) ? rounded(std::round(w * 1e5) / 1e5) : ordered_json(0));
  }
  for (const ReportObject& o : image.objects) {
    ordered_json object = {o.prompt};
    for (const float edge : o.box) object.push_back(rounded(edge));
    objects.push_back(std::move(object));
  }
  return {{"name", clean_text(image.name)},
          {"weights", std::move(weights)},
          {"objects", std::move(objects)},
          {"vectors", base64(vectors)}};
}

std::string data_of(const Report& report) {
  ordered_json texts = ordered_json::array(), images = ordered_json::array();
  for (const std::string& p : report.prompts) texts.push_back(clean_text(p));
  std::vector<std::uint8_t> vectors;
  if (!report.prompts.empty()) append_rows(report.prompt_embeddings, report.width, vectors);
  for (const ReportImage& image : report.images) images.push_back(to_json(image, report.width));
  ordered_json out = {{"grid", {report.rows, report.columns}},
                      {"width", report.width},
                      {"pixels", report.images.empty() ? 0 : report.images.front().image.dim(0)},
                      {"prompts", {{"texts", std::move(texts)}, {"vectors", base64(vectors)}}},
                      {"images", std::move(images)}};
  if (report.run) out["run"] = to_json(*report.run);
  return for_script(out);
}

std::string picture_of(const Tensor& image) {
  const bool is_small = std::max(image.dim(0), image.dim(1)) <= small_image;
  return (is_small ? "data:image/png;base64," : "data:image/jpeg;base64,") +
         base64(is_small ? data::encode_png(image) : data::encode_jpeg(image, jpeg_quality));
}

std::string gallery_of(const Report& report) {
  std::string out;
  for (const ReportImage& image : report.images)
    out += fmt::format(
        R"(    <li><button type="button"><span class="thumb"><img src="{}" alt="" width="{}" height="{}"></span>)"
        R"(<span class="label"><span title="{}"><bdi>{}</bdi></span></span></button></li>)"
        "\n",
        picture_of(image.image), image.image.dim(1), image.image.dim(0), html_escaped(image.name),
        html_escaped(image.name));
  return out;
}

std::string facts_of(const Report& report) {
  std::string out;
  for (const auto& [what, value] : report.facts)
    out += fmt::format("    <div><dt>{}</dt><dd>{}</dd></div>\n", html_escaped(what), html_escaped(value));
  return out;
}

// The template with each {{name}} replaced; what is put in is not looked at again.
std::string filled(std::string_view page, const std::map<std::string, std::string, std::less<>>& parts) {
  std::string out;
  for (;;) {
    const std::size_t open = page.find("{{"), close = page.find("}}", open);
    if (open == std::string_view::npos || close == std::string_view::npos) break;
    const auto part = parts.find(page.substr(open + 2, close - open - 2));
    VITRAL_CHECK(part != parts.end(), "report: the page asks for {}", page.substr(open, close - open + 2));
    out += page.substr(0, open);
    out += part->second;
    page.remove_prefix(close + 2);
  }
  return out += page;
}

void check(const Report& r) {
  VITRAL_CHECK(r.rows > 0 && r.columns > 0 && r.width > 0, "report: grid {}x{} and width {} must be positive",
               r.rows, r.columns, r.width);
  const std::int64_t patches = r.rows * r.columns;
  const auto prompts = static_cast<std::int64_t>(r.prompts.size());
  VITRAL_CHECK(prompts == 0 || (r.prompt_embeddings.defined() &&
                                r.prompt_embeddings.shape() == (Shape{prompts, r.width})),
               "report: {} prompts of width {} need embeddings of that shape, not {}", prompts, r.width,
               r.prompt_embeddings.shape());
  for (const ReportImage& i : r.images) {
    data::check_image("report", i.image);
    VITRAL_CHECK(i.patches.shape() == (Shape{patches, r.width}) && i.weights.numel() == patches &&
                     i.embedding.numel() == r.width,
                 "report: patches {}, weights {} and embedding {} of {} do not fit a {}x{} grid of width {}",
                 i.patches.shape(), i.weights.shape(), i.embedding.shape(), shown(i.name), r.rows, r.columns,
                 r.width);
    VITRAL_CHECK(i.teacher.defined() == r.images.front().teacher.defined(),
                 "report: some images have the teacher's patches and some have not");
    VITRAL_CHECK(!i.teacher.defined() || i.teacher.shape() == i.patches.shape(),
                 "report: the teacher's patches {} of {} must be {}", i.teacher.shape(), shown(i.name),
                 i.patches.shape());
    for (const ReportObject& o : i.objects)
      VITRAL_CHECK(o.prompt >= 0 && o.prompt < prompts, "report: an object of {} is prompt {} of {}",
                   shown(i.name), o.prompt, prompts);
  }
  // Vectors are nearly all of it.
  const auto images = static_cast<std::int64_t>(r.images.size());
  const bool both = images > 0 && r.images.front().teacher.defined();
  const std::int64_t bytes = (images * ((both ? 2 : 1) * patches + 1) + prompts) * r.width * 8 / 3;
  VITRAL_CHECK(bytes <= largest_page, "report: a page of {} images would take {} MB; take fewer images",
               images, bytes >> 20);
}

}  // namespace

std::string report_page(const Report& report) {
  check(report);
  return filled(report_assets::page, {{"title", html_escaped(report.title)},
                                      {"facts", facts_of(report)},
                                      {"gallery", gallery_of(report)},
                                      {"style", std::string(report_assets::style)},
                                      {"explorer", std::string(report_assets::explorer)},
                                      {"curves", std::string(report_assets::curves)},
                                      {"data", data_of(report)}});
}

}  // namespace vitral::infer
