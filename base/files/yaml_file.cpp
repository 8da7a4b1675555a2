#include "base/files/yaml_file.h"

#include <algorithm>
#include <filesystem>
#include <sstream>

#include <yaml-cpp/eventhandler.h>

#include "base/error.h"
#include "base/files/text_file.h"
#include "base/text.h"

namespace vitral {
namespace {

constexpr std::size_t largest_file = 1 << 20;  // bytes: more is a mistaken argument

std::string read_whole(const std::string& path, const std::string& what) {
  std::error_code problem;
  const auto status = std::filesystem::status(path, problem);
  if (status.type() == std::filesystem::file_type::none)
    throw_error<UsageError>("{}: cannot be read: {}", path, problem.message());
  if (!std::filesystem::exists(status)) throw_error<UsageError>("{}: no such {} file", path, what);
  if (std::filesystem::is_directory(status))
    throw_error<UsageError>("{}: is a directory, name the {} file in it", path, what);
  if (std::filesystem::is_regular_file(status) && std::filesystem::file_size(path, problem) > largest_file)
    throw_error<UsageError>("{}: is no {}: larger than {} KiB", path, what, largest_file / 1024);
  return read_text(path, largest_file);
}

// Not YAML::LoadAll: it never ends where a document is followed by a stray comma or bracket (yaml-cpp issue
// 1040).
bool more_than_one_document(const std::string& text) {
  struct Silent : YAML::EventHandler {
    void OnDocumentStart(const YAML::Mark&) override {}
    void OnDocumentEnd() override {}
    void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
    void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
    void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
    void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                         YAML::EmitterStyle::value) override {}
    void OnSequenceEnd() override {}
    void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                    YAML::EmitterStyle::value) override {}
    void OnMapEnd() override {}
  } silent;
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  return parser.HandleNextDocument(silent) && parser.HandleNextDocument(silent);
}

}  // namespace

YAML::Node read_yaml_file(const std::string& path, const std::string& what) {
  const std::string text = read_whole(path, what);
  try {
    const YAML::Node document = YAML::Load(text);
    if (more_than_one_document(text))
      throw_error<UsageError>("{}: more than one YAML document, or something stray behind it; a {} is one",
                              path, what);
    return document;
  } catch (const YAML::Exception& e) {
    throw_error<UsageError>("{}:{}: not valid YAML: {}", path, std::max(e.mark.line + 1, 1),
                            shown(e.msg, 200));
  }
}

}  // namespace vitral
