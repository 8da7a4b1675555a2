// The file of `vitral ablate` (docs/research.md): one configuration, and what is changed in it.
//
//   base: configs/shapes.yaml          # any configuration
//   overrides: {train.epochs: 4}       # for all; may be missing
//   seeds: [0, 1, 2]
//   variants:                          # the first is what the others are compared with
//     the seed: {}
//     full attention: {model.attention: full}
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace vitral::ablate {

/// What is set over a configuration: "model.attention=full", as `vitral train` takes it.
using Overrides = std::vector<std::string>;

struct Variant {
  std::string name;  // also of its folder
  Overrides overrides;
  int line = 0;  // of the grid
};

struct Grid {
  std::string path, base;
  Overrides overrides;              // of all variants
  std::vector<std::int64_t> seeds;  // at least one, each once
  std::vector<Variant> variants;    // at least one
};

/// UsageError "grid.yaml:7: variants: ...": what is no such file, with what is valid. Whether the overrides
/// mean something is not looked at (ablate/plan.h).
Grid read_grid(const std::string& path);

}  // namespace vitral::ablate
