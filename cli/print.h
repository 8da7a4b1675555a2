// What several subcommands print.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/signals.h"
#include "data/image_files.h"

namespace vitral::cli {

/// One JSON object on one line. Names of files need not be UTF-8; what is not is replaced.
void print_json(const nlohmann::json& object);
void print_json(const nlohmann::ordered_json& object);

/// [{"name": .., "reason": ..}]
nlohmann::json json_of(const std::vector<data::SkippedFile>& skipped);
/// A line each on stderr: "skipped 2 of 40 images: a.png: ...".
void report_skipped(const std::vector<data::SkippedFile>& skipped, std::int64_t found);

/// {".mp4": 3}
nlohmann::json json_of(const data::LeftOut& left_out);
/// One line on stderr where there is something: "left out: 3 .mp4".
void report_left_out(const data::LeftOut& left_out);

/// Of work that goes on where an earlier run was interrupted, on stderr where it did.
void report_resumed(std::int64_t images);
/// Error: a signal has stopped the work on `output`, run it again.
[[noreturn]] void throw_stopped(const std::string& output, int signal);

}  // namespace vitral::cli
