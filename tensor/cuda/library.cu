#include <cstdlib>
#include <sstream>
#include <string_view>
#include <vector>

#include <dlfcn.h>
#include <glob.h>
#include <unistd.h>

#include "base/error.h"
#include "tensor/cuda/library.h"

namespace vitral::cuda {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::vector<std::string> folders_in(const char* name) {
  std::vector<std::string> out;
  std::istringstream list(variable(name));
  for (std::string folder; std::getline(list, folder, ':');)
    if (!folder.empty()) out.push_back(folder);
  return out;
}

// Folders that hold lib/python3.N/site-packages; Debian's own Python has dist-packages, and those of
// /usr/local. The python3 of an environment is a link that is not followed: the environment is where it lies.
std::vector<std::string> python_prefixes() {
  std::vector<std::string> out;
  for (const char* environment : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string prefix = variable(environment); !prefix.empty()) out.push_back(prefix);
  for (const std::string& folder : folders_in("PATH"))
    if (::access((folder + "/python3").c_str(), X_OK) == 0) {
      out.push_back(folder + "/..");
      break;
    }
  out.push_back("/usr/local");
  if (const std::string home = variable("HOME"); !home.empty()) out.push_back(home + "/.local");
  return out;
}

std::vector<std::string> matches(const std::string& pattern) {
  std::vector<std::string> out;
  glob_t found{};
  if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
    out.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  ::globfree(&found);
  return out;
}

std::vector<std::string> beside_python(const std::string& file) {
  std::vector<std::string> out;
  for (const std::string& prefix : python_prefixes())
    for (const char* packages : {"site-packages", "dist-packages"})
      for (const std::string& path : matches(prefix + "/lib/python3*/" + packages + "/nvidia/*/lib/" + file))
        out.push_back(path);
  return out;
}

}  // namespace

DynamicLibrary::DynamicLibrary(const char* name, const char* file, const char* pip_package)
    : name_(name), file_(file) {
  std::string problem;
  const auto open = [&](const std::string& path) {
    handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    // Of several the one that is there and cannot be loaded says the most.
    if (!handle_ && (problem.empty() || ::access(path.c_str(), F_OK) == 0)) problem = ::dlerror();
    return handle_ != nullptr;
  };
  for (const std::string& folder : folders_in("VITRAL_CUDA_LIBRARIES"))
    if (open(folder + "/" + file)) return;
  if (open(file)) return;
  for (const std::string& path : beside_python(file))
    if (open(path)) return;
  throw_error(
      "{}: {} cannot be loaded ({}); install it with the CUDA toolkit or by pip install {}, or name its "
      "folder in VITRAL_CUDA_LIBRARIES",
      name, file, problem, pip_package);
}

void* DynamicLibrary::find(const char* symbol) const {
  void* const found = ::dlsym(handle_, symbol);
  if (!found) throw_error("{}: this {} has no {}; install a newer one", name_, file_, symbol);
  return found;
}

}  // namespace vitral::cuda
