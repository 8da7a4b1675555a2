// A file that is too large to be copied, changed in its place whole or not at all:
//
//   OutputFile output("train.h5");                        // keeps other writers away
//   complete_change(output.path());                       // of a process that died
//   output.copy(output.path(), unchanged);                // without what will not change
//   ... change output.partial() ...
//   change_in_place(output.path(), output.partial(), unchanged);
//
// What is new behind the old end comes first: nothing refers to it yet. Then what differs before that goes
// into FILE.change, durable and read back, and from there over the old bytes. Where that is interrupted or
// fails, FILE.change stays, readers refuse the file (is_half_changed()), and complete_change() goes on.
// When the file has been read back, FILE.change goes.
#pragma once
#include <string>
#include <vector>

#include "base/files/output_file.h"

namespace vitral {

/// Makes `path` what `changed` is; `unchanged` are bytes in which they do not differ, which are not looked
/// at. Error: the disk is full or fails.
void change_in_place(const std::string& path, const std::string& changed,
                     const std::vector<ByteRange>& unchanged);
/// Does what PATH.change says, where there is one. UsageError: it is of another file.
void complete_change(const std::string& path);
/// Whether there is a PATH.change; of a link the target's.
bool is_half_changed(const std::string& path);
/// PATH.change.
std::string change_of(const std::string& path);

}  // namespace vitral
