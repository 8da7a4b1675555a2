// The words that CLIP's byte pairs are made in (openai/CLIP, clip/simple_tokenizer.py, self.pat).
#pragma once
#include <functional>
#include <string_view>

namespace vitral::data {

inline constexpr std::string_view start_of_text = "<|startoftext|>", end_of_text = "<|endoftext|>";

/// Brings a text into the form of clean_text() and gives its words to `use`, one after the other: runs of
/// letters, single digits, runs of other signs, English endings such as 's, and the two special tokens.
/// UsageError: a text of more than 2^30 bytes.
void for_each_clip_word(std::string_view text, const std::function<void(std::string_view word)>& use);

}  // namespace vitral::data
