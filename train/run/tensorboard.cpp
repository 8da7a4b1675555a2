#include "train/run/tensorboard.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/protobuf.h"

namespace vitral::train {
namespace {

using protobuf::field;

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78U : 0U);
    table[i] = crc;
  }
  return table;
}();

std::uint32_t masked_crc(std::string_view bytes) { return std::rotr(crc32c(bytes), 15) + 0xA282EAD8U; }

std::string scalar(std::string_view name, double value) {
  return field(1, field(1, name) + field(2, static_cast<float>(value)));
}

std::string session_start() { return field(7, field(1, std::int64_t{1})); }

double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// The time in the name of the newest event file, or 0.
std::int64_t newest_event_file(const std::string& folder) {
  constexpr std::string_view prefix = "events.out.tfevents.";
  std::int64_t newest = 0;
  std::error_code ignored;
  for (std::filesystem::directory_iterator file(folder, ignored), end; !ignored && file != end;
       file.increment(ignored)) {
    const std::string name = file->path().filename().string();
    std::int64_t time = 0;
    if (name.starts_with(prefix) &&
        std::from_chars(name.data() + prefix.size(), name.data() + name.size(), time).ec == std::errc())
      newest = std::max(newest, time);
  }
  return newest;
}

AppendFile new_event_file(const std::string& folder) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0 || host[0] == '\0') host = {"localhost"};
  // TensorBoard reads the files of a folder in the order of their names, which a clock that was set back, or
  // another machine's, must not turn round.
  const std::int64_t time = std::max(static_cast<std::int64_t>(wall_time()), newest_event_file(folder) + 1);
  const std::string stem = fmt::format("{}/events.out.tfevents.{:010d}.{}", folder, time, host.data());
  for (int attempt = 0;; ++attempt) {
    std::string path = attempt == 0 ? stem : fmt::format("{}.{:03d}", stem, attempt);
    if (!std::filesystem::exists(path)) return {std::move(path), AppendFile::Mode::create};
  }
}

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (const char c : bytes) crc = (crc >> 8) ^ crc_table[(crc ^ static_cast<unsigned char>(c)) & 0xFF];
  return ~crc;
}

TensorBoardWriter::TensorBoardWriter(const std::string& folder, std::int64_t resume_step)
    : file_(new_event_file(folder)) {
  write(0, field(3, std::string_view("brain.Event:2")));
  if (resume_step >= 0) write(resume_step + 1, session_start());
}

void TensorBoardWriter::train(const TrainRecord& r) {
  std::string scalars = scalar("train/loss", r.loss);
  for (const auto& [name, value] : r.terms) scalars += scalar("train/loss." + name, value);
  scalars += scalar("train/grad_norm", r.grad_norm) + scalar("train/lr", r.lr) +
             scalar("train/images_per_second", r.images_per_second) + scalar("train/data_wait", r.data_wait);
  if (r.processes > 1) scalars += scalar("train/wait", r.wait);
  write(r.step, field(5, scalars));
}

void TensorBoardWriter::val(const ValRecord& r) {
  std::string scalars;
  for (const auto& [name, value] : r.values) scalars += scalar("val/" + name, value);
  write(r.step, field(5, scalars));
}

void TensorBoardWriter::write(std::int64_t step, std::string_view what) {
  const std::string event = field(1, wall_time()) + field(2, step) + std::string(what);
  const std::string length = le64(event.size());
  file_.write(length + le32(masked_crc(length)) + event + le32(masked_crc(event)));
}

}  // namespace vitral::train
