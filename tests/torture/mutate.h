// Damage by design: edits that know what a format is made of, so that they pass its first checks.
#pragma once
#include <string>

#include "base/random.h"

namespace vitral::torture {

enum class Format { text, binary, hdf5, zip, safetensors };

/// One to a few edits. text: also numbers that become huge, control characters, deep nesting. hdf5: mostly in
/// place, in what describes the data, with the addresses and sizes of the file itself. zip: also of a stored
/// entry, whose checksum then matches. safetensors: mostly the header, whose length then matches.
std::string mutant(std::string bytes, Format format, Random& random);

}  // namespace vitral::torture
