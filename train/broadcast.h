// The processes of a run go on from what the first one knows.
#pragma once
#include "processes/group.h"
#include "train/run/checkpoint.h"

namespace vitral::train {

/// `checkpoint` of process 0 becomes that of all.
void broadcast(Group& group, Checkpoint& checkpoint);

}  // namespace vitral::train
