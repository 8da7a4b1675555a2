// Libraries of NVIDIA's, loaded by name when they are first needed: the module starts where one is missing,
// and what needs none of them runs. They are looked for
//   1. in the folders that VITRAL_CUDA_LIBRARIES names, with colons between them;
//   2. where the system looks (LD_LIBRARY_PATH, /etc/ld.so.conf), and in the toolkit that the module was
//   built with;
//   3. in nvidia/*/lib beside Python's packages, where pip puts them: those of the active environment
//      (VIRTUAL_ENV, CONDA_PREFIX), of the python3 on PATH, and the user's own. Python is not run.
//
//   struct CublasLt {
//     VITRAL_CUDA_LIBRARY("cuBLASLt", "libcublasLt.so.13", "nvidia-cublas");
//     VITRAL_CUDA_FUNCTION(cublasLtCreate);
//   };
//   static const CublasLt lt;
//   lt.cublasLtCreate(&handle);
#pragma once
#include <string>

namespace vitral::cuda {

class DynamicLibrary {
 public:
  /// Error: "cuBLASLt: libcublasLt.so.13 cannot be loaded (WHY); install it with the CUDA toolkit or by pip
  /// install nvidia-cublas, or name its folder in VITRAL_CUDA_LIBRARIES". It stays loaded.
  DynamicLibrary(const char* name, const char* file, const char* pip_package);

  /// Error where the library has no such function: it is too old.
  template <class F>
  F function(const char* symbol) const {
    return reinterpret_cast<F>(find(symbol));
  }

 private:
  void* find(const char* symbol) const;

  const char* name_;
  const char* file_;
  void* handle_ = nullptr;
};

#ifdef __CUDACC__
#define VITRAL_CUDA_LIBRARY(...) \
  ::vitral::cuda::DynamicLibrary library = ::vitral::cuda::DynamicLibrary(__VA_ARGS__)
#define VITRAL_CUDA_FUNCTION(symbol) \
  decltype(&::symbol) symbol = library.template function<decltype(&::symbol)>(#symbol)
#else  // the simulator of the tests is linked
#define VITRAL_CUDA_LIBRARY(...) static_assert(true)
#define VITRAL_CUDA_FUNCTION(symbol) decltype(&::symbol) symbol = &::symbol
#endif
#define VITRAL_STRING_OF(x) #x
#define VITRAL_STRING(x) VITRAL_STRING_OF(x)  // of what a macro stands for

}  // namespace vitral::cuda
