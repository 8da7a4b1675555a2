// A zip archive around bytes of any kind.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace vitral::fuzz {

/// A zip archive of stored entries with right checksums, so that a target reaches what lies behind them.
std::string zip_of(const std::vector<std::pair<std::string, std::string>>& entries);

}  // namespace vitral::fuzz
