// Inside data/hdf5 only: the messages that describe an object (HDF5 File Format Specification 3.0, IV.A).
#pragma once
#include <cstdint>
#include <optional>

#include "data/hdf5/metadata.h"

namespace vitral::data {

constexpr unsigned data_layout_message = 8;  // IV.A.2.i

/// The first message of a type in the object header at an address; nullopt: there is none, or the header or
/// the message is stored in a way that is not known here.
std::optional<Fields> find_message(Metadata& metadata, std::uint64_t address, unsigned type);

}  // namespace vitral::data
