// Work that processes share.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/wire.h"
#include "processes/group.h"

namespace vitral {

/// Blocks [0, count): process r works on blocks r, r + size(), ...; take() gets what all of them made, on
/// every process, in the order of the blocks, so that what comes of it does not depend on the number of
/// processes. What work() throws anywhere is thrown everywhere, as Error. `stop`, asked after each block: the
/// signal that asks this process to stop, or 0; where it came to any of them before the last block, all stop
/// and return it.
int share_blocks(Group& group, std::int64_t count, const std::function<Parcel(std::int64_t block)>& work,
                 const std::function<void(std::int64_t block, Parcel& made)>& take,
                 const std::function<int()>& stop = {});

/// Name and value of what must be the same for all processes. UsageError that names the first process that
/// has another one, and both values (of several lines, the first that differs); the same error everywhere.
void require_alike(Group& group, const std::vector<std::pair<std::string, std::string>>& facts);

/// This very program: its version and what it is made of.
std::string program_identity();

}  // namespace vitral
