#include "infer/show/report.h"

#include <cstdio>
#include <memory>

#include "base/files/atomic.h"
#include "cli/common.h"
#include "cli/print.h"
#include "cli/text.h"

namespace vitral::cli {
namespace {

void add_texts(const TextArguments& texts, const std::string& device, std::int64_t width,
               const data::ImageSource& source, infer::ReportRequest& request) {
  if (source.dataset() && source.dataset()->concepts())
    request.embed_concepts = texts.concept_embedder(device);
  if (!texts.given()) {
    if (!request.embed_concepts) texts.refuse_without_texts();
    return;
  }
  const infer::TextEmbeddings embedded = texts.load(device);
  check_width(embedded, width, request.weights);
  request.prompts = embedded.texts;
  request.prompt_embeddings = embedded.embeddings;
  request.prompts_from =
      fmt::format("{} texts, {}", embedded.size(), embedded.clip.empty() ? texts.stored : embedded.clip);
}

}  // namespace

void add_report(Program& program) {
  struct Arguments {
    EncoderArguments encoder;
    TextArguments texts;
    std::vector<std::string> inputs;
    infer::ReportRequest request;
    std::string output;
    ExifArgument exif;
    DatasetArguments dataset;
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  Command command =
      program.command("report", "writes one HTML page: images, patches, prompts and training curves",
                      "vitral report runs/shapes shapes/val.h5 -o report.html");
  a->encoder.add_to(command);
  command.option("inputs", a->inputs, "dataset files (HDF5), or images and folders of them")
      .required()
      .type_name("IMAGES");
  command.option("-o,--output", a->output, "HTML file to write").required();
  a->texts.add_to(command,
                  {.teacher = "a CLIP's weights: also its dense tokens, beside the student's patches"});
  command.option("--run", a->request.run, "run folder of the curves; default: WEIGHTS where it is one")
      .type_name("FOLDER");
  command.option("--image", a->request.images, "images by number; default: the first ones").at_least(0);
  command.option("--count", a->request.count, "how many images, without --image").shows_default().at_least(1);
  a->exif.add_to(command);
  a->dataset.add_images_to(command);
  command.flag("--json", a->json, "a summary as one JSON object");
  command.run([a] {
    auto inputs = a->inputs;
    inputs.push_back(a->encoder.weights);
    for (const auto& file : a->texts.inputs()) inputs.push_back(file);
    check_output(a->output, inputs);
    const data::ImageSource source = data::ImageSource::open(a->inputs, a->exif.value(), a->dataset.names);
    report_left_out(source.left_out());
    const models::Encoder encoder = a->encoder.load();
    a->request.weights = a->encoder.weights;
    add_texts(a->texts, a->encoder.device, encoder.config().width, source, a->request);
    if (a->request.run.empty() && infer::is_run(a->encoder.weights)) a->request.run = a->encoder.weights;
    const auto teacher = a->texts.load_teacher(a->encoder.device, a->encoder.precision);
    if (teacher) a->request.teacher = &*teacher;
    a->request.progress = terminal_counter("looked at");
    std::int64_t skipped = 0;
    a->request.skipped = [&](const std::string& line) {
      ++skipped;
      std::fprintf(stderr, "%s\n", line.c_str());
    };
    const infer::Report report = infer::make_report(encoder, source, a->request);
    const std::string page = infer::report_page(report);
    write_file(a->output, page);
    if (!a->json) {
      fmt::print("{}: {} images, {} prompts{}, {:.1f} MB\n", a->output, report.images.size(),
                 report.prompts.size(), report.run ? ", training curves" : "",
                 static_cast<double>(page.size()) / 1e6);
      return;
    }
    const nlohmann::ordered_json out = {{"output", a->output},
                                        {"images", report.images.size()},
                                        {"found", source.size()},
                                        {"skipped", skipped},
                                        {"left_out", json_of(source.left_out())},
                                        {"prompts", report.prompts},
                                        {"curves", report.run.has_value()},
                                        {"bytes", page.size()}};
    print_json(out);
  });
}

}  // namespace vitral::cli
