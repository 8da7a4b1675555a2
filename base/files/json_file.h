// Small JSON files: configurations, tables of contents.
#pragma once
#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace vitral {

/// The object in a file, read as base/files/text_file.h reads texts. Error: it is larger than `limit` bytes,
/// or no JSON object; UsageError: it cannot be opened.
nlohmann::json read_json_object(const std::string& path, std::uint64_t limit = 1 << 20);

}  // namespace vitral
