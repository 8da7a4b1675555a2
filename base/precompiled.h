// Compiled once for all sources of the library, and once for those of the program, of the simulator and of
// the fuzz tests (meson's b_pch): what most of them include. They include it themselves, too, and build
// without this. No #pragma once: g++ warns of it in a header that is compiled by itself.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/format.h>
