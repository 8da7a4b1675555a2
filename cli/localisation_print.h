// What vitral eval prints of localisation: keys of its JSON object, or a table.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "infer/measure/localisation.h"

namespace vitral::cli {

/// `concepts`: their names.
void add_localisation(const infer::LocalisationResult& r, const std::vector<std::string>& concepts,
                      nlohmann::ordered_json& to);
void print_localisation(const infer::LocalisationResult& r, const std::vector<std::string>& concepts,
                        bool every_concept);

}  // namespace vitral::cli
