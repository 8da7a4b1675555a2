// The subcommands of `vitral`, one file each. add_NAME() describes the options and says what is done with
// them; errors are thrown (base/error.h) and become one line and an exit status in main.cpp.
#pragma once
#include "cli/command.h"

namespace vitral::cli {

void add_shapes(Program& program);
void add_scenes(Program& program);
void add_pack(Program& program);
void add_teach(Program& program);
void add_train(Program& program);
void add_eval(Program& program);
void add_embed(Program& program);
void add_activate(Program& program);
void add_search(Program& program);
void add_report(Program& program);
void add_ablate(Program& program);
void add_convert(Program& program);
void add_info(Program& program);
void add_vocabulary(Program& program);

}  // namespace vitral::cli
