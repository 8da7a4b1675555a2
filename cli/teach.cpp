// vitral teach: the teacher's embeddings into a dataset file.
#include "infer/teach.h"

#include <csignal>
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/signals.h"
#include "cli/common.h"
#include "train/config.h"

namespace vitral::cli {
namespace {

struct Arguments {
  infer::TeachOptions teach;
  std::string device = "auto", augment, config, transform = "resize", dtype = "float32";
  int heads = 0;
  bool json = false;
};

void print(const Arguments& a, const infer::TeachSummary& s, std::int64_t width) {
  if (a.json) {
    nlohmann::json skipped = nlohmann::json::array();
    for (const auto& k : s.skipped)
      skipped.push_back({{"index", k.index}, {"name", k.name}, {"reason", k.reason}});
    const nlohmann::json out = {{"file", a.teach.file}, {"images", s.images},
                                {"views", s.views},     {"width", width},
                                {"resumed", s.resumed}, {"skipped", std::move(skipped)}};
    fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    return;
  }
  fmt::print("{}: embeddings of {} images, {}{} wide\n", a.teach.file, s.images,
             s.views > 0 ? fmt::format("{} views each, ", s.views) : "", width);
}

void run(Arguments& a) {
  auto& o = a.teach;
  o.transform = a.transform == "clip" ? infer::PlainTransform::clip : infer::PlainTransform::resize;
  o.dtype = a.dtype == "float16" ? DType::float16 : DType::float32;
  if (!a.config.empty()) {
    const train::Config config = train::load_config(a.config);
    o.augment = config.data.augment;
    if (o.image_size == 0) o.image_size = config.model.image_size;
  }
  if (!a.augment.empty())
    o.augment = a.augment == "clip" ? data::AugmentConfig::clip() : data::AugmentConfig{};
  const auto teacher = models::ClipImageEncoder::load(o.teacher, parse_device(a.device), a.heads);
  const StopSignals signals;
  o.stop = [&] { return signals.requested(); };
  o.progress = terminal_counter("taught");
  const infer::TeachSummary s = infer::teach(teacher, o);
  if (s.resumed > 0)
    std::fprintf(stderr, "went on after the %lld images of an earlier run\n",
                 static_cast<long long>(s.resumed));
  for (const auto& k : s.skipped)
    std::fprintf(stderr, "image %lld does not decode, its embedding is zero: %s\n",
                 static_cast<long long>(k.index), k.reason.c_str());
  if (s.stopped)
    throw_error("{}: stopped by {}; what is done is kept, run the same command again to go on", o.file,
                signals.signal() == SIGINT ? "SIGINT" : "SIGTERM");
  print(a, s, teacher.config().embedding);
}

}  // namespace

void add_teach(CLI::App& app) {
  auto a = std::make_shared<Arguments>();
  auto& o = a->teach;
  auto* command = add_command(app, "teach", "embeds the images of a dataset with CLIP, into its /embeddings",
                              "vitral teach train.h5 --teacher clip-vit-base-patch32 --views 10");
  command->add_option("file", o.file, "dataset file (HDF5), as vitral pack makes it")
      ->required()
      ->type_name("FILE");
  command
      ->add_option("--teacher", o.teacher,
                   "CLIP's weights: a Hugging Face folder, .safetensors, or OpenAI's .pt")
      ->required()
      ->type_name("WEIGHTS");
  command->add_option("--views", o.views, "augmented views of each image; 0: the image as it is")
      ->capture_default_str()
      ->check(at_least(0));
  command->add_flag("--plain-view", o.plain_view,
                    "with --views: also the plain image, which validation needs");
  auto* augment = command->add_option("--augment", a->augment, "of views: clip or none; default: clip")
                      ->check(CLI::IsMember({"clip", "none"}));
  command
      ->add_option("--config", a->config, "of views: augmentation and size from this training configuration")
      ->type_name("CONFIG")
      ->excludes(augment);
  command
      ->add_option("--image-size", o.image_size,
                   "of views: pixels a side of the student's images; default: the teacher's")
      ->check(at_least(1));
  command->add_option("--seed", o.seed, "of views: that of the training whose epochs they repeat")
      ->capture_default_str()
      ->check(at_least(0));
  command
      ->add_option(
          "--transform", a->transform,
          "without views: resize (stretch, as students see images) or clip (CLIP's own: crop the centre)")
      ->capture_default_str()
      ->check(CLI::IsMember({"resize", "clip"}));
  command->add_option("--dtype", a->dtype, "of the stored embeddings: float32 or float16")
      ->capture_default_str()
      ->check(CLI::IsMember({"float32", "float16"}));
  command
      ->add_option("--heads", a->heads,
                   "attention heads of the teacher; default: width / 64, or config.json's")
      ->check(at_least(1));
  command->add_option("--batch", o.batch_size, "pictures at once")->capture_default_str()->check(at_least(1));
  command->add_option("--device", a->device, "cpu, cuda, cuda:N or auto")->capture_default_str();
  command->add_flag("--force", o.force, "replace embeddings that are there");
  command->add_flag("--restart", o.restart, "forget what an interrupted run has done");
  command->add_flag(
      "--in-place", o.in_place,
      "change the file itself, for one that is too large to copy; a crash in the last seconds can damage it");
  command->add_flag("--json", a->json, "a summary as one JSON object");
  command->callback([a] { run(*a); });
}

}  // namespace vitral::cli
