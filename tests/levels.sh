#!/usr/bin/env bash
# What code for newer processors defines must have names of its own: the linker takes one definition of an inline function for all,
# and another processor would then run what it does not know (tensor/cpu/matmul/eigen_level.cpp).
#
#   tests/levels.sh LIBRARY LEVEL
set -euo pipefail
library=$1 level=$2
# Defined text, data and weak symbols that others see.
shared=$(nm --demangle --defined-only --extern-only "$library" | sed -nE 's/^[0-9a-f]+ [A-Zu] //p')
[[ $shared == *"vitral::cpu_kernels::$level::multiply(float*"* ]] || { echo "$library does not define multiply at $level"; exit 1; }
foreign=$(grep -vE "vitral::cpu_kernels::$level::|Eigen_$level::|^DW\.ref\." <<<"$shared" || true)
[[ -z $foreign ]] || { printf '%s: the linker could take these for all processors:\n%s\n' "$library" "$foreign"; exit 1; }
echo "$(wc -l <<<"$shared") symbols of $level, all under names of their own"
