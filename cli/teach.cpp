// vitral teach: the teacher's embeddings into a dataset file.
#include "infer/teach.h"

#include <cstdio>
#include <memory>

#include "cli/common.h"
#include "cli/print.h"
#include "cli/text.h"
#include "infer/teach_from.h"
#include "processes/launch.h"
#include "train/config.h"

namespace vitral::cli {
namespace {

struct Arguments {
  infer::TeachOptions teach;
  infer::TeachFromOptions from;
  std::string device = "auto", augment, config, transform = "resize", dtype = "float32";
  PrecisionArgument precision;
  models::TowerChoices tower;
  ExifArgument exif;
  DatasetArguments dataset;
  int grid = 0;
  bool patches = false, json = false;
};

// "embeddings", or "embeddings, 4 regions and 64 patches" of each.
std::string describe(const infer::TeachSummary& s) {
  std::string text;
  for (const auto& [kind, count] : s.made)
    text += (text.empty() ? "" : ", ") + (kind == data::Target::image ? "embeddings"
                                          : kind == data::Target::regions
                                              ? fmt::format("embeddings of {} regions", count)
                                              : fmt::format("embeddings of {} patches", count));
  return text;
}

void print(const Arguments& a, const infer::TeachSummary& s, std::int64_t width) {
  if (a.json) {
    nlohmann::json skipped = nlohmann::json::array();
    for (const auto& k : s.skipped)
      skipped.push_back({{"index", k.index}, {"name", k.name}, {"reason", k.reason}});
    nlohmann::json out{{"file", a.teach.file}, {"images", s.images},   {"views", s.views},
                       {"width", width},       {"resumed", s.resumed}, {"skipped", std::move(skipped)}};
    for (const auto& [kind, count] : s.made)
      if (kind != data::Target::image) out[kind == data::Target::regions ? "regions" : "patches"] = count;
    return print_json(out);
  }
  fmt::print("{}: {} of {} images, {}{} wide\n", a.teach.file, describe(s), s.images,
             s.views > 0 ? fmt::format("{} views each, ", s.views) : "", width);
}

void run_from(Arguments& a) {
  require_one_process("--from: embeddings are copied");
  a.from.file = a.teach.file;
  a.from.names = a.dataset.names;
  a.from.dtype = a.dtype == "float16" ? DType::float16 : DType::float32;
  a.from.force = a.teach.force;
  a.from.in_place = a.teach.in_place;
  const infer::TeachFromSummary s = infer::teach_from(a.from);
  if (s.not_finite > 0)
    std::fprintf(stderr, "%lld embeddings are not finite, they are stored as zeros\n",
                 static_cast<long long>(s.not_finite));
  if (a.json)
    return print_json(nlohmann::json{{"file", a.from.file},
                                     {"images", s.images},
                                     {"width", s.width},
                                     {"by_name", s.by_name},
                                     {"not_finite", s.not_finite}});
  fmt::print("{}: embeddings of {} images, {} wide, by {}\n", a.from.file, s.images, s.width,
             s.by_name ? "name" : "order");
}

void run(Arguments& a) {
  if (!a.from.from.empty()) return run_from(a);
  VITRAL_CHECK(!a.teach.teacher.empty(),
               "teach: name a teacher with --teacher, or a file of embeddings with --from");
  VITRAL_CHECK(a.patches || a.grid == 0, "--grid: needs --patches");
  VITRAL_CHECK(a.from.name.empty() && a.from.names_file.empty(), "--name and --from-names: need --from");
  auto& o = a.teach;
  o.transform = a.transform == "clip" ? data::PlainTransform::clip : data::PlainTransform::resize;
  o.dtype = a.dtype == "float16" ? DType::float16 : DType::float32;
  if (!a.config.empty()) {
    const train::Config config = train::load_config(a.config);
    o.augment = config.data.augment;
    if (a.dataset.names.images.empty()) a.dataset.names.images = config.data.images;
    if (o.image_size == 0) o.image_size = config.model.image_size;
    if (a.patches && a.grid == 0) a.grid = config.model.grid();
  }
  if (a.patches) o.patches = a.grid > 0 ? a.grid : models::StudentConfig().grid();
  if (!a.augment.empty())
    o.augment = a.augment == "clip" ? data::AugmentConfig::clip() : data::AugmentConfig{};
  const auto teacher =
      models::ImageEncoder::load(o.teacher, parse_device(a.device), a.tower, a.precision.use(a.device));
  const StopSignals& signals = StopSignals::until_exit();
  Group& group = processes();
  o.group = &group;
  if (group.is_first()) {
    report_guess(o.teacher, teacher.guessed(), "--heads");
    o.note = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
    o.progress = terminal_counter("taught");
  }
  o.exif = a.exif.value();
  o.names = a.dataset.names;
  o.stop = [&] { return signals.signal(); };
  const infer::TeachSummary s = infer::teach(teacher, o);
  if (!group.is_first()) return;
  report_resumed(s.resumed);
  for (const auto& k : s.skipped)
    std::fprintf(stderr, "image %lld does not decode, its embedding is zero: %s\n",
                 static_cast<long long>(k.index), k.reason.c_str());
  if (s.signal != 0) throw_stopped(o.file, s.signal);
  print(a, s, teacher.config().embedding);
}

}  // namespace

void add_teach(Program& program) {
  auto a = std::make_shared<Arguments>();
  auto& o = a->teach;
  Command command = program.command(
      "teach",
      "embeds the images of a dataset with a teacher, into its /embeddings; also their regions and patches",
      "vitral teach train.h5 --teacher clip-vit-base-patch32 --views 10");
  command.option("file", o.file, "dataset file (HDF5), as vitral pack makes it").required().type_name("FILE");
  const Option teacher =
      command
          .option("--teacher", o.teacher,
                  "its weights (CLIP, SigLIP, DINOv2): a folder of transformers or open_clip, "
                  ".safetensors, OpenAI's .pt")
          .type_name("WEIGHTS");
  const Option from =
      command
          .option("--from", a->from.from,
                  "instead: embeddings made elsewhere: .npy, .npz, HDF5, or clip-retrieval's folder")
          .type_name("FILE")
          .excludes(teacher);
  command.option("--name", a->from.name, "of --from: which array or dataset of the file");
  command
      .option("--from-names", a->from.names_file,
              "of --from: the name of each row, one a line; default: rows are in the order of the images")
      .type_name("FILE");
  command.option("--views", o.views, "augmented views of each image; 0: the image as it is")
      .shows_default()
      .at_least(0)
      .excludes(from);
  command
      .option("--regions", o.regions,
              "also of the cells of a G x G grid over each image or view, into /regions; 0: without")
      .shows_default()
      .between(0, 64)
      .type_name("G")
      .excludes(from);
  command.flag("--patches", a->patches, "also of patches, the dense tokens of a CLIP, into /patches")
      .excludes(from);
  command
      .option("--grid", a->grid,
              "of --patches: patches a side of the student; default: that of --config, else 8")
      .between(1, 256)
      .excludes(from);
  command.flag("--plain-view", o.plain_view, "with --views: also the plain image, which validation needs")
      .excludes(from);
  const Option augment = command.option("--augment", a->augment, "of views: clip or none; default: clip")
                             .one_of({"clip", "none"})
                             .excludes(from);
  command
      .option("--config", a->config,
              "of views: augmentation and size, and data.images, from this training configuration")
      .type_name("CONFIG")
      .excludes(augment)
      .excludes(from);
  command
      .option("--image-size", o.image_size,
              "of views: pixels a side of the student's images; default: the teacher's")
      .at_least(1)
      .excludes(from);
  command.option("--seed", o.seed, "of views: that of the training whose epochs they repeat")
      .shows_default()
      .at_least(0)
      .excludes(from);
  command
      .option("--transform", a->transform,
              "without views: resize (stretch, as students see images) or clip (CLIP's own: crop the centre)")
      .shows_default()
      .one_of({"resize", "clip"})
      .excludes(from);
  command.option("--dtype", a->dtype, "of the stored embeddings: float32 or float16")
      .shows_default()
      .one_of({"float32", "float16"});
  command
      .option("--heads", a->tower.heads,
              "attention heads of the teacher; default: the configuration's, else width / 64")
      .at_least(1)
      .excludes(from);
  add_activation_to(command, a->tower.activation).excludes(from);
  command.option("--batch", o.batch_size, "pictures at once").shows_default().at_least(1).excludes(from);
  command.option("--device", a->device, "cpu, cuda, cuda:N or auto").shows_default().excludes(from);
  a->precision.add_to(command).excludes(from);
  command.flag("--force", o.force,
               "replace what is there of these; else it stays, and what is missing is made");
  command.flag("--restart", o.restart, "forget what an interrupted run has done").excludes(from);
  command.flag(
      "--in-place", o.in_place,
      "change the file itself, for one that is too large to copy; what a crash interrupts there the same "
      "command completes");
  a->exif.add_to(command).excludes(from);
  command.takes_processes();
  a->dataset.add_images_to(command);
  command.flag("--json", a->json, "a summary as one JSON object");
  command.run([a] { run(*a); });
}

}  // namespace vitral::cli
