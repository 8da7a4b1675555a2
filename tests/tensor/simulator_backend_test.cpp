// What tensor/cuda/ does with devices, libraries and cuBLASLt's epilogues, on the simulator.
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <thread>

#include <cuda_runtime.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include "tensor/cuda/launch.h"
#include "tensor/cuda/library.h"
#include "tensor/ops/linear.h"
#include "tensor/stream.h"
#include "tensor/tensor.h"
#include "tests/support.h"

namespace vitral {
namespace {

using test::message_of;

/// Sets a variable of the environment to the end of the scope.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() { before_.empty() ? ::unsetenv(name_) : ::setenv(name_, before_.c_str(), 1); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::string before_;
};

// --- libraries ---

constexpr const char* file = "libvitral_of_nobody.so.1";

/// An existing library under another name, in a folder that is made.
void put_library(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  Dl_info info{};
  ASSERT_NE(::dladdr(reinterpret_cast<void*>(&::dlopen), &info), 0);
  std::filesystem::create_symlink(std::filesystem::canonical(info.dli_fname), folder / file);
}

std::string loaded() {
  return message_of([] { cuda::DynamicLibrary("cuNothing", file, "nvidia-nothing-cu13"); });
}

TEST(CudaLibrary, SaysWhatIsMissingAndHowToGetIt) {
  EXPECT_EQ(
      loaded(),
      "cuNothing: libvitral_of_nobody.so.1 cannot be loaded (libvitral_of_nobody.so.1: cannot open shared "
      "object file: No such file or directory); install it with the CUDA toolkit or by pip install "
      "nvidia-nothing-cu13, or name its folder in VITRAL_CUDA_LIBRARIES");
}

TEST(CudaLibrary, IsFoundInNamedFolders) {
  const test::TempDir dir;
  put_library(dir / "here");
  const Variable named("VITRAL_CUDA_LIBRARIES", "/nowhere:" + dir / "here");
  EXPECT_EQ(loaded(), "no error");
}

TEST(CudaLibrary, IsFoundBesidePythonsPackages) {
  const test::TempDir dir;
  const std::filesystem::path environment = dir / "venv";
  put_library(environment / "lib/python3.11/site-packages/nvidia/cu13/lib");
  {
    const Variable active("VIRTUAL_ENV", environment);
    EXPECT_EQ(loaded(), "no error");
  }
  {
    const Variable conda("CONDA_PREFIX", environment);
    EXPECT_EQ(loaded(), "no error");
  }
  // An environment that is not active, but whose python3 comes first.
  std::filesystem::create_directories(environment / "bin");
  std::filesystem::create_symlink("/bin/true", environment / "bin/python3");
  {
    const Variable path("PATH", (environment / "bin").string() + ":/usr/bin");
    EXPECT_EQ(loaded(), "no error");
  }
  EXPECT_NE(loaded(), "no error");
}

TEST(CudaLibrary, IsFoundInTheUsersOwnPackagesAndDebians) {
  for (const char* folder : {".local/lib/python3.12/site-packages/nvidia/cudnn/lib",
                             ".local/lib/python3.12/dist-packages/nvidia/cudnn/lib"}) {
    const test::TempDir dir;
    put_library(std::filesystem::path(dir.str()) / folder);
    const Variable home("HOME", dir.str());
    EXPECT_EQ(loaded(), "no error") << folder;
  }
}

TEST(CudaLibrary, ThatIsThereAndBrokenSaysSo) {
  const test::TempDir dir;
  test::put_file(dir / file, std::string_view("no library"));
  const Variable named("VITRAL_CUDA_LIBRARIES", dir.str());
  const std::string message = loaded();
  EXPECT_EQ(message.find("cuNothing: libvitral_of_nobody.so.1 cannot be loaded (" + dir / file +
                         ": file too short"),
            0U)
      << message;
}

TEST(CudaLibrary, ThatIsTooOldSaysWhatItLacks) {
  const test::TempDir dir;
  put_library(dir.str());
  const Variable named("VITRAL_CUDA_LIBRARIES", dir.str());
  const cuda::DynamicLibrary library("cuNothing", file, "");
  EXPECT_NE(library.function<void (*)()>("dlopen"), nullptr);
  EXPECT_EQ(message_of([&] { library.function<void (*)()>("cuNothingAtAll"); }),
            "cuNothing: this libvitral_of_nobody.so.1 has no cuNothingAtAll; install a newer one");
}

// --- devices ---

TEST(CudaBackend, PinnedMemoryIsMadeForThePreferredGpu) {
  const int before = preferred_gpu(), devices = simulator::settings().devices;
  simulator::settings().devices = 2;
  std::thread([] {
    const Device first{Device::Kind::cuda, 0};
    const Tensor on_first({1}, DType::float32, first);
    prefer_gpu(3);  // of two: the second
    const Tensor pinned = Tensor::pinned({100});
    EXPECT_TRUE(pinned.pinned());
    int current = -1;
    EXPECT_EQ(cudaGetDevice(&current), cudaSuccess);
    EXPECT_EQ(current, 1);
    Tensor there({100}, DType::float32, first);
    copy_async(there, pinned, Queue::copy);  // for any device
    synchronize(first);
  }).join();
  prefer_gpu(before);
  simulator::settings().devices = devices;
}

TEST(CudaBackend, AMissingGpuIsNamed) {
  const int devices = simulator::settings().devices;
  simulator::settings().devices = 0;
  std::string why;
  EXPECT_EQ(gpu_count(&why), 0);
  EXPECT_EQ(why, "this machine has no NVIDIA GPU that CUDA can use");
  simulator::settings().devices = devices;
}

TEST(CudaBackend, AGpuThatNobodyCompiledForIsNamedWithTheOption) {
  EXPECT_NO_THROW(synchronize(test::gpu));  // makes it the current one
  EXPECT_EQ(message_of([] { cuda::check(cudaErrorNoKernelImageForDevice, "softmax"); }),
            "cuda:0: of compute capability 9.0, and this vitral was built for 9.0; build it with "
            "-Dgpu_architectures=90-real");
}

// --- epilogues ---

TEST(CudaEpilogues, ThatCuBlasLtLacksAreToldOnce) {
  const simulator::Settings before = simulator::settings();
  simulator::settings().no_epilogues = true;
  // Of compute capability 8.0, where bias gradients in bfloat16 are asked for.
  simulator::settings().devices = 3;
  simulator::settings().capabilities = {90, 90, 80};
  constexpr Device ampere{Device::Kind::cuda, 2};
  testing::internal::CaptureStderr();
  Tensor none;
  for (const std::int64_t rows : {5, 5, 7}) {
    const auto ones = [](Shape shape) { return Tensor::full(shape, 1, DType::bfloat16, ampere); };
    Tensor y = ones({rows, 3}), dweight = ones({3, 4}), dbias = ones({3});
    kernel::linear(y, ones({rows, 4}), ones({3, 4}), ones({3}));
    EXPECT_EQ(y.to_vector(), std::vector<double>(static_cast<std::size_t>(rows * 3), 5));
    kernel::linear_backward(dweight, dbias, y, ones({rows, 4}), false);
    EXPECT_EQ(dbias.to_vector(), std::vector<double>(3, 5.0 * static_cast<double>(rows)));
  }
  EXPECT_EQ(
      testing::internal::GetCapturedStderr(),
      "vitral: linear: cuBLASLt has no epilogue BIAS for [5, 4] x [4, 3] bfloat16; the bias is added in a "
      "pass of its own, which is slower\n"
      "vitral: linear_backward: cuBLASLt has no epilogue BGRADB for [3, 5] x [5, 4] bfloat16; the bias's "
      "gradient is a pass of its own, which is slower\n");
  simulator::settings() = before;
}

}  // namespace
}  // namespace vitral
