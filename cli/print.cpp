#include "cli/print.h"

#include <cstdio>

#include "base/error.h"
#include "base/json_text.h"

namespace vitral::cli {

void print_json(const nlohmann::json& object) { std::printf("%s\n", json_text(object).c_str()); }
void print_json(const nlohmann::ordered_json& object) { std::printf("%s\n", json_text(object).c_str()); }

nlohmann::json json_of(const std::vector<data::SkippedFile>& skipped) {
  nlohmann::json out = nlohmann::json::array();
  for (const auto& file : skipped) out.push_back({{"name", file.name}, {"reason", file.reason}});
  return out;
}

void report_skipped(const std::vector<data::SkippedFile>& skipped, std::int64_t found) {
  for (const auto& file : skipped)
    std::fprintf(stderr, "skipped %zu of %lld images: %s\n", skipped.size(), static_cast<long long>(found),
                 file.reason.c_str());
}

nlohmann::json json_of(const data::LeftOut& left_out) {
  nlohmann::json out = nlohmann::json::object();
  for (const auto& [kind, count] : left_out) out[kind] = count;
  return out;
}

void report_left_out(const data::LeftOut& left_out) {
  if (!left_out.empty()) std::fprintf(stderr, "%s\n", data::describe(left_out).c_str());
}

void report_resumed(std::int64_t images) {
  if (images > 0)
    std::fprintf(stderr, "went on after the %lld images of an earlier run\n", static_cast<long long>(images));
}

void throw_stopped(const std::string& output, int signal) {
  throw_error("{}: stopped by {}; what is done is kept, run the same command again to go on", output,
              signal_name(signal));
}

}  // namespace vitral::cli
