#include "train/run/metrics.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/error.h"

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

void sync_folder(const std::string& file) {
  const auto folder = std::filesystem::absolute(file).parent_path();
  const int handle = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0) return;  // the rename stands either way, only less surely after a power cut
  ::fsync(handle);
  ::close(handle);
}

void replace(const std::string& path, const std::string& content) {
  const std::string temporary = path + ".tmp";
  std::remove(temporary.c_str());  // of a resume that was killed
  try {
    AppendFile file(temporary, AppendFile::Mode::create);
    file.write(content);
    file.sync();
  } catch (...) {
    std::remove(temporary.c_str());
    throw;
  }
  if (std::rename(temporary.c_str(), path.c_str()) != 0)
    throw_error("{}: cannot be replaced: {}", path, std::strerror(errno));
  sync_folder(path);
}

/// Drops the records after the point of the resume and a torn last line.
void rewind(const std::string& path, ResumePoint resume) {
  if (!std::filesystem::exists(path)) return;
  std::ifstream file(path, std::ios::binary);
  if (!file) throw_error("{}: cannot be read: {}", path, std::strerror(errno));
  std::string kept;
  std::string line;
  bool changed = false;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    const bool whole = !file.eof();  // a line break follows
    const auto record = parse_record(line);
    if (!record && whole)
      throw_error("{}:{}: is no record with a step; repair or remove this line, then resume", path, number);
    const bool keep =
        record && (record->step < resume.step ||
                   (record->step == resume.step && !(resume.validation_pending && record->validation)));
    if (keep) kept += line + '\n';
    changed = changed || !keep || !whole;
  }
  if (file.bad()) throw_error("{}: cannot be read: {}", path, std::strerror(errno));
  file.close();
  if (changed) replace(path, kept);
}

std::string prepare(const std::string& path, ResumePoint resume) {
  if (resume.step >= 0) {
    rewind(path, resume);
  } else {
    std::error_code problem;
    const auto size = std::filesystem::file_size(path, problem);
    if (!problem && size > 0)
      throw_error<UsageError>("{}: holds a run already; resume it, or choose another train.output", path);
  }
  return path;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::string& path, ResumePoint resume)
    : file_(prepare(path, resume), AppendFile::Mode::append) {}

void MetricsWriter::train(const TrainRecord& r) {
  ordered_json object{{"kind", "train"}, {"step", r.step}, {"epoch", r.epoch}, {"loss", r.loss}};
  for (const auto& [name, value] : r.terms) object["loss." + name] = value;
  object["lr"] = r.lr;
  object["images_per_second"] = r.images_per_second;
  object["data_wait"] = r.data_wait;
  file_.write(object.dump() + '\n');
}

void MetricsWriter::val(const ValRecord& r) {
  ordered_json object{{"kind", "val"}, {"step", r.step}, {"epoch", r.epoch}};
  for (const auto& [name, value] : r.values) object[name] = value;
  file_.write(object.dump() + '\n');
}

}  // namespace vitral::train
