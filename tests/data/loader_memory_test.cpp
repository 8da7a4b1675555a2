// A loader where memory ends.
#include <fstream>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "data/dataset_writer.h"
#include "data/loader.h"
#include "tests/noise.h"
#include "tests/support.h"

namespace vitral::data {
namespace {

using test::message_of;
using test::TempDir;

// A batch for which there is no memory is no end of the epoch.
TEST(Loader, MemoryThatEndsIsAnError) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer needs terabytes of addresses";
#endif
  const TempDir dir;
  DatasetWriter writer(dir / "t.h5", DatasetWriter::Size{16, 16});
  writer.add_image(test::noise_image(16, 16, 0), "0.png", Tensor::full({6}, 1));
  writer.finish();
  const Dataset dataset = Dataset::open(dir / "t.h5");
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  statm >> pages;
  rlimit before{};
  ::getrlimit(RLIMIT_AS, &before);
  for (const int workers : {0, 1, 2}) {
    SCOPED_TRACE(workers);
    LoaderOptions o;
    o.workers = workers;
    o.image_size = 1 << 14;  // 805 MB
    const rlimit limit{pages * static_cast<rlim_t>(::sysconf(_SC_PAGESIZE)) + (rlim_t{300} << 20),
                       before.rlim_max};
    ::setrlimit(RLIMIT_AS, &limit);
    const std::string message = message_of([&] { Loader(dataset, o).next(); });
    ::setrlimit(RLIMIT_AS, &before);
    EXPECT_TRUE(message.starts_with("cpu: out of memory asking for ")) << message;
  }
}

}  // namespace
}  // namespace vitral::data
