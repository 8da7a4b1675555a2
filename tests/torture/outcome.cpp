#include "tests/torture/outcome.h"

#include <filesystem>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "tests/hdf5_contents.h"
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

std::string checksum(const std::string& bytes) {
  return fmt::format("{} bytes, {:016x}", bytes.size(), hash_of(bytes));
}

}  // namespace

std::string contents_of(const std::string& path) {
  const std::string name = fs::path(path).filename();
  try {
    if (name.ends_with(".h5")) return test::hdf5_contents(path);
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

Outcome end_of_training(const std::string& run) {
  Outcome out;
  for (const auto& [name, contents] : outcome_of(run))
    if (name.find("step-000000030/") != std::string::npos || name.ends_with("metrics.jsonl") ||
        name.ends_with("latest"))
      out[name] = contents;
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
