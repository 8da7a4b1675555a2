#include "data/pack.h"

#include <charconv>
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/print.h"

namespace vitral::cli {
namespace {

std::pair<std::string, std::int64_t> parse_limit(const std::string& text) {
  const std::size_t at = text.rfind('=');
  std::int64_t count = -1;
  if (at != std::string::npos && at > 0) {
    const char* end = text.data() + text.size();
    const auto [stop, why] = std::from_chars(text.data() + at + 1, end, count);
    if (why != std::errc{} || stop != end) count = -1;
  }
  if (count < 0) throw_error<UsageError>("--limit {}: must be PATTERN=N, for example 'cats/*=100'", text);
  return {text.substr(0, at), count};
}

void print_summary(const data::PackOptions& options, const data::PackSummary& summary, bool as_json) {
  if (!as_json) {
    std::printf("%s: %lld images\n", options.output.c_str(), static_cast<long long>(summary.train));
    if (!options.val_output.empty())
      std::printf("%s: %lld images\n", options.val_output.c_str(), static_cast<long long>(summary.val));
    if (options.annotations.given())
      std::printf("%lld concepts, %lld objects, %lld masks\n", static_cast<long long>(summary.concepts),
                  static_cast<long long>(summary.objects), static_cast<long long>(summary.masks));
    if (summary.captions > 0)
      std::printf("%lld captions, %lld images without\n", static_cast<long long>(summary.captions),
                  static_cast<long long>(summary.train + summary.val - summary.captioned));
    return;
  }
  nlohmann::json out = {{"output", options.output},
                        {"images", summary.train},
                        {"found", summary.found},
                        {"skipped", json_of(summary.skipped)},
                        {"left_out", json_of(summary.left_out)}};
  if (!options.val_output.empty()) {
    out["val_output"] = options.val_output;
    out["val_images"] = summary.val;
  }
  if (summary.captions > 0) {
    out["captions"] = summary.captions;
    out["without_caption"] = summary.train + summary.val - summary.captioned;
  }
  if (options.annotations.given()) {
    out["concepts"] = summary.concepts;
    out["objects"] = summary.objects;
    out["masks"] = summary.masks;
  }
  print_json(out);
}

void add_annotations(Command& command, data::AnnotationOptions& to) {
  command
      .option(
          "--voc", to.voc,
          "a folder as Pascal VOC's, instead of IMAGES: JPEGImages, Annotations (boxes), SegmentationClass "
          "(masks)")
      .type_name("DIR");
  command.option("--split", to.split, "of --voc: a list of its images, as ImageSets/Segmentation/val.txt")
      .type_name("FILE");
  command.option("--coco", to.coco, "an instances file of COCO, instead of IMAGES: boxes and masks")
      .type_name("FILE");
  command.option("--images", to.images, "of --coco: the folder of its images").type_name("DIR");
  command
      .option("--label-maps", to.label_maps,
              "a folder with a PNG of class numbers for each image, called as it is: ADE20K, Pascal Context, "
              "COCO-Stuff, Cityscapes")
      .type_name("DIR");
  command
      .option("--classes", to.classes,
              "of --label-maps, and of a --voc with other classes: their names, one a line; a,b are two "
              "names of one")
      .type_name("FILE");
  command
      .option("--ignore", to.ignore,
              "of --label-maps: a value of pixels that are not known (repeatable); default 255")
      .type_name("V")
      .takes_one_each_time();
  command.flag("--zero-is-class", to.zero_is_class, "of --label-maps: 0 is the first class, not 1");
}

}  // namespace

void add_pack(Program& program) {
  struct Arguments {
    data::PackOptions pack;
    std::vector<std::string> limits;
    std::string list;
    ExifArgument exif;
    bool json = false;
  };
  auto args = std::make_shared<Arguments>();
  Command command = program.command("pack", "writes image files into an HDF5 dataset",
                                    "vitral pack photos/ -o train.h5 --size 300 --val 0.1 --val-out val.h5");
  command.option(
      "IMAGES", args->pack.inputs,
      "folders (all images in them), files, and archives of them (.tar, .tar.gz, .zip); -: --list -");
  command
      .option("--list", args->list,
              "a file that names images, folders and archives, one a line, or ended by NUL bytes; -: "
              "standard input")
      .type_name("FILE");
  add_annotations(command, args->pack.annotations);
  command
      .option("--captions", args->pack.captions,
              "image name<TAB>caption, open_clip's CSV, JSON lines, or a captions file of COCO; default: "
              "the lines of NAME.txt beside an image, and what archives have")
      .type_name("FILE");
  command.option("-o,--output", args->pack.output, "the dataset file to write").required();
  const Option size =
      command.option("--size", args->pack.size, "store pixels, stretched to SIZE x SIZE").shows_default();
  const Option encoded =
      command.flag("--encoded", args->pack.encoded, "store the image files as they are").excludes(size);
  command
      .flag("--scaled-decode", args->pack.scaled_decode,
            "decode large JPEG files at 1/2, 1/4 or 1/8 of their size: faster, not exactly Pillow's pixels")
      .excludes(encoded);
  args->exif.add_to(command).excludes(encoded);
  command.option("--limit", args->limits, "PATTERN=N: at most N files whose name matches (repeatable)")
      .takes_one_each_time();
  command.option("--val", args->pack.val_fraction, "fraction of the images for validation");
  command.option("--val-out", args->pack.val_output, "the dataset file for them");
  command.flag("--force", args->pack.force, "replace existing files");
  command.flag("--json", args->json, "print the summary as JSON");
  command.run([args] {
    auto& options = args->pack;
    if (options.inputs == std::vector<std::string>{"-"} && args->list.empty())
      args->list = std::exchange(options.inputs, {}).front();
    if (!args->list.empty()) {
      const auto listed = data::read_path_list(args->list);
      options.inputs.insert(options.inputs.end(), listed.begin(), listed.end());
    }
    for (const auto& text : args->limits) options.limits.push_back(parse_limit(text));
    options.exif = args->exif.value();
    if (const auto counter = terminal_counter("packed"))
      options.progress = [counter](std::int64_t done, std::int64_t total) {
        if (done % 16 == 0 || done == total) counter(done, total);
      };
    const data::PackSummary summary = data::pack(options);
    report_skipped(summary.skipped, summary.found);
    report_left_out(summary.left_out);
    if (summary.found == 0)
      throw_error("pack: there are no images in {}", options.inputs.empty()
                                                         ? options.annotations.voc + options.annotations.coco
                                                         : options.inputs.front());
    if (!summary.written)
      throw_error("{}: nothing was written, no image is left for it: {} of {} cannot be packed",
                  summary.train == 0 ? options.output : options.val_output, summary.skipped.size(),
                  summary.found);
    print_summary(options, summary, args->json);
  });
}

}  // namespace vitral::cli
