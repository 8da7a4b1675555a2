// Whatever a child does, its parent goes on and can say what happened.
#include "base/process/child.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/process/sandbox.h"
#include "tests/support.h"

namespace vitral {
namespace {

using Why = Child::End::Why;
constexpr Child::Limits plenty{.cpu_seconds = 60, .bytes = std::uint64_t{4} << 30};

// An open file for the child to keep.
int some_file() {
  static const int file = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
  return file;
}

// What a child that answers one question says to it.
template <class Answer, class Question = int>
Answer answer_of(auto&& f, const Question& question = {}) {
  Child child(some_file(), [&](Channel& parent) { put<Answer>(parent, f(get<Question>(parent))); });
  child.allow(plenty);
  put(child.channel(), question);
  return get<Answer>(child.channel());
}

// How a child ends that does this.
Child::End end_of(const std::function<void()>& f, const Child::Limits& limits = plenty,
                  const std::function<void(Child&)>& meanwhile = {}) {
  Child child(some_file(), [&](Channel& parent) {
    static_cast<void>(get<int>(parent));
    f();
  });
  child.allow(limits);
  put(child.channel(), 1);
  child.channel().flush();
  if (meanwhile) meanwhile(child);
  try {
    static_cast<void>(get<int>(child.channel()));
  } catch (const ChannelClosed& closed) {
    Child::End end = child.end(closed);
    EXPECT_EQ(::waitpid(child.pid(), nullptr, WNOHANG), -1) << "a zombie is left";
    EXPECT_EQ(errno, ECHILD);
    return end;
  }
  ADD_FAILURE() << "it answers";
  return {};
}

// How a process ends is not for optimisers.
volatile int* nowhere = nullptr;
void crash() { *nowhere = 1; }
void work_for_ever() {
  for (volatile unsigned i = 0;;) i = i + 1;
}

struct Several {
  std::string text;
  std::vector<std::string> texts;
  std::vector<double> numbers;
  std::optional<std::int64_t> one, none;
  bool yes = false;
  auto fields() { return std::tie(text, texts, numbers, one, none, yes); }
};

TEST(Child, ValuesGoThereAndBack) {
  const Several sent{"text", {"", "a", std::string(100, '\0')}, std::vector<double>(1 << 20, 0.5), -7, {},
                     true};
  Several back = answer_of<Several, Several>([](Several s) { return s; }, sent);
  EXPECT_EQ(back.fields(), Several(sent).fields());
  // More than any buffer, both ways at once.
  const std::string large(10 << 20, 'x');
  EXPECT_EQ((answer_of<std::string, std::string>([](std::string s) { return s + "y"; }, large)), large + "y");
}

TEST(Child, EndsAreTold) {
  const Child::End crashed = end_of(crash);
  EXPECT_EQ(crashed.why, Why::crashed);
  EXPECT_EQ(crashed.how, "signal 11");
  EXPECT_EQ(end_of([] { std::abort(); }).why, Why::crashed);
  EXPECT_EQ(end_of([] { throw 1; }).how, "status 1");
  EXPECT_EQ(end_of([] {}).how, "status 0");
  EXPECT_EQ(end_of(work_for_ever, {.cpu_seconds = 1, .bytes = 1 << 30}).why, Why::too_slow);
  const Child::End killed = end_of(work_for_ever, plenty, [](Child& c) { ::kill(c.pid(), SIGKILL); });
  EXPECT_EQ(killed.why, Why::killed);
  EXPECT_EQ(killed.how, "signal 9");
  // One that says nothing for longer than the parent waits.
  const Child::End silent = end_of(work_for_ever, plenty, [](Child& c) { c.channel().set_patience(1); });
  EXPECT_EQ(silent.why, Why::too_slow);
}

TEST(Child, MemoryIsLimited) {
  const auto take = [](int megabytes) {
    try {
      const std::vector<char> memory(static_cast<std::size_t>(megabytes) << 20, 1);
      return static_cast<int>(memory[memory.size() / 2]);
    } catch (const std::bad_alloc&) {
      return 2;
    }
  };
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "its allocator ends the process";
#endif
  for (const auto& [megabytes, expected] : {std::pair{10, 1}, {300, 2}}) {
    Child child(some_file(), [&](Channel& parent) { put(parent, take(get<int>(parent))); });
    child.allow({.cpu_seconds = 10, .bytes = 100 << 20});
    put(child.channel(), megabytes);
    EXPECT_EQ(get<int>(child.channel()), expected);
  }
}

TEST(Child, HasOneFileAndOpensNone) {
  const test::TempDir folder;
  const std::string path = folder / "a";
  test::put_file(path, "secret");
  const int open_in_parent = ::open(path.c_str(), O_RDWR);
  const auto error = [](auto&& call) { return answer_of<int>([&](int) { return call() < 0 ? errno : 0; }); };
  char byte = 0;
  EXPECT_EQ(error([&] { return ::read(some_file(), &byte, 1); }), 0);
  EXPECT_EQ(error([&] { return ::read(open_in_parent, &byte, 1); }), EBADF);
  EXPECT_EQ(error([&] { return ::write(open_in_parent, "x", 1); }), EBADF);
  EXPECT_EQ(::read(open_in_parent, &byte, 1), 1);
  ::close(open_in_parent);
  if (answer_of<int>([](int) { return ::prctl(PR_GET_SECCOMP) == 0 ? 1 : 0; }) != 0)
    GTEST_SKIP() << "this kernel has no seccomp";
  EXPECT_EQ(error([&] { return ::open(path.c_str(), O_RDONLY); }), EPERM);
  EXPECT_EQ(error([&] { return ::unlink(path.c_str()); }), EPERM);
  EXPECT_EQ(error([] { return ::socket(AF_INET, SOCK_STREAM, 0); }), EPERM);
  EXPECT_EQ(error([] { return ::fork(); }), EPERM);
  EXPECT_EQ(error([] { return ::kill(::getpid(), SIGTERM); }), EPERM);
}

TEST(Child, SignalsOfTheTerminalAreTheParents) {
  Child child(some_file(), [](Channel& parent) {
    for (;;) put(parent, get<int>(parent) + 1);
  });
  child.allow(plenty);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1}) {
    ::kill(child.pid(), signal);
    put(child.channel(), signal);
    EXPECT_EQ(get<int>(child.channel()), signal + 1);
  }
}

TEST(Child, EndsWithItsParent) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t parent = ::fork();
  if (parent == 0) {
    const Child child(some_file(), [](Channel& p) { static_cast<void>(get<int>(p)); });
    const pid_t pid = child.pid();
    static_cast<void>(::write(ends[1], &pid, sizeof pid) == sizeof pid);
    ::kill(::getpid(), SIGKILL);
  }
  pid_t grandchild = 0;
  ASSERT_EQ(::read(ends[0], &grandchild, sizeof grandchild), static_cast<ssize_t>(sizeof grandchild));
  ::waitpid(parent, nullptr, 0);
  EXPECT_EQ(::waitpid(grandchild, nullptr, 0), grandchild);  // returns at all
  ::close(ends[0]);
  ::close(ends[1]);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(Child, IsStartedFromAProgramWithThreads) {
  std::atomic<bool> stop = false;
  std::vector<std::thread> others;
  for (int t = 0; t < 3; ++t)
    others.emplace_back([&] {
      while (!stop) static_cast<void>(std::string(1000, 'x') + std::to_string(::getpid()));
    });
  for (int i = 0; i < 50; ++i)
    EXPECT_EQ((answer_of<std::string, std::string>([](std::string s) { return s + s; }, "ab")), "abab");
  stop = true;
  for (auto& thread : others) thread.join();
}

}  // namespace
}  // namespace vitral
