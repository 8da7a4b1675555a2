#include "base/files/in_place.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/files/atomic.h"
#include "base/files/digest.h"
#include "base/files/input_file.h"

namespace vitral {
namespace {

// FILE.change: the mark; which file it is of; the size that it is to have; of each block its offset, length,
// old and new bytes; the xxh3 of all that. Numbers are 64 bits, little-endian.
constexpr std::string_view mark = "vitral-change-1\n";
constexpr std::uint64_t block = 4096;          // compared and changed as one
constexpr std::uint64_t piece = 1 << 20;       // copied at once
constexpr std::uint64_t longest = 1ULL << 34;  // of FILE.change

[[noreturn]] void fail(const std::string& path) {
  throw_error("{}: cannot write: {}; check the disk, and run the command again", path, std::strerror(errno));
}

Descriptor open_to_change(const std::string& path) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (file < 0) fail(path);
  return file;
}

void sync(int file, const std::string& path) {
  if (::fsync(file) != 0) fail(path);
  ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
}

// Tells a file from one that takes its name later: inode and time of birth; "" where the file system does not
// know the latter.
std::string identity_of(int file) {
  struct statx s {};
  if (::statx(file, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &s) != 0 || !(s.stx_mask & STATX_BTIME))
    return "";
  return fmt::format("{} {}.{}", s.stx_ino, s.stx_btime.tv_sec, s.stx_btime.tv_nsec);
}

// Shorter where the file ends before.
std::string read_some(int file, std::uint64_t offset, std::uint64_t bytes, const std::string& path) {
  std::string out(bytes, '\0');
  out.resize(read_at(file, offset, out.data(), out.size()));
  if (out.size() < bytes && errno != 0)
    throw_error<ReadError>("{}: cannot be read at byte {}: {}; check the disk", path, offset + out.size(),
                           std::strerror(errno));
  return out;
}

// What `changed` has behind the end of the file.
void append(int file, std::uint64_t from, const InputFile& changed, const std::string& path) {
  std::string bytes(piece, '\0');
  const auto each = [&](const auto& use) {
    for (std::uint64_t at = from; at < changed.size(); at += bytes.size()) {
      bytes.resize(std::min(piece, changed.size() - at));
      changed.read(at, bytes.data(), bytes.size());
      use(at);
    }
    bytes.resize(piece);
  };
  each([&](std::uint64_t at) {
    if (!write_all_at(file, at, bytes.data(), bytes.size())) fail(path);
  });
  sync(file, path);
  each([&](std::uint64_t at) {
    if (read_some(file, at, bytes.size(), path) != bytes) not_what_was_written(path);
  });
}

// The text of FILE.change; without blocks where nothing differs.
std::string differences(int file, std::uint64_t size, const InputFile& changed,
                        const std::vector<ByteRange>& unchanged, const std::string& path) {
  const std::string identity = identity_of(file);
  std::string out = std::string(mark) + le64(identity.size()) + identity + le64(changed.size());
  for (const auto& [begin, end] : without(unchanged, std::min(size, changed.size())))
    for (std::uint64_t at = begin; at < end;) {
      // Blocks are those of the disk, whatever range they begin in.
      const std::uint64_t n = std::min((at / block + 1) * block, end) - at;
      std::string now(n, '\0');
      changed.read(at, now.data(), n);
      if (const std::string before = read_some(file, at, n, path); before != now)
        out.append(le64(at)).append(le64(n)).append(before).append(now);
      at += n;
    }
  return out + le64(hash_of(out));
}

struct Change {
  std::string identity;
  std::uint64_t size = 0;  // of the whole file
  struct Block {
    std::uint64_t at = 0;
    std::string before, now;
  };
  std::vector<Block> blocks;
};

Change read_change(const std::string& path) {
  const std::string name = change_of(path), text = read_text_file(name, longest);
  const auto damaged = [&] {
    throw_error("{}: is damaged; {} may be half changed, write it again and remove both", name, path);
  };
  std::size_t at = mark.size();
  const auto bytes = [&](std::uint64_t n) {
    if (n > text.size() - at) damaged();
    at += n;
    return text.substr(at - n, n);
  };
  const auto number = [&] {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  };
  if (!text.starts_with(mark)) damaged();
  Change out;
  out.identity = bytes(number());
  out.size = number();
  while (text.size() - at > sizeof(std::uint64_t)) {
    Change::Block b{number(), {}, {}};
    const std::uint64_t n = number();
    b.before = bytes(n);
    b.now = bytes(n);
    out.blocks.push_back(std::move(b));
  }
  const std::string_view body(text.data(), at);
  if (number() != hash_of(body)) damaged();
  return out;
}

// Whether it is of this file, which may have been copied since: then each byte is an old or a new one.
bool is_of(const Change& change, int file, const std::string& path) {
  struct stat status {};
  if (::fstat(file, &status) != 0) fail(path);
  if (static_cast<std::uint64_t>(status.st_size) < change.size) return false;
  if (!change.identity.empty() && change.identity == identity_of(file)) return true;
  for (const auto& b : change.blocks) {
    if (b.at + b.now.size() > static_cast<std::uint64_t>(status.st_size)) return false;
    const std::string there = read_some(file, b.at, b.now.size(), path);
    for (std::size_t i = 0; i < there.size(); ++i)
      if (there[i] != b.before[i] && there[i] != b.now[i]) return false;
  }
  return true;
}

}  // namespace

std::string change_of(const std::string& path) { return path + ".change"; }

void complete_change(const std::string& path) {
  if (!is_half_changed(path)) return;
  const Change change = read_change(path);
  const Descriptor file = open_to_change(path);
  if (!is_of(change, file, path))
    throw_error<UsageError>("{}: is of another file than {} is now; remove it", change_of(path), path);
  for (const auto& b : change.blocks)
    if (!write_all_at(file, b.at, b.now.data(), b.now.size())) fail(path);
  if (::ftruncate(file, static_cast<off_t>(change.size)) != 0) fail(path);
  sync(file, path);
  for (const auto& b : change.blocks)
    if (read_some(file, b.at, b.now.size(), path) != b.now) not_what_was_written(path);
  if (::unlink(change_of(path).c_str()) != 0) fail(change_of(path));
  sync_name(path);
}

void change_in_place(const std::string& path, const std::string& changed,
                     const std::vector<ByteRange>& unchanged) {
  const InputFile to_be(changed);
  {
    const Descriptor file = open_to_change(path);
    struct stat status {};
    if (::fstat(file, &status) != 0) fail(path);
    const auto size = static_cast<std::uint64_t>(status.st_size);
    append(file, size, to_be, path);
    write_file_atomic(change_of(path), differences(file, size, to_be, unchanged, path));
  }
  complete_change(path);
}

bool is_half_changed(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  const fs::path target =
      fs::is_symlink(path, ignored) ? fs::weakly_canonical(path, ignored) : fs::path(path);
  return fs::exists(file_status(change_of(target.string())));
}

}  // namespace vitral
