#include "tests/torture/outcome.h"

#include <filesystem>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "data/hdf5/file.h"
#include "tests/support.h"

namespace vitral::torture {
namespace {

namespace fs = std::filesystem;

// Damaged lines are themselves.
std::string metrics(const std::string& text) {
  std::string out, line;
  for (std::istringstream lines(text); std::getline(lines, line);) {
    auto record = nlohmann::json::parse(line, nullptr, false);
    if (record.is_object()) {
      record.erase("images_per_second");
      record.erase("data_wait");
      record.erase("processes");
      record.erase("wait");
    }
    out += (record.is_discarded() ? line : record.dump()) + "\n";
  }
  return out;
}

std::string hdf5(const std::string& path) {
  const data::H5File file = data::H5File::open(path);
  std::string out;
  for (const auto& entry : file.contents()) {
    out += fmt::format("{} {} {}", entry.name, entry.dtype, entry.shape);
    if (entry.dtype == "other")
      for (const auto& text : file.read_strings(entry.name)) out += " " + text;
    else if (const Tensor values = file.read(entry.name); values.numel() > 0)
      out += fmt::format(" {:016x}", hash_of({static_cast<const char*>(values.raw()),
                                              static_cast<std::size_t>(values.bytes())}));
    out += "\n";
  }
  for (const char* name : {"teacher", "teacher_tower", "plain_transform", "model", "transform", "exif"})
    if (const auto value = file.attribute(name)) out += fmt::format("{} = {}\n", name, *value);
  return out;
}

std::string checksum(const std::string& bytes) {
  return fmt::format("{} bytes, {:016x}", bytes.size(), hash_of(bytes));
}

}  // namespace

std::string contents_of(const std::string& path) {
  const std::string name = fs::path(path).filename();
  try {
    if (name.ends_with(".h5")) return hdf5(path);
    const std::string bytes = test::bytes_of_file(path);
    if (name == "metrics.jsonl") return metrics(bytes);
    return bytes.size() <= 64 ? bytes : checksum(bytes);
  } catch (const std::exception& e) {
    return e.what();
  }
}

Outcome outcome_of(const std::string& folder) {
  Outcome out;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = fs::relative(entry.path(), folder);
    if (!entry.is_directory() && name.find("events.out.tfevents") == std::string::npos)
      out[name] = contents_of(entry.path());
  }
  return out;
}

std::string difference(const Outcome& expected, const Outcome& there) {
  std::string out;
  for (const auto& [name, contents] : expected) {
    const auto found = there.find(name);
    if (found == there.end())
      out += name + " is missing\n";
    else if (found->second != contents)
      out += fmt::format("{} is\n{}\nand should be\n{}\n", name, found->second, contents);
  }
  for (const auto& [name, contents] : there)
    if (!expected.contains(name)) out += name + " should not be there\n";
  return out;
}

}  // namespace vitral::torture
