// vitral report, and its page in a browser: what a patch says when it is pointed at, by mouse, keys or
// address.
#include <algorithm>

#include "data/dataset.h"
#include "data/images/image.h"
#include "data/images/transform.h"
#include "infer/measure/patch_scores.h"
#include "models/student/encoder.h"
#include "tests/cli/browser.h"
#include "tests/cli/small_run.h"
#include "tests/infer/show/report_support.h"

namespace vitral {
namespace {

using nlohmann::json;
using test::expect_done;
using test::expect_failure;
using test::json_of;
using test::open_page;
using test::run;

// A run on the shapes, and its report.
class Report : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    dir_ = std::make_unique<test::TempDir>();
    expect_done(run({"shapes", "-o", dir_->str(), "--train", "24", "--val", "6", "--seed", "3"}));
    expect_done(run({"train", "configs/shapes.yaml", "data.train=" + (*dir_ / "train.h5"),
                     "data.val=" + (*dir_ / "val.h5"), "train.output=" + (*dir_ / "run"), "train.epochs=2",
                     "train.device=cpu", "train.batch_size=8", "train.log_every=1", "model.layers=1"}));
    summary_ = json_of(run({"report", *dir_ / "run", *dir_ / "val.h5", "-o", *dir_ / "a.html", "--json"}));
    page_ = test::bytes_of_file(*dir_ / "a.html");
  }
  static void TearDownTestSuite() { dir_.reset(); }

  static std::string at(const std::string& name) { return *dir_ / name; }

  // An image of the report as the student sees it.
  struct Looked {
    Tensor patches;  // [64,64]
    std::vector<double> weights;

    std::vector<double> cosines(const Tensor& with) const {
      return infer::patch_cosines(patches, with.reshape({64})).to_vector();
    }
  };
  static Looked look_at(std::int64_t image) {
    const models::Encoder encoder = models::Encoder::load(at("run"));
    const Tensor picture = data::Dataset::open(at("val.h5")).image(image);
    const models::ImageEmbeddings e =
        encoder.embed(data::validation_transform(picture, 64).reshape({1, 64, 64, 3}));
    return {e.patches.reshape({64, 64}), e.probs.to_vector()};
  }
  static data::Concepts concepts() { return data::Dataset::open(at("val.h5")).concepts().value(); }

  static std::unique_ptr<test::TempDir> dir_;
  static json summary_;
  static std::string page_;
};
std::unique_ptr<test::TempDir> Report::dir_;
json Report::summary_;
std::string Report::page_;

TEST_F(Report, IsOneFileAndSaysWhatIsInIt) {
  EXPECT_EQ(summary_["images"], 6);
  EXPECT_EQ(summary_["found"], 6);
  EXPECT_EQ(summary_["skipped"], 0);
  EXPECT_EQ(summary_["prompts"].size(), 36U);
  EXPECT_EQ(summary_["curves"], true);
  EXPECT_EQ(summary_["bytes"], page_.size());
  EXPECT_LT(page_.size(), 500'000U);
  // The same input gives the same bytes, whatever the day.
  expect_done(run({"report", at("run"), at("val.h5"), "-o", at("b.html")}));
  EXPECT_TRUE(page_ == test::bytes_of_file(at("b.html")));
  const test::Result few = run({"report", at("run"), at("val.h5"), "-o", at("c.html"), "--image", "4", "2"});
  expect_done(few);
  EXPECT_EQ(few.out.find(at("c.html") + ": 2 images, 36 prompts, training curves, "), 0U) << few.out;
  EXPECT_EQ(json_of(run(
                {"report", at("run"), at("val.h5"), "-o", at("c.html"), "--count", "3", "--json"}))["images"],
            3);
}

TEST_F(Report, OfImageFilesAndOtherWeights) {
  std::filesystem::create_directory(at("photos"));
  data::write_png(at("photos/a.png"), test::noise({30, 40, 3}, 1, DType::uint8));
  data::write_png(at("photos/b.png"), test::noise({64, 64, 3}, 2, DType::uint8));
  std::ofstream(at("photos/c.png")) << "no picture";
  const std::string weights = test::latest(at("run")) + "/model.safetensors";
  const test::Result r = run({"report", weights, at("photos"), "-o", at("d.html"), "--json"});
  expect_done(r);
  EXPECT_EQ(r.err.find("skipped c.png: "), 0U) << r.err;
  const json summary = json::parse(r.out);
  EXPECT_EQ(summary["images"], 2);
  EXPECT_EQ(summary["skipped"], 1);
  EXPECT_EQ(summary["prompts"].size(), 0U);
  EXPECT_EQ(summary["curves"], false);  // these weights lie in no run
  EXPECT_EQ(json_of(run({"report", weights, at("photos/a.png"), "-o", at("d.html"), "--run", at("run"),
                         "--json"}))["curves"],
            true);
}

TEST_F(Report, ComparesWithStoredTexts) {
  data::H5File file = data::H5File::create(at("texts.h5"));
  file.write_strings("/texts", {"red circle", "something else"});
  file.write("/embeddings", test::noise({2, 64}, 9, DType::float32));
  file.close();
  const auto report = [](std::vector<std::string> more) {
    std::vector<std::string> arguments{"report", at("run"), at("val.h5"), "-o", at("e.html"), "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  };
  EXPECT_EQ(json_of(report({"--texts", at("texts.h5")}))["prompts"], (json{"red circle", "something else"}));
  EXPECT_EQ(json_of(report({"--texts", at("texts.h5"), "--text", "red circle"}))["prompts"],
            (json{"red circle"}));
  expect_failure(report({"--text", "a cat"}), 2, "texts need CLIP's weights; name them with --clip");
  expect_failure(report({"--template", "a {}"}), 2, "--template: belongs to --text, and no text is given");
  const std::string photo = at("photo.png");
  data::write_image(photo, data::Dataset::open(at("val.h5")).image(0));
  expect_failure(run({"report", at("run"), photo, "-o", at("e.html"), "--clip", at("run")}), 2,
                 at("run") + ": belongs to --text, and no text is given");
}

TEST_F(Report, ProblemsAreOneLine) {
  const auto report = [](const std::string& images, std::vector<std::string> more) {
    std::vector<std::string> arguments{"report", at("run"), images, "-o", at("f.html")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run(arguments);
  };
  expect_failure(report(at("nowhere"), {}), 2, at("nowhere") + ": no such file or folder");
  expect_failure(report(at("val.h5"), {"--image", "6"}), 2,
                 at("val.h5") + ": has no image 6, they are numbered 0 to 5");
  expect_failure(report(at("val.h5"), {"--run", dir_->str()}), 2,
                 dir_->str() + ": holds no metrics.jsonl; name the folder of a run, as runs/student");
  std::ofstream(at("bad.png")) << "no picture";
  const test::Result bad = report(at("bad.png"), {});
  EXPECT_EQ(bad.status, 1);
  EXPECT_NE(bad.err.find("vitral: " + at("bad.png") + ": none of its images can be read\n"),
            std::string::npos)
      << bad.err;
  EXPECT_FALSE(std::filesystem::exists(at("f.html")));
}

// --- In a browser.

// Everything that the page says of the patch at hand.
const char* const what_is_shown = R"(({
  prompts: report.prompts.texts.map((_, p) => document.getElementById(`prompt-${p}`).textContent),
  patches: [...document.querySelectorAll("#cells button")].map((cell) => cell.getAttribute("aria-label")),
  active: [...document.querySelectorAll("#cells button.active")].map((cell) => cell.id),
  readout: document.getElementById("readout").textContent,
}))";

double number_in(const std::string& text) {
  const std::string minus = "\xE2\x88\x92";
  return text.starts_with(minus) ? -std::stod(text.substr(minus.size())) : std::stod(text);
}

TEST_F(Report, PointingAtAPatchShowsItsCosines) {
  VITRAL_NEEDS_CHROMIUM();
  const Looked image = look_at(3);
  const Tensor patch = image.patches.rows(12, 13);
  const std::vector<double> with_patches = image.cosines(patch);
  const std::vector<double> with_prompts =
      infer::patch_cosines(concepts().embeddings, patch.reshape({64})).to_vector();
  const auto check = [&](const json& shown) {
    EXPECT_EQ(shown["active"], json{"patch-12"});
    EXPECT_EQ(shown["readout"], fmt::format("Patch in row 2, column 5 · weight {:.3f}", image.weights[12]));
    ASSERT_EQ(shown["prompts"].size(), with_prompts.size());
    for (std::size_t p = 0; p < with_prompts.size(); ++p)
      EXPECT_NEAR(number_in(shown["prompts"][p]), with_prompts[p], 6e-4) << p;
    ASSERT_EQ(shown["patches"].size(), 64U);
    for (std::size_t n = 0; n < 64; ++n) {
      const std::string label = shown["patches"][n],
                        place = fmt::format("row {}, column {}: ", n / 8 + 1, n % 8 + 1);
      ASSERT_TRUE(label.starts_with(place)) << label;
      EXPECT_NEAR(number_in(label.substr(place.size())), with_patches[n], 6e-4) << label;
    }
  };
  // By address.
  const auto by_address = open_page(page_, what_is_shown, "#image=3&patch=12");
  check(by_address.value);
  EXPECT_TRUE(by_address.console.empty()) << by_address.console.front();
  // By mouse: choosing the image, then pointing.
  const std::string point =
      "(document.querySelectorAll('#gallery button')[3].click(), "
      "document.getElementById('patch-12').dispatchEvent("
      "new PointerEvent('pointerenter', {pointerType: 'mouse'})), ";
  check(open_page(page_, point + what_is_shown + ")").value);
  // By keys: from the first patch of the second row four to the right.
  const std::string keys =
      "(document.getElementById('patch-8').focus({focusVisible: true}), [1, 2, 3, 4].forEach(() => "
      "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: "
      "true}))), ";
  check(open_page(page_, keys + what_is_shown + ")", "#image=3").value);
  // By tapping, which keeps it and puts it into the address.
  const json tapped = open_page(page_,
                                "(document.getElementById('patch-12').click(), {...(" +
                                    std::string(what_is_shown) + "), hash: location.hash})",
                                "#image=3")
                          .value;
  check(tapped);
  EXPECT_EQ(tapped["hash"], "#image=3&patch=12");
}

TEST_F(Report, ChoosingAPromptShowsItsHeatMap) {
  VITRAL_NEEDS_CHROMIUM();
  // The patches of a prompt's heat map, and the canvas: its brightest pixel is the highest patch.
  const std::string look = R"((document.querySelectorAll("#prompts input")[7].click(), await later(), {
    patches: [...document.querySelectorAll("#cells button")].map((cell) => cell.getAttribute("aria-label")),
    caption: document.getElementById("caption").textContent,
    alpha: [...document.getElementById("heat").getContext("2d").getImageData(0, 0, 8, 8).data].filter((_, i) => i % 4 === 3),
    thumbs: [...document.querySelectorAll("#gallery canvas")].map((canvas) => canvas.hidden),
    view: document.querySelector("#views input:checked").value, hash: location.hash}))";
  const json shown = open_page(page_, look, "#image=1").value;
  const data::Concepts c = concepts();
  const std::vector<double> cosines = look_at(1).cosines(c.embeddings.rows(7, 8));
  for (std::size_t n = 0; n < 64; ++n) {
    const std::string label = shown["patches"][n];
    EXPECT_NEAR(number_in(label.substr(label.find(": ") + 2)), cosines[n], 6e-4);
  }
  EXPECT_EQ(shown["caption"], "Cosine of each patch with “" + c.names[7] + "”");
  EXPECT_EQ(shown["view"], "prompt");
  EXPECT_EQ(shown["hash"], "#image=1&view=prompt&prompt=7");
  EXPECT_EQ(shown["thumbs"], json(std::vector<bool>(6, false)));
  const auto alpha = shown["alpha"].get<std::vector<int>>();
  const auto highest = std::max_element(cosines.begin(), cosines.end()) - cosines.begin();
  EXPECT_EQ(alpha[static_cast<std::size_t>(highest)], *std::max_element(alpha.begin(), alpha.end()));
}

TEST_F(Report, ShowsImagesWeightsAndCurves) {
  VITRAL_NEEDS_CHROMIUM();
  const json shown = open_page(page_, R"({
    loaded: [...document.images].map((image) => image.complete && image.naturalWidth === 64),
    names: [...document.querySelectorAll("#gallery bdi")].map((name) => name.textContent),
    weights: [...document.querySelectorAll("#cells button")].map((cell) => Number(cell.getAttribute("aria-label").split(": ")[1])),
    paths: document.querySelectorAll("#curves path").length,
    first: (() => {
      const svg = document.querySelector("#curves svg");
      svg.dispatchEvent(new KeyboardEvent("keydown", {key: "Home"}));
      return document.querySelector("#curves output").textContent;
    })(),
    title: document.title})",
                               "#view=weights")
                         .value;
  EXPECT_EQ(shown["loaded"], json(std::vector<bool>(7, true)));  // six small, one large
  EXPECT_EQ(shown["names"][5], "image 5");
  double sum = 0;
  for (const json& weight : shown["weights"]) sum += weight.get<double>();
  EXPECT_NEAR(sum, 1, 0.04);
  EXPECT_EQ(shown["paths"], 5);  // loss (2), cosine, learning rate, speed
  const double loss = test::metric(at("run"), "train", "loss")[0];
  const std::string first = shown["first"];
  ASSERT_EQ(first.find("step 1 · training "), 0U) << first;
  EXPECT_NEAR(std::stod(first.substr(std::string("step 1 · training ").size())), loss, 1e-3 * loss);
  EXPECT_EQ(shown["title"], at("run") + " · vitral report");
}

TEST_F(Report, FitsNarrowAndWideWindows) {
  VITRAL_NEEDS_CHROMIUM();
  const json wide = open_page(page_, "[innerWidth, document.documentElement.scrollWidth]", "", 1600).value;
  EXPECT_EQ(wide[0], 1600);
  EXPECT_LE(wide[1], 1600);
  // Windows of Chromium are at least 500 pixels wide, frames are not.
  std::string frame =
      "<!DOCTYPE html><body><iframe style=\"width: 400px; height: 900px; border: 0\" srcdoc=\"";
  for (const char ch : page_) frame += ch == '&' ? "&amp;" : ch == '"' ? "&quot;" : std::string(1, ch);
  frame += "\"></iframe></body>";
  const json narrow = open_page(frame, R"((() => {
    const inner = document.querySelector("iframe").contentWindow;
    return [inner.innerWidth, inner.document.documentElement.scrollWidth,
            inner.document.querySelectorAll("#cells button").length]; })())")
                          .value;
  EXPECT_EQ(narrow[0], 400);
  EXPECT_LE(narrow[1], 400);
  EXPECT_EQ(narrow[2], 64);
}

TEST_F(Report, AddressesThatAreNotThereAreIgnored) {
  VITRAL_NEEDS_CHROMIUM();
  const auto page = open_page(page_, what_is_shown, "#image=99&patch=-1&view=nothing&prompt=1e3");
  EXPECT_EQ(page.value["active"], json::array());
  EXPECT_EQ(page.value["readout"], "The image as a whole");
  EXPECT_TRUE(page.console.empty()) << page.console.front();
}

TEST(ReportPage, HostileTextIsShownAndNotRun) {
  VITRAL_NEEDS_CHROMIUM();
  infer::Report report = test::small_report();
  const std::string hostile = test::hostile_text();
  report.title = report.images[0].name = report.prompts[1] = hostile;
  report.facts = {{hostile, hostile}};
  const auto page = open_page(infer::report_page(report), R"({
    title: document.title, heading: document.querySelector("h1").textContent,
    fact: document.querySelector("dd").textContent, name: document.querySelector("#gallery bdi").textContent,
    tip: document.querySelector("#gallery [title]").title, alt: document.getElementById("picture").alt,
    prompt: document.querySelectorAll("#prompts .text")[1].textContent,
    caption: (document.querySelectorAll("#prompts input")[1].click(), document.getElementById("caption").textContent),
    scripts: document.scripts.length, images: document.images.length})");
  for (const char* place : {"heading", "fact", "name", "tip", "alt", "prompt"})
    EXPECT_EQ(page.value[place], hostile) << place;
  EXPECT_EQ(page.value["caption"], "Cosine of each patch with “" + hostile + "”");
  EXPECT_EQ(page.value["scripts"], 3);  // data, ours, and the test's
  EXPECT_EQ(page.value["images"], 3);
  EXPECT_TRUE(page.console.empty()) << page.console.front();
}

// The tests above would see a complaint, and the page may not load anything even if it would.
TEST(ReportPage, MayNotAskTheNetwork) {
  VITRAL_NEEDS_CHROMIUM();
  const std::string ask =
      "(document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'})), 1)";
  const auto page = open_page(infer::report_page(test::small_report()), ask);
  ASSERT_FALSE(page.console.empty());
  EXPECT_NE(page.console.front().find("Content Security Policy"), std::string::npos) << page.console.front();
}

}  // namespace
}  // namespace vitral
