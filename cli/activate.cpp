#include <memory>

#include "cli/common.h"
#include "data/image.h"
#include "infer/activations.h"

namespace vitral::cli {

void add_activate(CLI::App& app) {
  struct Arguments {
    EncoderArguments encoder;
    std::vector<std::string> files;
    infer::ActivationRequest request;
    infer::ActivationOptions picture;
    std::string output;
  };
  auto a = std::make_shared<Arguments>();
  auto* command =
      add_command(app, "activate", "draws what each patch of an image says about a dataset's concepts",
                  "vitral activate runs/shapes shapes/val.h5 --concept 'red circle' -o activations.png");
  a->encoder.add_to(*command);
  command->add_option("files", a->files, "dataset files (HDF5) with /concepts")
      ->required()
      ->type_name("FILE");
  command->add_option("-o,--output", a->output, "PNG to write")->required();
  command
      ->add_option("--concept", a->request.concepts,
                   "names from /concepts/names; default: those of the image's objects")
      ->type_name("NAME");
  command->add_option("--image", a->request.images, "images by number; default: those with most objects")
      ->check(at_least(0));
  command->add_option("--count", a->request.count, "how many images, without --image")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command->add_option("--cell", a->picture.cell, "pixels a side of an image in the picture")
      ->capture_default_str()
      ->check(CLI::Range(32, 2048));
  command->callback([a] {
    auto inputs = a->files;
    inputs.push_back(a->encoder.weights);
    check_output(a->output, inputs);
    const data::Dataset dataset = data::Dataset::open(a->files);
    const infer::Encoder encoder = a->encoder.load();
    const auto rows = infer::concept_activations(encoder, dataset, a->request);
    data::write_png(a->output, infer::draw_activations(rows, a->picture));
    fmt::print("{}: activations of {} images\n", a->output, rows.size());
  });
}

}  // namespace vitral::cli
