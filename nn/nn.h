// The layers and what they are built from, in one include.
#pragma once
#include "autograd/ops.h"
#include "nn/attention.h"
#include "nn/block.h"
#include "nn/init.h"
#include "nn/linear.h"
#include "nn/module.h"
#include "nn/norm.h"
#include "nn/parameter.h"
#include "nn/patch_embedding.h"
