#include "data/images/augment_config.h"

#include <cmath>
#include <type_traits>
#include <variant>

#include "base/error.h"
#include "base/field_kinds.h"

namespace vitral::data {
namespace {

using C = AugmentConfig;

constexpr double finite = std::numeric_limits<float>::max(), above_zero = 1e-45, strongest = 1e5;

// The description of a field from which all else is made.
struct Entry {
  const char* name;
  std::variant<int C::*, float C::*, bool C::*> member;
  double min = 0, max = 1;
  const char* rule = "";      // of a number, in messages
  float C::*needs = nullptr;  // the probability without which it has no effect
  bool odd = false;
};

constexpr const char* strength = "0 or more";
constexpr const char* probability = "a probability, 0 to 1";

const Entry entries[] = {
    {"resize", &C::resize, 0, 16384, "0 to 16384 pixels"},
    {"brightness", &C::brightness, 0, strongest, strength},
    {"contrast", &C::contrast, 0, strongest, strength},
    {"saturation", &C::saturation, 0, strongest, strength},
    {"grayscale", &C::grayscale, 0, 1, probability},
    {"flip", &C::flip, 0, 1, probability},
    {"blur", &C::blur, 0, 1, probability},
    {"blur_kernel", &C::blur_kernel, 1, 255, "odd, 1 to 255 pixels", &C::blur, true},
    {"blur_sigma_min", &C::blur_sigma_min, above_zero, finite, "more than 0", &C::blur},
    {"blur_sigma_max", &C::blur_sigma_max, above_zero, finite, "more than 0", &C::blur},
    {"posterize", &C::posterize, 0, 1, probability},
    {"posterize_bits", &C::posterize_bits, 1, 8, "1 to 8", &C::posterize},
    {"autocontrast", &C::autocontrast, 0, 1, probability},
    {"random_crop", &C::random_crop},
    {"scaled_decode", &C::scaled_decode},
};

Field<C> field_of(const Entry& e) {
  return std::visit(
      [&](auto member) {
        const auto get = [member](auto& c) -> auto& { return c.*member; };
        using Value = std::remove_cvref_t<decltype(C{}.*member)>;
        if constexpr (std::is_same_v<Value, bool>)
          return fields::make_field<C>(e.name, get, fields::Truth{});
        else if constexpr (std::is_same_v<Value, int>)
          return fields::make_field<C>(
              e.name, get,
              fields::Integer{static_cast<std::int64_t>(e.min), static_cast<std::int64_t>(e.max), e.odd});
        else
          return fields::make_field<C>(e.name, get,
                                       e.max == 1  ? fields::fraction()
                                       : e.min > 0 ? fields::above_zero()
                                                   : fields::zero_or_more());
      },
      e.member);
}

}  // namespace

const std::vector<Field<AugmentConfig>>& augment_fields() {
  static const std::vector<Field<C>> table = [] {
    std::vector<Field<C>> out;
    for (const Entry& e : entries) out.push_back(field_of(e));
    return out;
  }();
  return table;
}

void check_augment(const AugmentConfig& config) {
  for (const Entry& e : entries)
    std::visit(
        [&](auto member) {
          const auto value = config.*member;
          const auto number = static_cast<double>(value);
          VITRAL_CHECK(number >= e.min && number <= e.max && (!e.odd || std::fmod(number, 2) == 1),
                       "augment: {} {} must be {}", e.name, value, e.rule);
        },
        e.member);
  VITRAL_CHECK(config.blur_sigma_max >= config.blur_sigma_min,
               "augment: blur_sigma_max {} must be blur_sigma_min {} or more", config.blur_sigma_max,
               config.blur_sigma_min);
}

std::string transform_name(const AugmentConfig& config) {
  std::vector<std::string> parts;
  AugmentConfig rest = config;
  rest.scaled_decode = false;
  // It comes first, and a crop is cut from all pixels that there are.
  if (config.scaled_decode && (config.resize > 0 || !config.random_crop)) parts.emplace_back("scaled_decode");
  for (const Entry& e : entries) {
    if (e.needs && !(config.*e.needs > 0)) continue;
    std::visit(
        [&](auto member) {
          const auto value = rest.*member;
          if (!(value > 0)) return;
          parts.push_back(std::is_same_v<decltype(value), const bool> ? e.name
                                                                      : fmt::format("{}={}", e.name, value));
        },
        e.member);
  }
  return fmt::format("vitral-augment-1:{}",
                     parts.empty() ? "none" : fmt::format("{}", fmt::join(parts, ",")));
}

}  // namespace vitral::data
