// What the examples of the C interface are run with, into a folder: write_files FOLDER.
#include <cstdio>
#include <filesystem>

#include "tests/capi/models.h"

int main(int argc, char** argv) try {
  if (argc != 2) vitral::throw_error<vitral::UsageError>("usage: write_files FOLDER");
  const std::string folder = argv[1];
  vitral::test::write_capi_files(folder);
  std::filesystem::copy_file(vitral::test::tiny_student, folder + "/student.safetensors");
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "write_files: %s\n", e.what());
  return 1;
}
