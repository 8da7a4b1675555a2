#include <cstdio>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/common.h"
#include "infer/embed_files.h"

namespace vitral::cli {

void add_embed(CLI::App& app) {
  struct Arguments {
    EncoderArguments encoder;
    data::PackOptions sources;
    infer::EmbedOptions options;
    bool json = false;
  };
  auto a = std::make_shared<Arguments>();
  auto* command = add_command(app, "embed", "embeds image files, into an HDF5 file",
                              "vitral embed runs/student photos/ -o photos.h5 --patches");
  a->encoder.add_to(*command);
  command->add_option("images", a->sources.inputs, "folders and files (JPEG, PNG)")
      ->required()
      ->type_name("IMAGES");
  command->add_option("-o,--output", a->options.output, "HDF5 file to write: /names, /embeddings, /probs")
      ->required();
  command->add_flag("--patches", a->options.patches, "also /patch_embeddings");
  command->add_option("--batch", a->options.batch_size, "images at once")
      ->capture_default_str()
      ->check(at_least(1));
  command->add_flag("--json", a->json, "a summary as one JSON object");
  command->callback([a] {
    auto inputs = a->sources.inputs;
    inputs.push_back(a->encoder.weights);
    check_output(a->options.output, inputs);
    const infer::Encoder encoder = a->encoder.load();
    const auto images = data::list_images(a->sources);
    a->options.weights = a->encoder.weights;
    a->options.progress = terminal_counter("embedded");
    const infer::EmbedSummary s = infer::embed_files(encoder, images, a->options);
    for (const auto& file : s.skipped)
      std::fprintf(stderr, "skipped %zu of %lld images: %s\n", s.skipped.size(),
                   static_cast<long long>(s.found), file.reason.c_str());
    if (s.embedded == 0)
      throw_error("{}: nothing written, none of the {} images can be read", a->options.output, s.found);
    if (!a->json) {
      fmt::print("{}: {} images\n", a->options.output, s.embedded);
      return;
    }
    nlohmann::json skipped = nlohmann::json::array();
    for (const auto& file : s.skipped) skipped.push_back({{"name", file.name}, {"reason", file.reason}});
    const nlohmann::json out = {{"output", a->options.output},
                                {"images", s.embedded},
                                {"found", s.found},
                                {"skipped", std::move(skipped)}};
    fmt::print("{}\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  });
}

}  // namespace vitral::cli
