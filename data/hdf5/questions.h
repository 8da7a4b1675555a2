// Inside data/hdf5 only: an H5Library in a child, and what it is asked. A question is the address of the
// function that answers it, which is the same on both sides of a fork, and its arguments.
#pragma once
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "base/process/child.h"
#include "data/hdf5/library.h"
#include "data/hdf5/wire.h"

namespace vitral::data {

enum class Outcome : std::uint8_t { answered, usage_error, read_error, error, no_memory };

template <auto Method, class R, class... A>
struct AnswerOf {
  using Result = R;
  static void put_arguments(Channel& child, const std::decay_t<A>&... arguments) {
    (put(child, arguments), ...);
  }
  static void answer(H5Library& library, Channel& parent) {
    const std::tuple<std::decay_t<A>...> arguments{get<std::decay_t<A>>(parent)...};
    const auto call = [&](const auto&... a) -> R { return (library.*Method)(a...); };
    if constexpr (std::is_void_v<R>) {
      std::apply(call, arguments);
      put(parent, static_cast<std::uint8_t>(Outcome::answered));
    } else {
      const R result = std::apply(call, arguments);
      put(parent, static_cast<std::uint8_t>(Outcome::answered));
      put(parent, result);
    }
  }
};
template <auto Method>
struct Answer;
template <class R, class... A, R (H5Library::*Method)(A...) const>
struct Answer<Method> : AnswerOf<Method, R, A...> {};
template <class R, class... A, R (H5Library::*Method)(A...)>
struct Answer<Method> : AnswerOf<Method, R, A...> {};

class Questions {
 public:
  /// Forks; the child reads, and where it is writable writes, the open `descriptor` of `file_bytes` bytes.
  Questions(std::string path, int descriptor, bool writable, std::uint64_t file_bytes);

  bool is_open() const { return is_open_; }
  pid_t pid() const { return child_ ? child_->pid() : 0; }

  /// `bytes`: how many the answer takes of the file's values, unpacked; time and memory are allowed by that.
  /// receive(Channel&) takes the answer.
  template <auto Method, class Receive, class... A>
  auto ask(double bytes, Receive&& receive, const A&... arguments) {
    const std::lock_guard lock(asking_);
    return within(bytes, [&](Channel& channel) {
      const Give give = Answer<Method>::answer;
      channel.write(&give, sizeof give);
      Answer<Method>::put_arguments(channel, arguments...);
      expect_answer(channel);
      try {
        return receive(channel);
      } catch (const std::exception&) {  // half an answer is left there
        child_.reset();
        throw;
      }
    });
  }

 private:
  using Give = void (*)(H5Library&, Channel&);
  static void serve(Channel& parent, const std::string& path, int descriptor, bool writable);

  template <class Work>
  auto within(double bytes, Work&& work) {
    begin(bytes);
    try {
      return work(child_->channel());
    } catch (const ChannelClosed& closed) {
      ended(closed);
    }
  }
  void begin(double bytes);
  void expect_answer(Channel& channel);
  [[noreturn]] void ended(const ChannelClosed& closed);

  std::mutex asking_;
  std::string path_, end_;  // end_: the error of a child that has ended
  std::uint64_t file_bytes_;
  Child::Limits limits_;
  std::unique_ptr<Child> child_;
  bool is_open_ = false;
};

}  // namespace vitral::data
