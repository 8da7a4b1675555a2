#include <memory>

#include "cli/common.h"
#include "cli/print.h"
#include "cli/text.h"
#include "infer/embed_files.h"
#include "processes/launch.h"

namespace vitral::cli {
namespace {

using nlohmann::json;

struct Arguments {
  EncoderArguments encoder;
  TextArguments texts;
  std::vector<std::string> images;
  infer::EmbedOptions options;
  ExifArgument exif;
  bool json = false;
};

void embed_images(Arguments& a) {
  VITRAL_CHECK(!a.encoder.weights.empty() && !a.images.empty(),
               "embed needs WEIGHTS and IMAGES, or --text; see vitral embed --help");
  a.texts.refuse_without_texts();
  std::vector<std::string> inputs = a.images;
  inputs.push_back(a.encoder.weights);
  check_output(a.options.output, inputs);
  const models::Encoder encoder = a.encoder.load();
  data::LeftOut left_out;
  const auto images = data::list_images(a.images, &left_out);
  a.options.exif = a.exif.value();
  a.options.weights = a.encoder.weights;
  const StopSignals& signals = StopSignals::until_exit();
  Group& group = processes();
  a.options.group = &group;
  if (group.is_first()) a.options.progress = terminal_counter("embedded");
  a.options.stop = [&] { return signals.signal(); };
  const infer::EmbedSummary s = infer::embed_files(encoder, images, a.options);
  if (!group.is_first()) return;
  report_resumed(s.resumed);
  if (s.signal != 0) throw_stopped(a.options.output, s.signal);
  report_skipped(s.skipped, s.found);
  report_left_out(left_out);
  if (s.embedded == 0)
    throw_error("{}: nothing written, none of the {} images can be read", a.options.output, s.found);
  if (!a.json) {
    fmt::print("{}: {} images\n", a.options.output, s.embedded);
    return;
  }
  print_json(json{{"output", a.options.output},
                  {"images", s.embedded},
                  {"found", s.found},
                  {"resumed", s.resumed},
                  {"skipped", json_of(s.skipped)},
                  {"left_out", json_of(left_out)}});
}

void embed_texts(const Arguments& a) {
  require_one_process("--text: texts are embedded");
  VITRAL_CHECK(a.encoder.weights.empty() && a.images.empty(),
               "{}: texts are embedded by CLIP alone; leave out WEIGHTS and IMAGES, or --text",
               a.encoder.weights);
  VITRAL_CHECK(!a.options.scaled_decode, "--scaled-decode: texts have no pixels; leave it out");
  VITRAL_CHECK(!a.options.patches, "--patches: texts have no patches; leave it out");
  check_output(a.options.output, a.texts.inputs());
  const infer::TextEmbeddings texts = a.texts.load(a.encoder.device);
  infer::write_texts(a.options.output, texts);
  if (a.json)
    print_json(json{{"output", a.options.output}, {"texts", texts.size()}, {"width", texts.width()}});
  else
    fmt::print("{}: {} texts\n", a.options.output, texts.size());
}

}  // namespace

void add_embed(Program& program) {
  auto a = std::make_shared<Arguments>();
  Command command =
      program.command("embed", "embeds image files with a student, or texts with CLIP, into an HDF5 file",
                      "vitral embed runs/student photos/ -o photos.h5 --patches\n"
                      "  vitral embed --text 'a cat' 'a dog' --template 'a photo of a {}' --clip "
                      "clip-vit-base-patch32 -o texts.h5");
  a->encoder.add_to(command);
  command.existing("weights").required(false);
  command.option("images", a->images, "folders of images, and image files").type_name("IMAGES");
  command
      .option("-o,--output", a->options.output,
              "HDF5 file to write: /names, /embeddings, /probs; for texts /texts, /embeddings")
      .required();
  command.flag("--patches", a->options.patches, "also /patch_embeddings");
  command.flag(
      "--scaled-decode", a->options.scaled_decode,
      "decode large JPEG files at 1/2, 1/4 or 1/8 of their size: faster, not exactly Pillow's pixels");
  a->exif.add_to(command);
  command.option("--batch", a->options.batch_size, "images at once").shows_default().at_least(1);
  command.flag("--restart", a->options.restart, "forget what an interrupted run has done");
  a->texts.add_to(command, {.stored = false});
  command.takes_processes();
  command.flag("--json", a->json, "a summary as one JSON object");
  command.run([a] {
    if (a->texts.given())
      embed_texts(*a);
    else
      embed_images(*a);
  });
}

}  // namespace vitral::cli
