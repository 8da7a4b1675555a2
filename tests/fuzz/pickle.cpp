// The bytes are the pickle of a .pt file, in an archive with three small storages.
#include "data/weights/torch_training.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/zip_of.h"

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vitral;
  const std::string archive = fuzz::zip_of({{"a/data.pkl", {reinterpret_cast<const char*>(data), size}},
                                            {"a/data/0", std::string(24, '\1')},
                                            {"a/data/1", std::string(4, '\2')},
                                            {"a/data/2", ""}});
  const std::string& path =
      fuzz::file_of({reinterpret_cast<const std::uint8_t*>(archive.data()), archive.size()});
  fuzz::check(archive.size(), 96, [&] { data::read_torch_training(path); });
  return 0;
}
