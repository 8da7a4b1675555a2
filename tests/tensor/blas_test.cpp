// Debian keeps several builds of a BLAS side by side: the one that the build chose must be the one that runs.
#include <gtest/gtest.h>

#ifdef VITRAL_BLAS_FOLDER
#include <filesystem>

#include <cblas.h>
#include <dlfcn.h>
#endif

namespace {

TEST(Blas, TheOpenMpBuildRunsWhereItIsInstalled) {
#ifdef VITRAL_BLAS_FOLDER
  Dl_info info{};
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&cblas_sgemm), &info), 0);
  EXPECT_TRUE(
      std::filesystem::equivalent(std::filesystem::path(info.dli_fname).parent_path(), VITRAL_BLAS_FOLDER))
      << info.dli_fname << " runs, " << VITRAL_BLAS_FOLDER << " was linked";
#else
  GTEST_SKIP() << "built without the OpenMP build of a BLAS";
#endif
}

}  // namespace
