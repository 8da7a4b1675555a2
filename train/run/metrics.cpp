#include "train/run/metrics.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files/atomic.h"

namespace vitral::train {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;  // the keys stay in the order they are given in

struct Record {
  std::int64_t step;
  bool validation;
};

/// What kind of record a line is; nothing where it is none.
std::optional<Record> parse_record(const std::string& line) {
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) return std::nullopt;
  const auto step = object.find("step");
  if (step == object.end() || !step->is_number_integer()) return std::nullopt;
  return Record{step->get<std::int64_t>(), object.value("kind", json()) == "val"};
}

/// Drops the records after the point of the resume and a torn last line.
void rewind(const std::string& path, ResumePoint resume, std::vector<std::string>* warnings) {
  if (!std::filesystem::exists(path)) return;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_error("{}: cannot be read: {}", path, std::strerror(errno));
  std::string kept, damaged;
  std::string line;
  bool changed = false;
  std::size_t first_damaged = 0;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    const bool whole = !file.eof();  // a line break follows
    const auto record = parse_record(line);
    if (!record && whole) {
      damaged += line + '\n';
      if (first_damaged == 0) first_damaged = number;
    }
    const bool keep =
        record && (record->step < resume.step ||
                   (record->step == resume.step && !(resume.validation_pending && record->validation)));
    if (keep) kept += line + '\n';
    changed = changed || !keep || !whole;
  }
  if (file.bad()) throw_error("{}: cannot be read: {}", path, std::strerror(errno));
  file.close();
  if (!damaged.empty()) {
    AppendFile aside(path + ".damaged", AppendFile::Mode::append);
    aside.write(damaged);
    aside.sync();
    if (warnings)
      warnings->push_back(
          fmt::format("{}:{}: is no record with a step; what could not be read went to {}.damaged", path,
                      first_damaged, path));
  }
  if (changed) write_file_atomic(path, kept);
}

std::string prepare(const std::string& path, ResumePoint resume, std::vector<std::string>* warnings) {
  if (resume.step >= 0) {
    rewind(path, resume, warnings);
  } else {
    std::error_code problem;
    const auto size = std::filesystem::file_size(path, problem);
    if (!problem && size > 0)
      throw_error<UsageError>("{}: holds a run already; resume it, or choose another train.output", path);
  }
  return path;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::string& path, ResumePoint resume, std::vector<std::string>* warnings)
    : file_(prepare(path, resume, warnings), AppendFile::Mode::append) {}

void MetricsWriter::train(const TrainRecord& r) {
  ordered_json object{{"kind", "train"}, {"step", r.step}, {"epoch", r.epoch}, {"loss", r.loss}};
  for (const auto& [name, value] : r.terms) object["loss." + name] = value;
  object["grad_norm"] = r.grad_norm;
  object["lr"] = r.lr;
  object["images_per_second"] = r.images_per_second;
  object["data_wait"] = r.data_wait;
  if (r.processes > 1) {
    object["processes"] = r.processes;
    object["wait"] = r.wait;
  }
  file_.write(object.dump() + '\n');
}

void MetricsWriter::val(const ValRecord& r) {
  ordered_json object{{"kind", "val"}, {"step", r.step}, {"epoch", r.epoch}};
  for (const auto& [name, value] : r.values) object[name] = value;
  file_.write(object.dump() + '\n');
}

}  // namespace vitral::train
