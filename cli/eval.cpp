#include <chrono>
#include <cstdio>
#include <memory>

#include "base/hash.h"
#include "cli/common.h"
#include "cli/eval_print.h"
#include "cli/print.h"
#include "cli/text.h"
#include "data/weights/weights.h"
#include "processes/launch.h"

namespace vitral::cli {
namespace {

struct Arguments {
  EncoderArguments encoder;
  TextArguments texts;
  std::vector<std::string> inputs;
  infer::EvaluateOptions options;
  bool zero_shot = false, retrieval = false;
  std::string classes, captions, teacher_transform = "clip", protocol = "whole";
  EvalStyle style;
  ExifArgument exif;
  DatasetArguments dataset;
  // Options of the one way to measure that have no meaning for the other.
  std::vector<Option> of_embeddings, of_texts;

  bool against_texts() const { return zero_shot || retrieval; }
};

void skip(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

auto now() { return std::chrono::steady_clock::now(); }
double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(now() - start).count();
}

void check(const Arguments& a) {
  if (a.against_texts()) {
    for (const Option& option : a.of_embeddings)
      VITRAL_CHECK(!option.given(),
                   "{}: is for measuring on a dataset's embeddings, not with --zero-shot or --retrieval",
                   option.name());
    VITRAL_CHECK(a.captions.empty() || a.retrieval, "--captions: are for --retrieval; add it");
    VITRAL_CHECK(a.classes.empty() || a.zero_shot || a.captions.empty(),
                 "--classes: are for --zero-shot, or for --retrieval without --captions");
    VITRAL_CHECK(a.texts.has_source(),
                 "--zero-shot and --retrieval need CLIP's weights; name them with --clip");
    VITRAL_CHECK(!a.texts.has_templates() || a.zero_shot || a.captions.empty(),
                 "--template: is for the names of classes; captions are taken as they are");
    return;
  }
  VITRAL_CHECK(a.texts.has_source() || (a.texts.inputs().empty() && !a.texts.has_templates()),
               "templates and a vocabulary are for CLIP's weights; name them with --clip");
  VITRAL_CHECK(a.classes.empty() || a.texts.has_source(),
               "--classes: are texts of concepts, which need CLIP's weights; name them with --clip");
  for (const Option& option : a.of_texts)
    VITRAL_CHECK(!option.given(), "{}: needs --zero-shot or --retrieval", option.name());
}

// What processes must have the same.
std::string identity_of(const std::string& weights, const models::ImageEncoder& teacher) {
  return fmt::format("teacher {:016x}, {}", data::weights_digest(weights), teacher.description());
}

void measure_on_embeddings(Arguments& a) {
  data::Dataset dataset = data::Dataset::open(a.inputs, a.dataset.names);
  dataset.set_exif(a.exif.value());
  const models::Encoder encoder = a.encoder.load();
  if (a.texts.has_source())
    a.options.embed_concepts = [&a](const std::vector<std::string>& names) {
      auto out = a.classes.empty() ? infer::texts_of_names(names) : infer::texts_of_list(names, a.classes);
      VITRAL_CHECK(a.options.localisation.background || !out.names_background(names.size()),
                   "{}: names texts of the background, which is a class with --background only", a.classes);
      out.embeddings = a.texts.embed(out.texts, a.encoder.device).embeddings;
      return out;
    };
  a.options.localisation.protocol = a.protocol == "slide" ? infer::Protocol::slide : infer::Protocol::whole;
  Group& group = processes();
  a.options.group = &group;
  const auto teacher = a.texts.load_teacher(a.encoder.device, a.encoder.precision);
  if (teacher) {
    a.options.others = infer::dense_models(*teacher, a.options.batch_size);
    if (!group.is_one()) a.options.identity_of_others = identity_of(a.texts.teacher, *teacher);
  }
  if (group.is_first()) {
    a.options.progress = terminal_counter("evaluated");
    a.options.skipped = skip;
  }
  const auto start = now();
  const infer::Evaluation e = infer::evaluate(encoder, dataset, a.options);
  if (!group.is_first()) return;
  print(e, seconds_since(start), a.style);
}

infer::ClassLabels classes_of(const Arguments& a, const data::ImageSource& source) {
  if (!a.classes.empty()) return infer::classes_of_list(source.names(), a.classes, source.path());
  if (source.dataset())
    if (auto classes = infer::classes_of_concepts(*source.dataset())) return std::move(*classes);
  return infer::classes_of_folders(source.names(), source.path());
}

infer::TextTask task_of(const Arguments& a, const data::ImageSource& source) {
  infer::TextTask task;
  std::optional<infer::ClassLabels> classes;
  const bool stored = source.dataset() && source.dataset()->has_captions() && a.classes.empty();
  VITRAL_CHECK(!a.texts.has_templates() || a.zero_shot || !stored,
               "--template: is for the names of classes; the captions of {} are taken as they are",
               source.path());
  if (a.zero_shot || (a.captions.empty() && !stored)) classes = classes_of(a, source);
  Tensor class_embeddings;
  if (classes) class_embeddings = a.texts.embed(classes->names, a.encoder.device).embeddings;
  if (a.retrieval && (stored || !a.captions.empty())) {
    task.captions = a.captions.empty() ? infer::captions_of_dataset(*source.dataset())
                                       : infer::read_captions(source.names(), a.captions);
    task.caption_embeddings = a.texts.embed(task.captions->texts, a.encoder.device, false).embeddings;
  } else if (a.retrieval) {
    task.captions = infer::captions_of_classes(*classes);
    task.caption_embeddings = class_embeddings;
  }
  if (a.zero_shot) {
    task.classes = std::move(classes);
    task.class_embeddings = class_embeddings;
  }
  return task;
}

std::string identity_of(const Arguments& a, const models::Encoder& student,
                        const std::optional<models::ImageEncoder>& teacher, const infer::TextTask& task) {
  Hash texts;
  for (const Tensor& t : {task.class_embeddings, task.caption_embeddings})
    if (t.defined()) texts.add(t.raw(), t.bytes());
  return fmt::format("student {:016x}, texts {:016x}, {}", student.digest(), texts.value(),
                     teacher ? identity_of(a.texts.teacher, *teacher) : "no teacher");
}

void measure_on_texts(const Arguments& a) {
  const data::ImageSource source = data::ImageSource::open(a.inputs, a.exif.value(), a.dataset.names);
  Group& group = processes();
  if (group.is_first()) report_left_out(source.left_out());
  const models::Encoder student = a.encoder.load();
  const auto teacher = a.texts.load_teacher(a.encoder.device, a.encoder.precision);
  std::vector<infer::ImageModel> models{infer::model_of(student)};
  const auto transform =
      a.teacher_transform == "clip" ? data::PlainTransform::clip : data::PlainTransform::resize;
  const bool crops = teacher && teacher->crops(transform) && source.dataset();
  if (const std::string note = crops ? source.dataset()->crop_note() : ""; !note.empty() && group.is_first())
    skip(note);
  if (teacher) models.push_back(infer::model_of(*teacher, transform));
  const infer::TextTask task = task_of(a, source);
  infer::EvaluateTextOptions options;
  options.batch_size = a.options.batch_size;
  options.candidates = a.options.candidates;
  options.group = &group;
  if (!group.is_one()) options.identity = identity_of(a, student, teacher, task);
  if (group.is_first()) {
    options.progress = terminal_counter("evaluated");
    options.skipped = skip;
  }
  const auto start = now();
  const infer::TextResult r = infer::evaluate_text(models, source, task, options);
  if (!group.is_first()) return;
  print(r, task, source.left_out(), seconds_since(start), a.style);
}

void add_options_of_embeddings(Command& command, Arguments& a) {
  a.of_embeddings = {
      command.option("--workers", a.options.workers, "loader threads").shows_default().at_least(0),
      command.option("--loss-norm", a.options.loss_norm, "factor of the loss").shows_default().positive(),
      command
          .option("--background", a.options.localisation.background,
                  "cosine below which a pixel shows no concept: segmentation with background")
          .between(-1.0, 1.0),
      command
          .option("--protocol", a.protocol,
                  "of localisation: whole images, or windows that slide over them, as papers have it")
          .shows_default()
          .one_of({"whole", "slide"}),
      command
          .option("--tolerance", a.options.localisation.tolerance,
                  "pixels that a point may be off the object, in the pointing game on pixels")
          .shows_default()
          .positive(),
      command.option("--resamples", a.options.localisation.resamples, "of the bootstrap that makes intervals")
          .shows_default()
          .at_least(0)};
}

void add_options_of_texts(Command& command, Arguments& a) {
  command.flag("--zero-shot", a.zero_shot,
               "instead: classification by the names of classes; images may lie in folders, too, and a "
               "dataset may label objects");
  command.flag("--retrieval", a.retrieval, "instead: images by their captions, and captions by images");
  command
      .option(
          "--classes", a.classes,
          "names of classes, one a line in the order of the sorted folders, or folder<TAB>name; without "
          "--zero-shot and --retrieval texts of concepts, several with commas between; default: the names "
          "of folders or concepts")
      .type_name("FILE");
  a.of_texts = {
      command
          .option("--captions", a.captions,
                  "image name<TAB>caption, or another file that pack takes; default: those of the dataset, "
                  "else names of classes")
          .type_name("FILE"),
      command
          .option("--teacher-transform", a.teacher_transform,
                  "how the teacher sees images: clip (its own: crop the centre) or resize (as the student)")
          .shows_default()
          .one_of({"clip", "resize"})};
  a.texts.add_clip_to(command,
                      {.teacher = "a teacher's weights: measure its image tower (of localisation its "
                                  "patches), too"});
}

}  // namespace

void add_eval(Program& program) {
  auto a = std::make_shared<Arguments>();
  Command command = program.command(
      "eval", "measures a student: loss, cosine, retrieval, localisation, zero-shot classification",
      "vitral eval runs/shapes shapes/val.h5 --json\n"
      "  vitral eval runs/student voc.h5 --clip clip-vit-base-patch32 --teacher clip-vit-base-patch32 "
      "--protocol slide\n"
      "  vitral eval runs/student photos/ --zero-shot --clip clip-vit-base-patch32 --template 'a photo of a "
      "{}'");
  a->encoder.add_to(command);
  command
      .option("files", a->inputs,
              "dataset files (HDF5); with --zero-shot or --retrieval also images and folders")
      .required()
      .type_name("FILE");
  command.option("--batch", a->options.batch_size, "images at once").shows_default().at_least(1);
  command.option("--candidates", a->options.candidates, "images that retrieval is taken over, at most")
      .shows_default()
      .at_least(1);
  add_options_of_embeddings(command, *a);
  add_options_of_texts(command, *a);
  a->exif.add_to(command);
  command.takes_processes();
  a->dataset.add_to(command);
  command.flag("--per-class", a->style.per_class, "in the table: each class and each concept");
  command.flag("--json", a->style.json, "one JSON object, with each class and each concept");
  command.run([a] {
    check(*a);
    if (a->against_texts())
      measure_on_texts(*a);
    else
      measure_on_embeddings(*a);
  });
}

}  // namespace vitral::cli
