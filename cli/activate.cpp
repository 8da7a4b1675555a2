// vitral activate: what each patch of an image says about texts or concepts, as a picture or numbers.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/files/input_file.h"
#include "base/text.h"
#include "cli/common.h"
#include "cli/print.h"
#include "cli/text.h"
#include "data/hdf5/file.h"
#include "data/image_files.h"
#include "data/images/image.h"
#include "infer/activations.h"

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

// All of them are in memory at once, and in one picture.
constexpr std::size_t max_images = 256;

struct Arguments {
  EncoderArguments encoder;
  TextArguments texts;
  std::vector<std::string> inputs;
  infer::ActivationRequest request;
  infer::ActivationOptions picture;
  std::string style, output;
  ExifArgument exif;
  DatasetArguments dataset;
  bool weights = false, json = false;
};

infer::ActivationStyle style_of(const Arguments& a) {
  if (a.style == "softmax") return infer::ActivationStyle::softmax;
  if (a.style == "both" || (a.style.empty() && a.texts.given())) return infer::ActivationStyle::both;
  return infer::ActivationStyle::cosine;
}

bool are_datasets(const std::vector<std::string>& inputs) {
  const auto is_dataset = [](const std::string& path) { return data::H5File::is_hdf5(path); };
  const auto count = std::count_if(inputs.begin(), inputs.end(), is_dataset);
  VITRAL_CHECK(count == 0 || count == static_cast<std::ptrdiff_t>(inputs.size()),
               "{}: is a dataset beside images; give either datasets or images",
               *std::find_if(inputs.begin(), inputs.end(), is_dataset));
  return count > 0;
}

std::vector<infer::ImageActivations> of_files(const Arguments& a, const models::Encoder& encoder,
                                              const std::vector<data::ImageFile>& files,
                                              const std::vector<infer::PatchTarget>& targets,
                                              const models::ImageEncoder* teacher,
                                              std::vector<data::SkippedFile>& skipped) {
  std::vector<infer::ImageActivations> out;
  for (const auto& file : files) {
    Tensor picture;
    try {
      if (!file.problem.empty()) throw_error("{}", file.problem);
      picture = data::read_image(file.path, {.exif = a.exif.value()});
    } catch (const UsageError&) {
      throw;
    } catch (const ReadError&) {
      throw;
    } catch (const Error& e) {
      if (files.size() == 1) throw;
      skipped.push_back({file.name, one_line(e.what())});
      continue;
    }
    out.push_back(infer::activations_of(encoder, picture, file.name, targets, teacher));
  }
  report_skipped(skipped, static_cast<std::int64_t>(files.size()));
  if (out.empty()) throw_error("{}: none of the {} images can be read", a.inputs.front(), files.size());
  return out;
}

ordered_json grid(const Tensor& values) {
  ordered_json rows = ordered_json::array();
  for (std::int64_t r = 0; r < values.dim(0); ++r) {
    ordered_json row = ordered_json::array();
    for (std::int64_t c = 0; c < values.dim(1); ++c)
      row.push_back(values.data<float>()[r * values.dim(1) + c]);
    rows.push_back(std::move(row));
  }
  return rows;
}

ordered_json numbers_of(const infer::ImageActivations& image) {
  ordered_json out = {{"name", image.title}, {"weights", grid(image.probs)}};
  if (image.attention.defined()) out["teacher_attention"] = grid(image.attention);
  out["texts"] = ordered_json::array();
  for (const auto& t : image.targets) {
    out["texts"].push_back({{"text", t.label}, {"cosines", grid(t.cosines)}, {"softmax", grid(t.softmax)}});
    if (t.teacher.defined()) out["texts"].back()["teacher_cosines"] = grid(t.teacher);
  }
  return out;
}

void run(const Arguments& a) {
  VITRAL_CHECK(!a.output.empty() || a.json, "--output is required, or --json for the numbers alone");
  if (!a.output.empty()) {
    std::vector<std::string> inputs = a.inputs;
    inputs.push_back(a.encoder.weights);
    for (const auto& file : a.texts.inputs()) inputs.push_back(file);
    check_output(a.output, inputs);
    data::check_image_name(a.output);
  }
  const bool datasets = are_datasets(a.inputs);
  data::LeftOut left_out;
  const auto files = datasets ? std::vector<data::ImageFile>() : data::list_images(a.inputs, &left_out);
  report_left_out(left_out);
  if (!datasets) {
    VITRAL_CHECK(a.request.concepts.empty() && a.request.images.empty(),
                 "{}: --concept and --image choose from datasets; give --text for images", a.inputs.front());
    VITRAL_CHECK(a.texts.given() || !a.texts.teacher.empty() || a.weights,
                 "{}: is no dataset with concepts; give --text and --clip, --teacher or --weights",
                 a.inputs.front());
    VITRAL_CHECK(!files.empty(), "{}: no images in there", a.inputs.front());
    VITRAL_CHECK(files.size() <= max_images, "{} images are too many for one picture, the limit is {}",
                 files.size(), max_images);
  }
  VITRAL_CHECK(!a.texts.given() || a.request.concepts.empty(), "--concept and --text exclude each other");
  if (!a.texts.given() && (!datasets || a.texts.clip.empty())) a.texts.refuse_without_texts();
  const models::Encoder encoder = a.encoder.load();
  std::vector<infer::PatchTarget> targets;
  if (a.texts.given()) {
    const infer::TextEmbeddings texts = a.texts.load(a.encoder.device);
    check_width(texts, encoder.config().width, "the student");
    targets = infer::targets_of(texts);
  }
  const auto teacher = a.texts.load_teacher(a.encoder.device, a.encoder.precision);
  const models::ImageEncoder* other = teacher ? &*teacher : nullptr;

  std::vector<infer::ImageActivations> images;
  std::vector<data::SkippedFile> skipped;
  if (!datasets) {
    images = of_files(a, encoder, files, targets, other, skipped);
  } else {
    data::Dataset dataset = data::Dataset::open(a.inputs, a.dataset.names);
    dataset.set_exif(a.exif.value());
    infer::ActivationRequest request = a.request;
    request.embed_concepts = a.texts.concept_embedder(a.encoder.device);
    images = a.texts.given() ? infer::dataset_activations(encoder, dataset, request, targets, other)
                             : infer::concept_activations(encoder, dataset, request, other);
  }
  if (!a.output.empty()) {
    std::vector<infer::ActivationRow> rows;
    rows.reserve(images.size());
    for (const auto& image : images)
      rows.push_back(infer::activation_row(image, style_of(a), a.weights || teacher));
    infer::ActivationOptions picture = a.picture;
    if (a.texts.given()) picture.caption = "cosine of patch and text";
    data::write_image(a.output, infer::draw_activations(rows, picture));
  }
  if (a.json) {
    ordered_json out = {
        {"images", ordered_json::array()}, {"skipped", json_of(skipped)}, {"left_out", json_of(left_out)}};
    for (const auto& image : images) out["images"].push_back(numbers_of(image));
    print_json(out);
  } else {
    fmt::print("{}: activations of {} images\n", a.output, images.size());
  }
}

}  // namespace

void add_activate(Program& program) {
  auto a = std::make_shared<Arguments>();
  Command command = program.command(
      "activate", "draws what each patch of an image says about texts, or about a dataset's concepts",
      "vitral activate runs/student cat.jpg --text 'a cat' 'a sofa' --clip clip-vit-base-patch32 -o cat.png\n"
      "  vitral activate runs/shapes shapes/val.h5 --concept 'red circle' -o activations.png");
  a->encoder.add_to(command);
  command.option("inputs", a->inputs, "images (files, folders), or dataset files (HDF5)")
      .required()
      .type_name("IMAGES");
  command.option("-o,--output", a->output, "picture to write: .png, .jpg or .jpeg");
  a->texts.add_to(command,
                  {.teacher = "a teacher's weights: also what its embedding attends to, beside the student's "
                              "weights, and what its dense tokens (CLIP's) say, beside its patches"});
  command
      .option("--style", a->style,
              "cosine: heat map on a scale; softmax: the image darkened by a softmax over its patches, "
              "the original's picture; both. Default: both for texts, cosine for concepts")
      .one_of({"cosine", "softmax", "both"});
  command.flag("--weights", a->weights, "also the weights with which the student adds its patches up");
  command
      .option("--concept", a->request.concepts,
              "of datasets: names from /concepts/names; default: those of the image's objects")
      .type_name("NAME");
  command
      .option("--image", a->request.images, "of datasets: images by number; default: those with most objects")
      .at_least(0);
  command.option("--count", a->request.count, "of datasets: how many images, without --image")
      .shows_default()
      .between(1, 64);
  command.option("--cell", a->picture.cell, "pixels a side of an image in the picture")
      .shows_default()
      .between(32, 2048);
  a->exif.add_to(command);
  a->dataset.add_images_to(command);
  command.flag("--json", a->json, "the numbers of every patch as one JSON object");
  command.run([a] { run(*a); });
}

}  // namespace vitral::cli
