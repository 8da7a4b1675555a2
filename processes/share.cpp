#include "processes/share.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"
#include "base/files/digest.h"
#include "base/text.h"

namespace vitral {
namespace {

std::pair<std::string, std::string> first_difference(const std::string& a, const std::string& b) {
  std::istringstream of_a(a), of_b(b);
  std::string line_a, line_b;
  for (;;) {
    const bool more_a = static_cast<bool>(std::getline(of_a, line_a));
    const bool more_b = static_cast<bool>(std::getline(of_b, line_b));
    if (!more_a) line_a = "nothing";
    if (!more_b) line_b = "nothing";
    for (auto* line : {&line_a, &line_b}) line->erase(0, line->find_first_not_of(' '));
    if (line_a != line_b || (!more_a && !more_b)) return {one_line(line_a), one_line(line_b)};
  }
}

}  // namespace

int share_blocks(Group& group, std::int64_t count, const std::function<Parcel(std::int64_t)>& work,
                 const std::function<void(std::int64_t, Parcel&)>& take, const std::function<int()>& stop) {
  const std::int64_t size = group.size();
  for (std::int64_t first = 0; first < count; first += size) {
    const std::int64_t mine = first + group.rank();
    Parcel made;
    int signal = 0;
    if (group.is_one()) {
      made = work(mine);
      take(mine, made);
      if (stop && first + size < count) signal = stop();
    } else {
      Parcel said;
      std::string problem;
      try {
        if (mine < count) made = work(mine);
      } catch (const Error& e) {
        problem = e.what();
      }
      put(said, stop ? stop() : 0);
      put(said, problem);
      said.write(made.bytes().data(), made.bytes().size());
      std::vector<Parcel> all;
      std::string first_problem;
      for (auto& text : all_gather(group, said.bytes())) {
        Parcel& p = all.emplace_back(std::move(text));
        signal = std::max(signal, get<int>(p));
        if (const std::string its = get<std::string>(p); first_problem.empty()) first_problem = its;
      }
      if (!first_problem.empty()) throw_error("{}", first_problem);
      for (std::int64_t k = 0; k < size && first + k < count; ++k)
        take(first + k, all[static_cast<std::size_t>(k)]);
    }
    if (signal != 0 && first + size < count) return signal;
  }
  return 0;
}

void require_alike(Group& group, const std::vector<std::pair<std::string, std::string>>& facts) {
  for (const auto& [name, value] : facts) {
    const auto values = all_gather(group, value);
    const auto other =
        std::find_if(values.begin(), values.end(), [&](const auto& v) { return v != values[0]; });
    if (other == values.end()) continue;
    const auto [first, second] = first_difference(values[0], *other);
    throw_error<UsageError>("processes 0 and {} differ in their {}: {}, and {}; give all of them the same",
                            other - values.begin(), name, first, second);
  }
}

std::string program_identity() {
  return fmt::format("version {}, {:016x}", VITRAL_VERSION, digest_of("/proc/self/exe").xxh3);
}

}  // namespace vitral
