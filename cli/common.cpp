#include "cli/common.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/files/input_file.h"
#include "base/terminal.h"
#include "base/text.h"
#include "models/precision.h"

namespace vitral::cli {

namespace {

std::string flag_of(const Field<models::StudentConfig>& field) {
  if (field.name == "heads") return "--student-heads";  // --heads is that of a teacher or CLIP
  std::string flag = "--" + field.name;
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

// What the field's row in the table says of valid values.
std::string problem_of(const Field<models::StudentConfig>& field, const std::string& text) {
  try {
    models::StudentConfig ignored;
    with_yaml(text, [&](const YAML::Node& node) { field.read(node, ignored); });
    return "";
  } catch (const BadValue& bad) {
    return bad.text;
  }
}

}  // namespace

void StudentFlags::add_to(Command& command) {
  for (const auto& field : models::student_fields())
    if (!field.flag.empty())
      command.option(flag_of(field), texts_[field.name], "override the file: " + field.flag)
          .valid([&field](const std::string& text) { return problem_of(field, text); });
}

models::StudentOverrides StudentFlags::values() const {
  models::StudentOverrides given = texts_;
  std::erase_if(given, [](const auto& flag) { return flag.second.empty(); });
  return given;
}

std::string StudentFlags::names() {
  std::vector<std::string> flags;
  for (const auto& field : models::student_fields())
    if (!field.flag.empty()) flags.push_back(flag_of(field));
  const std::string last = flags.back();
  flags.pop_back();
  return fmt::format("{} and {}", fmt::join(flags, ", "), last);
}

Option PrecisionArgument::add_to(Command& command) {
  return command
      .option(
          "--precision", text,
          "of image towers: fp32, tf32 or bf16, in which matrix products (tf32) and activations (bf16) are; "
          "tf32 needs a GPU")
      .shows_default()
      .one_of({"fp32", "tf32", "bf16"});
}

DType PrecisionArgument::use(const std::string& device) const {
  std::string why;
  const Device where = parse_device(device, &why);
  models::check_precision(text, where, "--precision", why);
  return models::use_precision(text);
}

void EncoderArguments::add_to(Command& command) {
  command.option("weights", weights, "run folder, checkpoint, .safetensors or .pt")
      .required()
      .type_name("WEIGHTS");
  command.option("--device", device, "cpu, cuda, cuda:N or auto").shows_default();
  precision.add_to(command);
  student.add_to(command);
  command.option("--temperature", temperature, "of the softmax over patches").shows_default().positive();
}

models::Encoder EncoderArguments::load() const {
  return models::Encoder::load(weights, parse_device(device), student.values(), temperature,
                               precision.use(device));
}

Option ExifArgument::add_to(Command& command) {
  return command
      .option("--exif", text,
              "apply: turn photographs as their camera has noted it (Exif orientation); or ignore")
      .shows_default()
      .one_of({"apply", "ignore"});
}

void DatasetArguments::add_to(Command& command) {
  add_images_to(command);
  command
      .option("--embeddings", names.embeddings,
              "of HDF5 files with other names: the dataset of embeddings; default: /embeddings")
      .type_name("NAME")
      .is_text();
}

void DatasetArguments::add_images_to(Command& command) {
  command
      .option("--images", names.images,
              "of HDF5 files with other names: the dataset of images; default: /images or /encoded")
      .type_name("NAME")
      .is_text();
}

void check_output(const std::string& output, const std::vector<std::string>& inputs) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const std::string folder = fs::path(output).parent_path().string();
  if (!folder.empty() && !fs::is_directory(folder, ignored))
    throw_error<UsageError>("{}: cannot be created, there is no folder {}; create it first", output, folder);
  if (fs::is_directory(output, ignored)) throw_error<UsageError>("{}: is a directory, name a file", output);
  for (const auto& input : inputs)
    if (fs::equivalent(output, input, ignored))
      throw_error<UsageError>("{}: is one of the inputs; name another file for the output", output);
}

void check_output_folder(const std::string& folder, std::span<const char* const> files, bool force) {
  namespace fs = std::filesystem;
  const auto status = file_status(folder);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status)) throw_error<UsageError>("{}: is no folder; name one", folder);
  std::error_code why;
  bool empty = true;
  for (fs::directory_iterator entry(folder, why), end; !why && entry != end; entry.increment(why)) {
    const std::string name = entry->path().filename().string();
    if (std::ranges::find(files, name) == files.end())
      throw_error<UsageError>("{}: holds '{}', which is none of the files to be written; name another folder",
                              folder, shown(name));
    empty = false;
  }
  if (why)
    throw_error<UsageError>("{}: cannot be read: {}; check the path and its permissions", folder,
                            why.message());
  if (!empty && !force)
    throw_error<UsageError>("{}: is there already; give --force to replace it, or name another folder",
                            folder);
}

AtomicDirectory output_folder(const std::string& folder) {
  namespace fs = std::filesystem;
  // Of a link the folder that it names is replaced.
  fs::path path = fs::weakly_canonical(fs::absolute(folder));
  if (!path.has_filename()) path = path.parent_path();
  create_folders(path.parent_path().string());
  return AtomicDirectory(path.string());
}

std::function<void(std::int64_t, std::int64_t)> terminal_counter(const std::string& what) {
  if (!can_redraw(stderr)) return {};
  return [what](std::int64_t done, std::int64_t total) {
    const std::string count = fmt::format("{}/{}", done, total);
    redraw(stderr, longest_that_fits({what + " " + count, count}, columns_of(stderr)));
    if (done == total) std::fputc('\n', stderr);
  };
}

}  // namespace vitral::cli
