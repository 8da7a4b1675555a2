// Exchanges between processes by NCCL, for the backend; tensor/collective.h has the contract.
#pragma once
#include <cstddef>
#include <string>

namespace vitral::cuda {

std::string collective_id();
void* open_collective(int index, int rank, int size, const std::string& id);
void close_collective(void* collective);
void all_to_all(void* collective, void* to, const void* from, std::size_t bytes_each);
void all_gather(void* collective, void* to, const void* from, std::size_t bytes_each);

}  // namespace vitral::cuda
