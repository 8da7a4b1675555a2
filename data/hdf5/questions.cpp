#include "data/hdf5/questions.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/files/input_file.h"
#include "data/hdf5/driver.h"

namespace vitral::data {
namespace {

// Of processor time, the slowest of what is honest: metadata that are looked through, chunks that are
// unpacked.
constexpr double seconds = 4, file_bytes_a_second = 5e6, bytes_a_second = 20e6, most_seconds = 600;
constexpr double memory = 1 << 30;
constexpr double copies = 4;  // of a chunk: packed, unpacked, in the cache, in the answer

void put_error(Channel& parent, Outcome outcome, const std::string& text) {
  put(parent, static_cast<std::uint8_t>(outcome));
  put(parent, text);
}

}  // namespace

// In the child, whose only thread has lock_hdf5() from before the fork.
void Questions::serve(Channel& parent, const std::string& path, int descriptor, bool writable) {
  auto library = std::make_unique<H5Library>(path, descriptor, writable);
  put(parent, library->is_open());
  try {
    for (;;) {
      Give give = nullptr;
      parent.read(&give, sizeof give);
      take_driver_error();
      try {
        give(*library, parent);
      } catch (const UsageError& e) {
        put_error(parent, Outcome::usage_error, e.what());
      } catch (const Error& e) {
        if (const int why = take_driver_error(); why != 0 && !writable)
          put_error(parent, Outcome::read_error,
                    fmt::format("{}: cannot be read: {}; check the disk", path, std::strerror(why)));
        else
          put_error(parent, Outcome::error, e.what());
      } catch (const std::bad_alloc&) {
        put_error(parent, Outcome::no_memory, "");
      }
    }
  } catch (const ChannelClosed&) {
    if (!writable) static_cast<void>(library.release());  // nothing to keep, and closing might take long
  }
}

Questions::Questions(std::string path, int descriptor, bool writable, std::uint64_t file_bytes)
    : path_(std::move(path)), file_bytes_(file_bytes) {
  const auto lock = lock_hdf5();  // the library is at rest while it is forked
  try {
    child_ = std::make_unique<Child>(descriptor,
                                     [&](Channel& parent) { serve(parent, path_, descriptor, writable); });
  } catch (const ReadError& e) {
    throw_error<ReadError>("{}: {}", path_, e.what());
  }
  is_open_ = within(0, [](Channel& channel) { return get<bool>(channel); });
}

void Questions::begin(double bytes) {
  if (!child_ && end_.empty())
    end_ = path_ + ": an answer of the process that reads it was lost; run the command again";
  if (!child_) throw Error(end_);
  const auto file = static_cast<double>(file_bytes_);
  limits_.cpu_seconds = static_cast<std::uint64_t>(
      std::min(std::min(seconds + file / file_bytes_a_second, most_seconds) + bytes / bytes_a_second, 1e9));
  limits_.bytes = static_cast<std::uint64_t>(std::min(memory + file + copies * bytes, 1e18));
  child_->allow(limits_);
}

void Questions::expect_answer(Channel& channel) {
  const auto outcome = static_cast<Outcome>(get<std::uint8_t>(channel));
  if (outcome == Outcome::answered) return;
  const auto text = get<std::string>(channel);
  if (outcome == Outcome::usage_error) throw UsageError(text);
  if (outcome == Outcome::read_error) throw ReadError(text);
  if (outcome == Outcome::error) throw Error(text);
  throw_error(
      "{}: the HDF5 library wanted more than {} MB to interpret it, the file is damaged; write it again",
      path_, limits_.bytes >> 20);
}

void Questions::ended(const ChannelClosed& closed) {
  const Child::End end = child_->end(closed);
  child_.reset();
  if (end.why == Child::End::Why::killed)
    end_ = fmt::format(
        "{}: the process that reads it was killed ({}), perhaps for want of memory; run the "
        "command again",
        path_, end.how);
  else
    end_ = fmt::format("{}: the HDF5 library {}, the file is damaged; write it again", path_,
                       end.why == Child::End::Why::too_slow
                           ? fmt::format("took more than {} s to interpret it", limits_.cpu_seconds)
                           : fmt::format("crashed on it ({})", end.how));
  throw Error(end_);
}

}  // namespace vitral::data
