#include "infer/show/run_record.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <limits>
#include <sstream>

#include <nlohmann/json.hpp>

#include "base/files/input_file.h"

namespace vitral::infer {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t longest_record = std::uint64_t{1} << 34;  // bytes of metrics.jsonl

double number(const json& record, const char* key) {
  const auto found = record.find(key);
  return found != record.end() && found->is_number() ? found->get<double>()
                                                     : std::numeric_limits<double>::quiet_NaN();
}

void add(const json& record, RunRecord& run) {
  const std::string kind = record.contains("kind") && record["kind"].is_string() ? record["kind"] : "";
  const double step = number(record, "step");
  if (!std::isfinite(step)) return;
  if (kind == "train") {
    run.train.step.push_back(step);
    run.train.loss.push_back(number(record, "loss"));
    run.train.lr.push_back(number(record, "lr"));
    run.train.images_per_second.push_back(number(record, "images_per_second"));
  } else if (kind == "val") {
    run.val.step.push_back(step);
    run.val.loss.push_back(number(record, "loss"));
    run.val.cosine.push_back(number(record, "cosine"));
  }
}

// Every k-th line and the last.
void thin(RunRecord::Train& train, std::size_t max_lines) {
  const std::size_t count = train.step.size();
  if (count <= max_lines || max_lines < 2) return;
  std::vector<std::size_t> kept;
  for (std::size_t i = 0; i < max_lines; ++i) kept.push_back(i * (count - 1) / (max_lines - 1));
  for (auto* column : {&train.step, &train.loss, &train.lr, &train.images_per_second}) {
    for (std::size_t i = 0; i < max_lines; ++i) (*column)[i] = (*column)[kept[i]];
    column->resize(max_lines);
  }
}

// events.out.tfevents.TIME.HOST
std::string first_day(const std::string& folder) {
  constexpr std::string_view prefix = "events.out.tfevents.";
  std::time_t first = std::numeric_limits<std::time_t>::max();
  std::error_code why;
  for (fs::directory_iterator entry(folder, why), last; !why && entry != last; entry.increment(why)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix)) continue;
    std::time_t time = 0;
    const auto [end, problem] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), time);
    if (problem == std::errc() && time > 0) first = std::min(first, time);
  }
  if (why) throw_error<ReadError>("{}: cannot be read: {}; check the disk", folder, why.message());
  std::tm day{};
  char text[16];
  if (first == std::numeric_limits<std::time_t>::max() || !gmtime_r(&first, &day)) return "";
  return {text, std::strftime(text, sizeof text, "%Y-%m-%d", &day)};
}

}  // namespace

std::optional<std::size_t> RunRecord::best() const {
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < val.loss.size(); ++i)
    if (std::isfinite(val.loss[i]) && (!found || val.loss[i] < val.loss[*found])) found = i;
  return found;
}

bool is_run(const std::string& path) {
  return fs::is_regular_file(file_status((fs::path(path) / "metrics.jsonl").string()));
}

RunRecord read_run(const std::string& folder, std::size_t max_lines) {
  const std::string path = (fs::path(folder) / "metrics.jsonl").string();
  if (!is_run(folder))
    throw_error<UsageError>("{}: holds no metrics.jsonl; name the folder of a run, as runs/student", folder);
  std::istringstream file(read_text_file(path, longest_record));
  RunRecord run;
  std::string line;
  for (std::int64_t number = 1; std::getline(file, line); ++number) {
    const json record = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (record.is_object())
      add(record, run);
    else if (!file.eof())
      throw_error("{}:{}: is no record of a run; repair or remove this line", path, number);
  }
  thin(run.train, max_lines);
  run.began = first_day(folder);
  return run;
}

}  // namespace vitral::infer
