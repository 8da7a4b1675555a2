// A line on a terminal that is drawn again and again.
#pragma once
#include <cstddef>
#include <cstdio>
#include <string>
#include <vector>

namespace vitral {

/// Whether the file is a terminal that can redraw a line.
bool can_redraw(std::FILE* file);
/// The terminal's width in characters; 80 where it does not say.
int columns_of(std::FILE* file);

/// The characters of a line that does not wrap: some terminals do after the last column.
std::size_t room_on_line(int columns);
/// The first of `lines`, longest first, that has room, or "": a line that is cut shows wrong numbers.
std::string longest_that_fits(const std::vector<std::string>& lines, int columns);

/// Puts `line` in place of the line before.
void redraw(std::FILE* file, const std::string& line);

}  // namespace vitral
