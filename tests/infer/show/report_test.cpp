// The page of `vitral report` without a browser: what lies in it, and that nothing in it can get out.
// tests/cli/report_test.cpp opens it in one.
#include "infer/show/report.h"

#include <fstream>
#include <regex>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "autograd/ops.h"
#include "base/random.h"
#include "data/images/image.h"
#include "infer/measure/patch_scores.h"
#include "tests/infer/show/report_support.h"
#include "tests/support.h"

namespace vitral::infer {
namespace {

using nlohmann::json;
using test::message_of;

// Of the script element that holds the numbers.
json data_of(const std::string& page) {
  const std::string open = R"(<script type="application/json" id="data">)";
  const std::size_t begin = page.find(open) + open.size();
  return json::parse(page.substr(begin, page.find("</script>", begin) - begin));
}

std::vector<std::uint8_t> from_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::uint8_t> out;
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<std::uint32_t>(digits.find(c));
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out.push_back(static_cast<std::uint8_t>(bits >> held & 255));
  }
  return out;
}

std::vector<std::vector<double>> vectors_of(const json& text, std::size_t width) {
  const auto bytes = from_base64(text.get<std::string>());
  std::vector<std::vector<double>> rows;
  for (std::size_t i = 0; i * 2 < bytes.size(); ++i) {
    if (i % width == 0) rows.emplace_back();
    rows.back().push_back(static_cast<std::int16_t>(bytes[2 * i] | bytes[2 * i + 1] << 8));
  }
  return rows;
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double ab = 0, aa = 0, bb = 0;
  for (std::size_t i = 0; i < a.size(); ++i) ab += a[i] * b[i], aa += a[i] * a[i], bb += b[i] * b[i];
  return ab / std::sqrt(aa * bb);
}

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(ReportPage, HoldsTheNumbers) {
  const Report report = test::small_report();
  const json data = data_of(report_page(report));
  EXPECT_EQ(data["grid"], (json{2, 3}));
  EXPECT_EQ(data["width"], 16);
  EXPECT_EQ(data["pixels"], 20);
  ASSERT_EQ(data["images"].size(), 2U);
  const auto prompts = vectors_of(data["prompts"]["vectors"], 16);
  ASSERT_EQ(prompts.size(), 3U);
  for (std::size_t i = 0; i < 2; ++i) {
    const ReportImage& image = report.images[i];
    const auto rows = vectors_of(data["images"][i]["vectors"], 16);
    ASSERT_EQ(rows.size(), 7U);  // patches, and the image as a whole
    for (std::size_t p = 0; p < 3; ++p) {
      const auto row = static_cast<std::int64_t>(p);
      const Tensor expected =
          patch_cosines(image.patches, report.prompt_embeddings.rows(row, row + 1).reshape({16}));
      for (std::size_t n = 0; n < 6; ++n)
        EXPECT_NEAR(cosine(rows[n], prompts[p]), expected.data<float>()[n], 1e-4);
      const Tensor whole = patch_cosines(image.embedding.reshape({1, 16}),
                                         report.prompt_embeddings.rows(row, row + 1).reshape({16}));
      EXPECT_NEAR(cosine(rows[6], prompts[p]), whole.item(), 1e-4);
    }
    for (std::size_t n = 0; n < 6; ++n)
      EXPECT_NEAR(data["images"][i]["weights"][n].get<double>(), image.weights.data<float>()[n], 6e-6);
  }
  EXPECT_EQ(data["images"][1]["objects"], (json{{2, 0.25, 0, 0.5, 1}}));
  EXPECT_EQ(data["run"]["train"]["step"], (json{10, 20}));
  EXPECT_EQ(data["run"]["train"]["loss"], (json{2.5, nullptr}));
  EXPECT_EQ(data["run"]["val"]["cosine"], json{0.75});
}

TEST(ReportPage, HoldsTheTeachersPatches) {
  Report report = test::small_report();
  for (auto& image : report.images) image.teacher = affine(Variable(image.patches), 1, 0.5).value();
  const json data = data_of(report_page(report));
  for (std::size_t i = 0; i < 2; ++i) {
    const auto rows = vectors_of(data["images"][i]["vectors"], 16);
    ASSERT_EQ(rows.size(), 13U);  // the student's, the image as a whole, the teacher's
    for (std::size_t n = 0; n < 6; ++n) {
      const auto row = static_cast<std::int64_t>(n);
      EXPECT_NEAR(cosine(rows[7 + n], report.images[i].teacher.rows(row, row + 1).to_vector()), 1, 1e-6);
    }
  }
  report.images[1].teacher = {};
  EXPECT_EQ(message_of([&] { report_page(report); }),
            "report: some images have the teacher's patches and some have not");
}

TEST(ReportPage, HoldsThePictures) {
  const Report report = test::small_report();
  const std::string page = report_page(report), mark = "data:image/png;base64,";
  std::size_t at = 0;
  for (const ReportImage& image : report.images) {
    at = page.find(mark, at) + mark.size();
    const auto bytes = from_base64(page.substr(at, page.find('"', at) - at));
    EXPECT_EQ(data::decode_image(bytes, "picture").to_vector(), image.image.to_vector());
  }
  // Large ones as JPEG, which is smaller.
  Report large = report;
  large.images[0].image = Tensor::full({224, 224, 3}, 90, DType::uint8);
  EXPECT_EQ(count(report_page(large), "data:image/jpeg;base64,"), 1U);
}

TEST(ReportPage, ShowsHostileTextAsText) {
  Report report = test::small_report();
  const std::string hostile = test::hostile_text();
  report.title = report.images[0].name = report.prompts[1] = hostile;
  report.facts = {{hostile, hostile}};
  const std::string page = report_page(report);
  EXPECT_EQ(data_of(page)["images"][0]["name"], hostile);
  EXPECT_EQ(data_of(page)["prompts"]["texts"][1], hostile);
  EXPECT_EQ(count(page, "<script"), 2U);  // ours
  EXPECT_EQ(count(page, "</script"), 2U);
  EXPECT_EQ(count(page, "alert(1)"), count(page, "alert(1)&lt;/script&gt;") + count(page, "alert(1)\\u003c"));
  EXPECT_EQ(page.find("<img src=x"), std::string::npos);
  EXPECT_NE(page.find("&lt;img src=x onerror=&quot;alert(2)&quot;&gt;"), std::string::npos);
  // In the numbers nothing but ASCII: no line separators.
  const std::size_t data = page.find("id=\"data\">");
  for (std::size_t i = data; i < page.find("</script>", data); ++i)
    ASSERT_LT(static_cast<unsigned char>(page[i]), 0x80U);
  // What looks like a place of the template is text, too: in title, heading, fact (2), label (2), name,
  // prompt.
  EXPECT_EQ(count(page, "{{data}}"), 8U);
  EXPECT_EQ(count(page, "id=\"data\">"), 1U);
}

TEST(ReportPage, NamesNeedNotBeUtf8) {
  Report report = test::small_report();
  report.images[0].name = "a\xff\nb";
  EXPECT_EQ(data_of(report_page(report))["images"][0]["name"], "a\xef\xbf\xbd\\x0ab");
}

TEST(ReportPage, AsksNothingOfANetwork) {
  const std::string page = report_page(test::small_report());
  EXPECT_NE(page.find("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src "
                      "'unsafe-inline'; base-uri 'none'; form-action 'none'"),
            std::string::npos);
  // The name of SVG's elements is the only address.
  EXPECT_EQ(count(page, "://"), 1U);
  EXPECT_EQ(count(page, "http://www.w3.org/2000/svg"), 1U);
  for (const char* way : {"url(", "@import", "fetch(", "XMLHttpRequest", "WebSocket", "EventSource",
                          "sendBeacon", "innerHTML", "eval(", "import("})
    EXPECT_EQ(page.find(way), std::string::npos) << way;
  const std::regex source("(src|href)=\"(?!data:)");
  EXPECT_FALSE(std::regex_search(page, source));
}

TEST(ReportPage, IsTheSameForTheSameReport) {
  EXPECT_EQ(report_page(test::small_report()), report_page(test::small_report()));
  Report nothing = test::small_report();
  nothing.prompts.clear();
  nothing.prompt_embeddings = Tensor();
  nothing.images[1].objects.clear();
  nothing.run.reset();
  const json data = data_of(report_page(nothing));
  EXPECT_EQ(data["prompts"]["texts"].size(), 0U);
  EXPECT_FALSE(data.contains("run"));
}

TEST(ReportPage, ErrorsAreOneLine) {
  Report wrong = test::small_report();
  wrong.prompts.emplace_back("one more");
  EXPECT_EQ(message_of([&] { report_page(wrong); }),
            "report: 4 prompts of width 16 need embeddings of that shape, not [3, 16]");
  wrong = test::small_report();
  wrong.columns = 4;
  EXPECT_EQ(
      message_of([&] { report_page(wrong); }),
      "report: patches [6, 16], weights [6] and embedding [16] of one.png do not fit a 2x4 grid of width 16");
  wrong = test::small_report();
  wrong.images[1].objects[0].prompt = 3;
  EXPECT_EQ(message_of([&] { report_page(wrong); }), "report: an object of two.png is prompt 3 of 3");
}

TEST(RunRecord, ReadsWhatTrainingWrote) {
  const test::TempDir dir;
  std::ofstream(dir / "metrics.jsonl")
      << R"({"kind":"train","step":10,"epoch":1,"loss":2.5,"lr":0.1,"images_per_second":50,"data_wait":0})"
         "\n"
      << R"({"kind":"val","step":10,"epoch":1,"loss":3.5,"cosine":0.5})"
         "\n"
      << R"({"kind":"train","step":20,"epoch":1,"loss":null,"lr":0.2,"images_per_second":60})"
         "\n"
      << R"({"kind":"later","step":20})"
         "\n"
      << R"({"kind":"val","step":20,"epoch":2,"loss":3.25,"cosine":0.625})"
         "\n"
      << R"({"kind":"train","st)";  // cut off
  std::ofstream(dir / "events.out.tfevents.1764000000.host.3") << "";
  std::ofstream(dir / "events.out.tfevents.1753600000.host") << "";
  const RunRecord run = read_run(dir.str());
  EXPECT_EQ(run.train.step, (std::vector<double>{10, 20}));
  EXPECT_EQ(run.train.lr, (std::vector<double>{0.1, 0.2}));
  EXPECT_EQ(run.train.images_per_second, (std::vector<double>{50, 60}));
  EXPECT_TRUE(std::isnan(run.train.loss[1]));
  EXPECT_EQ(run.val.cosine, (std::vector<double>{0.5, 0.625}));
  EXPECT_EQ(run.best(), 1U);
  EXPECT_EQ(run.began, "2025-07-27");
}

TEST(RunRecord, LongRunsAreThinnedEvenly) {
  const test::TempDir dir;
  {
    std::ofstream file(dir / "metrics.jsonl");
    for (int i = 1; i <= 1001; ++i)
      file << fmt::format(R"({{"kind":"train","step":{},"loss":{},"lr":1,"images_per_second":1}})", i,
                          i / 2.0)
           << "\n";
  }
  const RunRecord run = read_run(dir.str(), 11);
  EXPECT_EQ(run.train.step, (std::vector<double>{1, 101, 201, 301, 401, 501, 601, 701, 801, 901, 1001}));
  EXPECT_EQ(run.train.loss[3], 150.5);
  EXPECT_EQ(read_run(dir.str()).train.step.size(), 1001U);
  EXPECT_FALSE(run.best().has_value());
  EXPECT_EQ(run.began, "");
}

TEST(RunRecord, ProblemsNameTheFile) {
  const test::TempDir dir;
  EXPECT_EQ(message_of([&] { read_run(dir.str()); }),
            dir.str() + ": holds no metrics.jsonl; name the folder of a run, as runs/student");
  EXPECT_FALSE(is_run(dir.str()));
  std::ofstream(dir / "metrics.jsonl") << "{\"kind\":\"train\",\"step\":1}\nnonsense\n{}\n";
  EXPECT_TRUE(is_run(dir.str()));
  EXPECT_EQ(message_of([&] { read_run(dir.str()); }),
            (dir / "metrics.jsonl") + ":2: is no record of a run; repair or remove this line");
}

}  // namespace
}  // namespace vitral::infer
