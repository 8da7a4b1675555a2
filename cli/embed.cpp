#include <csignal>
#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "base/signals.h"
#include "cli/common.h"
#include "cli/text.h"
#include "infer/embed_files.h"

namespace vitral::cli {
namespace {

using nlohmann::json;

struct Arguments {
  EncoderArguments encoder;
  TextArguments texts;
  data::PackOptions sources;
  infer::EmbedOptions options;
  bool json = false;
};

void print(const json& out) { fmt::print("{}\n", out.dump(-1, ' ', false, json::error_handler_t::replace)); }

void embed_images(Arguments& a) {
  VITRAL_CHECK(!a.encoder.weights.empty() && !a.sources.inputs.empty(),
               "embed needs WEIGHTS and IMAGES, or --text; see vitral embed --help");
  for (const auto& given : a.texts.inputs())
    throw_error<UsageError>("{}: belongs to --text, and no text is given", given);
  auto inputs = a.sources.inputs;
  inputs.push_back(a.encoder.weights);
  check_output(a.options.output, inputs);
  const models::Encoder encoder = a.encoder.load();
  const auto images = data::list_images(a.sources);
  a.options.weights = a.encoder.weights;
  a.options.progress = terminal_counter("embedded");
  const StopSignals signals;
  a.options.stop = [&] { return signals.requested(); };
  const infer::EmbedSummary s = infer::embed_files(encoder, images, a.options);
  if (s.resumed > 0)
    std::fprintf(stderr, "went on after the %lld images of an earlier run\n",
                 static_cast<long long>(s.resumed));
  if (s.stopped)
    throw_error("{}: stopped by {}; what is done is kept, run the same command again to go on",
                a.options.output, signals.signal() == SIGINT ? "SIGINT" : "SIGTERM");
  for (const auto& file : s.skipped)
    std::fprintf(stderr, "skipped %zu of %lld images: %s\n", s.skipped.size(),
                 static_cast<long long>(s.found), file.reason.c_str());
  if (s.embedded == 0)
    throw_error("{}: nothing written, none of the {} images can be read", a.options.output, s.found);
  if (!a.json) {
    fmt::print("{}: {} images\n", a.options.output, s.embedded);
    return;
  }
  json skipped = json::array();
  for (const auto& file : s.skipped) skipped.push_back({{"name", file.name}, {"reason", file.reason}});
  print({{"output", a.options.output},
         {"images", s.embedded},
         {"found", s.found},
         {"resumed", s.resumed},
         {"skipped", std::move(skipped)}});
}

void embed_texts(const Arguments& a) {
  VITRAL_CHECK(a.encoder.weights.empty() && a.sources.inputs.empty(),
               "{}: texts are embedded by CLIP alone; leave out WEIGHTS and IMAGES, or --text",
               a.encoder.weights);
  VITRAL_CHECK(!a.options.scaled_decode, "--scaled-decode: texts have no pixels; leave it out");
  VITRAL_CHECK(!a.options.patches, "--patches: texts have no patches; leave it out");
  check_output(a.options.output, a.texts.inputs());
  const infer::TextEmbeddings texts = a.texts.load(a.encoder.device);
  infer::write_texts(a.options.output, texts);
  if (a.json)
    print({{"output", a.options.output}, {"texts", texts.size()}, {"width", texts.width()}});
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
  command.option("images", a->sources.inputs, "folders and files (JPEG, PNG)").type_name("IMAGES");
  command
      .option("-o,--output", a->options.output,
              "HDF5 file to write: /names, /embeddings, /probs; for texts /texts, /embeddings")
      .required();
  command.flag("--patches", a->options.patches, "also /patch_embeddings");
  command.flag(
      "--scaled-decode", a->options.scaled_decode,
      "decode large JPEG files at 1/2, 1/4 or 1/8 of their size: faster, not exactly Pillow's pixels");
  command.option("--batch", a->options.batch_size, "images at once").shows_default().at_least(1);
  command.flag("--restart", a->options.restart, "forget what an interrupted run has done");
  a->texts.add_to(command, false);
  command.flag("--json", a->json, "a summary as one JSON object");
  command.run([a] {
    if (a->texts.given())
      embed_texts(*a);
    else
      embed_images(*a);
  });
}

}  // namespace vitral::cli
