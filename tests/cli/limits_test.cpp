// Less of the machine than a command needs: one line that says what there is too little of.
#include <sys/resource.h>

#include "data/images/image.h"
#include "tests/cli/small_run.h"

namespace vitral {
namespace {

using test::expect_failure;
using test::Program;

const Program::Arguments eval{"eval", "tests/golden/run_init.safetensors", "tests/golden/run_dataset.h5"};

test::Result with_threads(const std::string& count, const std::function<void()>& prepare = {}) {
  return Program(eval,
                 [&] {
                   ::setenv("OMP_NUM_THREADS", count.c_str(), 1);
                   if (prepare) prepare();
                 })
      .wait();
}

TEST(Limits, ThreadsThatCannotBeStarted) {
  rlimit stack{};
  ::getrlimit(RLIMIT_STACK, &stack);
  if (stack.rlim_max != RLIM_INFINITY) GTEST_SKIP() << "the size of stacks is limited here";
  // Threads get stacks of this size, more than there are addresses: as where the system gives no more
  // threads.
  stack.rlim_cur = rlim_t{1} << 47;
  const auto no_stacks = [&] { ::setrlimit(RLIMIT_STACK, &stack); };
  const std::string message =
      "a thread cannot be started; allow more threads and memory (ulimit -u, ulimit -v, the container's "
      "limits), or set OMP_NUM_THREADS and the number of workers lower";
  expect_failure(with_threads("2", no_stacks), 1, message);  // OpenMP's
  expect_failure(with_threads("1", no_stacks), 1, message);  // the loader's
}

// How long idle threads of OpenMP spin, in its own words at every start: once where the program need not
// start again.
TEST(Limits, IdleThreadsSpinShortlyUnlessTheUserDecides) {
  const auto said = [](const std::function<void()>& prepare) {
    const test::Result result = Program({"--version"}, [&] {
                                  for (const char* name : {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"})
                                    ::unsetenv(name);
                                  ::setenv("OMP_DISPLAY_ENV", "VERBOSE", 1);
                                  prepare();
                                }).wait();
    EXPECT_EQ(result.status, 0);
    std::vector<std::string> counts;
    const std::string name = "GOMP_SPINCOUNT = ";
    for (std::size_t at = result.err.find(name); at != std::string::npos; at = result.err.find(name, at + 1))
      counts.push_back(result.err.substr(at + name.size(), result.err.find('\n', at) - at - name.size()));
    return counts;
  };
  using Counts = std::vector<std::string>;
  EXPECT_EQ(said([] {}), Counts{"'1000'"});
  EXPECT_EQ(said([] { ::setenv("GOMP_SPINCOUNT", "77", 1); }), Counts{"'77'"});
  EXPECT_EQ(said([] { ::setenv("OMP_WAIT_POLICY", "passive", 1); }), Counts{"'0'"});
  const Counts bare = said([] {  // nothing in the environment that could be lent
    for (const char* name : {"_", "OLDPWD", "SHLVL", "PWD", "PATH"}) ::unsetenv(name);
  });
  ASSERT_EQ(bare.size(), 2U);
  EXPECT_EQ(bare.back(), "'1000'");
}

TEST(Limits, AbsurdNumbersOfThreads) {
  expect_failure(with_threads("100000"), 2, "OMP_NUM_THREADS: must be an integer from 1 to 4096, not 100000");
}

// Whether the program's libraries are loaded and ready with room to spare: those of a build with CUDA want
// 810 MB and crash with less, and where exactly changes by pages with arguments, environment and chance.
bool starts_within(rlim_t megabytes) {
  const rlim_t less = (megabytes - 10) << 20;
  const rlimit limit{less, less};
  return Program({"--version"}, [&] { ::setrlimit(RLIMIT_AS, &limit); }).wait().status == 0;
}

// Wherever address space ends: no library crashes.
TEST(Limits, MemoryEnds) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer needs terabytes of addresses";
#endif
  int failed = 0, enough = 0;
  for (rlim_t megabytes = 200; enough < 3 && megabytes < 8000; megabytes += 25) {
    SCOPED_TRACE(megabytes);
    if (!starts_within(megabytes)) continue;
    const rlimit limit{megabytes << 20, megabytes << 20};
    const test::Result r = with_threads("2", [&] { ::setrlimit(RLIMIT_AS, &limit); });
    if (r.status == 0) {
      ++enough;
      continue;
    }
    ++failed;
    EXPECT_EQ(r.status, 1);
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), 1) << r.err;
    EXPECT_TRUE(r.err.starts_with("vitral: ")) << r.err;
  }
  EXPECT_GT(failed, 0);
  EXPECT_EQ(enough, 3);
}

// An image for which there is no memory is not one that does not decode.
TEST(Limits, NoImageIsLeftOutWhereMemoryEnds) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer needs terabytes of addresses";
#endif
  const test::TempDir dir;
  for (const char* name : {"a.png", "b.jpg"})
    data::write_image(dir / name, test::noise({1500, 2000, 3}, 1, DType::uint8));
  int failed = 0, enough = 0;
  for (rlim_t megabytes = 200; enough < 3 && megabytes < 8000; megabytes += 10) {
    SCOPED_TRACE(megabytes);
    if (!starts_within(megabytes)) continue;
    const rlimit limit{megabytes << 20, megabytes << 20};
    const test::Result r =
        Program({"pack", dir / "a.png", dir / "b.jpg", "--size", "64", "--force", "-o", dir / "p.h5"}, [&] {
          ::setrlimit(RLIMIT_AS, &limit);
        }).wait();
    EXPECT_EQ(std::count(r.err.begin(), r.err.end(), '\n'), r.status) << r.err;
    EXPECT_LE(r.status, 1);
    failed += r.status;
    enough += r.status == 0;
  }
  EXPECT_GT(failed, 0);
  EXPECT_EQ(enough, 3);
}

}  // namespace
}  // namespace vitral
