#include "cli/profile_print.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace vitral::cli {
namespace {

using nlohmann::ordered_json;

// Where the time of the steps went that no kernel accounts for.
struct Remainder {
  double data, other;  // seconds: waiting for data, and the rest
};

Remainder remainder_of(const Profile& profile, const train::RunSummary& run) {
  double left = profile.seconds();
  for (const OperationProfile& o : profile.operations()) left -= o.seconds;
  const double data = std::clamp(run.data_wait * run.seconds, 0.0, std::max(left, 0.0));
  return {data, std::max(left - data, 0.0)};
}

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

// Products by their arithmetic, what moves memory by its bytes; in 1e9 a second.
double rate(const OperationProfile& o) { return ratio((o.flops > 0 ? o.flops : o.bytes) / 1e9, o.seconds); }

constexpr double least_share = 5e-4;  // what is shown as 0.0 % is too short for a rate

std::string rate_text(const OperationProfile& o, double total) {
  if (o.seconds < least_share * total) return "-";
  return fmt::format("{:.1f} {}", rate(o), o.flops > 0 ? "GFLOP/s" : "GB/s");
}

void print_row(const std::string& name, const std::string& calls, double seconds, double total,
               const std::string& each = {}, const std::string& rate = {}) {
  const std::string line = fmt::format("{:<44}{:>9}{:>12.3f}{:>9.1f} %{:>12}{:>17}", name, calls, seconds,
                                       100 * ratio(seconds, total), each, rate);
  fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
}

void print_rows(const std::vector<OperationProfile>& operations, double total, int depth) {
  for (const OperationProfile& o : operations) {
    const double each = ratio(1e3 * o.seconds, static_cast<double>(o.calls));
    print_row(std::string(static_cast<std::size_t>(2 * depth), ' ') + o.name, std::to_string(o.calls),
              o.seconds, total, fmt::format("{:.3f}", each), rate_text(o, total));
    print_rows(o.inside, total, depth + 1);
  }
}

ordered_json rows(const std::vector<OperationProfile>& operations, double total) {
  ordered_json out = ordered_json::array();
  for (const OperationProfile& o : operations)
    out.push_back({{"name", o.name},
                   {"calls", o.calls},
                   {"seconds", o.seconds},
                   {"share", ratio(o.seconds, total)},
                   {"flops", o.flops},
                   {"bytes", o.bytes},
                   {o.flops > 0 ? "gflops_per_second" : "gb_per_second", rate(o)},
                   {"inside", rows(o.inside, total)}});
  return out;
}

}  // namespace

void print_table(const Profile& profile, const train::RunSummary& run) {
  const double total = profile.seconds();
  const Remainder left = remainder_of(profile, run);
  fmt::print("\nprofile of {} training step{}: {:.3f} s, {:.1f} ms a step\n", run.steps_now,
             run.steps_now == 1 ? "" : "s", total, ratio(1e3 * total, static_cast<double>(run.steps_now)));
  fmt::print("{:<44}{:>9}{:>12}{:>11}{:>12}{:>17}\n", "operation", "calls", "seconds", "share", "ms a call",
             "rate");
  print_rows(profile.operations(), total, 0);
  print_row("waiting for data", "", left.data, total);
  print_row("outside of kernels", "", left.other, total);
}

ordered_json to_json(const Profile& profile, const train::RunSummary& run) {
  const Remainder left = remainder_of(profile, run);
  return {{"steps", run.steps_now},
          {"seconds", profile.seconds()},
          {"data_wait_seconds", left.data},
          {"other_seconds", left.other},
          {"operations", rows(profile.operations(), profile.seconds())}};
}

}  // namespace vitral::cli
