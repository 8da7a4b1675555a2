// The first layer of a text tower.
#pragma once
#include <string_view>

#include "nn/parameter.h"

namespace vitral::models {

/// Rows of table [vocabulary,W] for tokens int64 [T,L] on the CPU -> [T,L,W] on the table's device, without a
/// gradient for the table. UsageError naming `tower`: a token that is not in the vocabulary.
Variable embedded_tokens(const nn::Parameter& table, const Tensor& tokens, std::string_view tower);

}  // namespace vitral::models
