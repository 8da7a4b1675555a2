// Valid files of every format that vitral reads, each with the commands that read it.
#pragma once
#include <string>
#include <vector>

#include "tests/torture/mutate.h"
#include "tests/torture/workshop.h"

namespace vitral::torture {

using Arguments = std::vector<std::string>;

struct Seed {
  std::string kind;  // its row of the table: hdf5, safetensors, ...
  std::string file;  // the name that its mutants get
  Format format;
  std::string bytes;
  std::vector<Arguments> commands;  // run in the folder of the file
  /// Of commands that write a file the name of that which an undisturbed one wrote; "": anything may come.
  std::string expected = {};
};

/// Makes the seeds, and in `folder` (of the workshop) the files that their commands name.
std::vector<Seed> make_mutant_seeds(const Workshop& shop, const std::string& folder);

}  // namespace vitral::torture
