#include "cli/spinning.h"

#include <cstdlib>
#include <initializer_list>

#include <unistd.h>

namespace vitral::cli {
namespace {

char setting[] = "GOMP_SPINCOUNT=1000";

#if defined(__GLIBC__)
char* lent = nullptr;  // the text of the variable in whose place the setting stands

// Without the C library, which is not initialised yet.
constexpr bool begins(const char* text, const char* with) {
  for (; *with != '\0'; ++text, ++with)
    if (*text != *with) return false;
  return true;
}

// The loader calls it before the constructors of all libraries. The environment cannot grow here, as what the
// C library will take for it lies on the stack; but it may have another text in the place of a variable that
// no library asks for while it is loaded.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
[[gnu::no_sanitize("address", "thread", "undefined")]]
#endif
void set_before_constructors(int, char**, char** environment) {
  for (char** variable = environment; *variable; ++variable)
    if (begins(*variable, "GOMP_SPINCOUNT=") || begins(*variable, "OMP_WAIT_POLICY=")) return;
  for (const char* dispensable : {"_=", "OLDPWD=", "SHLVL=", "PWD=", "PATH="})
    for (char** variable = environment; *variable; ++variable)
      if (begins(*variable, dispensable)) {
        lent = *variable;
        *variable = setting;
        return;
      }
}

[[gnu::section(".preinit_array"),
  gnu::used]] void (*const before_constructors)(int, char**, char**) = set_before_constructors;

// A library may have copied the environment meanwhile.
bool give_back() {
  for (char** variable = environ; lent && *variable; ++variable)
    if (*variable == setting) {
      *variable = lent;
      return true;
    }
  return lent != nullptr;
}
#else
bool give_back() { return false; }
#endif

}  // namespace

void limit_openmp_spinning(char** argv) {
  if (give_back() || std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  putenv(setting);
  execv("/proc/self/exe", argv);  // returns only when it failed: then it stays as it was
}

}  // namespace vitral::cli
