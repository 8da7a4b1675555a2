#include "base/files/row_journal.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "base/files/atomic.h"
#include "base/hash.h"
#include "base/text.h"

namespace vitral {
namespace {

constexpr double seconds_between_syncs = 5;
constexpr std::int64_t longest_identity = 64 << 10;
constexpr std::int64_t block_bytes = 4 << 20;  // that are checked at once

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// With the number, so that a row in the place of another is none.
std::uint64_t checksum(const char* row, std::int64_t bytes, std::int64_t number) {
  return hash_of({row, static_cast<std::size_t>(bytes)}) + static_cast<std::uint64_t>(number);
}

}  // namespace

RowJournal::RowJournal(std::string path, std::string_view format, const std::string& identity,
                       std::int64_t row_bytes)
    : path_(std::move(path)),
      row_bytes_(row_bytes),
      descriptor_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0)
    throw_error<UsageError>("{}: cannot be created: {}; check that the folder may be written", path_,
                            std::strerror(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    throw_error<UsageError>("{}: another process is writing it; wait for that", path_);
  const std::string mark = std::string(format) + "\n", head = mark + identity + "\n";
  begin_ = static_cast<std::int64_t>(head.size());
  const std::int64_t size = ::lseek(descriptor_, 0, SEEK_END);
  std::string there(static_cast<std::size_t>(std::min(size, longest_identity)), '\0');
  if (read_at(descriptor_, 0, there.data(), there.size()) < there.size())
    throw_error("{}: cannot be read; check the disk, or remove it to start again", path_);
  if (!head.starts_with(there) && !there.starts_with(head)) {
    if (!there.starts_with(mark))
      throw_error<UsageError>("{}: is in the way, and no journal of this work; move it", path_);
    const std::string other = there.substr(mark.size(), there.find('\n', mark.size()) - mark.size());
    throw_error<UsageError>(
        "{}: an unfinished run of another kind ({}) is kept here, this one is {}; finish it with its own "
        "options, or start again with --restart",
        path_, one_line(other), identity);
  }
  std::vector<char> block(
      static_cast<std::size_t>(std::max(block_bytes / record_bytes(), std::int64_t{1}) * row_bytes_));
  const auto block_rows = static_cast<std::int64_t>(block.size()) / row_bytes_;
  for (std::int64_t whole = block_rows; whole == block_rows; rows_ += whole)
    whole = read_whole(rows_, block_rows, block.data());
  // Begins anew where not even the head was complete.
  if (::ftruncate(descriptor_, size < begin_ ? 0 : begin_ + rows_ * record_bytes()) != 0)
    throw_error("{}: cannot be written: {}; check the disk", path_, std::strerror(errno));
  ::lseek(descriptor_, 0, SEEK_END);
  if (size < begin_) write(head.data(), begin_);
  sync();
  sync_name(path_);
}

RowJournal::~RowJournal() {
  if (rows_ == 0) remove();
}

void RowJournal::write(const void* data, std::int64_t bytes) {
  if (!write_all(descriptor_, data, static_cast<std::size_t>(bytes)))
    throw_error("{}: cannot be written: {}; {}make room and run the command again", path_,
                std::strerror(errno), rows_ > 0 ? "the rows so far are kept, " : "");
}

void RowJournal::append(const void* rows, std::int64_t count) {
  std::vector<char> records(static_cast<std::size_t>(count * record_bytes()));
  for (std::int64_t i = 0; i < count; ++i) {
    char* const record = records.data() + i * record_bytes();
    std::memcpy(record, static_cast<const char*>(rows) + i * row_bytes_,
                static_cast<std::size_t>(row_bytes_));
    const std::uint64_t sum = checksum(record, row_bytes_, rows_ + i);
    std::memcpy(record + row_bytes_, &sum, sizeof sum);
  }
  write(records.data(), count * record_bytes());
  rows_ += count;
  if (now() - synced_ >= seconds_between_syncs) sync();
}

void RowJournal::sync() {
  if (::fdatasync(descriptor_) != 0)
    throw_error("{}: cannot be written to the disk: {}; check the disk", path_, std::strerror(errno));
  synced_ = now();
}

std::int64_t RowJournal::read_whole(std::int64_t first, std::int64_t count, char* to) const {
  std::vector<char> records(static_cast<std::size_t>(count * record_bytes()));
  const std::size_t there = read_at(descriptor_, static_cast<std::uint64_t>(begin_ + first * record_bytes()),
                                    records.data(), records.size());
  if (there < records.size() && errno != 0)
    throw_error("{}: cannot be read: {}; check the disk", path_, std::strerror(errno));
  const std::int64_t complete = static_cast<std::int64_t>(there) / record_bytes();
  for (std::int64_t i = 0; i < complete; ++i) {
    const char* const record = records.data() + i * record_bytes();
    std::uint64_t sum = 0;
    std::memcpy(&sum, record + row_bytes_, sizeof sum);
    if (sum != checksum(record, row_bytes_, first + i)) return i;
    std::memcpy(to + i * row_bytes_, record, static_cast<std::size_t>(row_bytes_));
  }
  return complete;
}

void RowJournal::read(std::int64_t first, std::int64_t count, void* to) const {
  VITRAL_CHECK(first >= 0 && count >= 0 && count <= rows_ - first, "journal: rows [{}, {}) of {}", first,
               first + count, rows_);
  if (const std::int64_t whole = read_whole(first, count, static_cast<char*>(to)); whole < count)
    throw_error("{}: row {} has changed on the disk; run the command again, it goes on from there", path_,
                first + whole);
}

void RowJournal::remove() { ::unlink(path_.c_str()); }

}  // namespace vitral
