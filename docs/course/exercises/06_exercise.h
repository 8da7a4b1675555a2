// Exercise of lesson 6: patches, and what a patch can see. Write the functions in 06_exercise.cpp, then
// scripts/course 6 check
#pragma once
#include <vector>

/// Cuts an image into patches of p x p pixels, row-major over the grid of height/p x width/p patches:
///   patches[r * columns + c, (ch * p + y) * p + x] = image[ch, r * p + y, c * p + x]
/// image [channels, height, width], patches [N, channels p p]; p divides height and width.
void patchify(float* patches, const float* image, int channels, int height, int width, int p);

/// Which patches the result of patch i depends on after so many layers of neighbourhood attention on a grid
/// of side x side patches: a vector of side * side values, 1 where it does. In each layer a patch sees the
/// window x window places around it, `dilation` apart, itself among them, and, where there are any, the
/// registers; a register sees all patches and all registers. What a register begins with depends on no patch.
/// 0 layers: the patch itself.
std::vector<char> receptive_field(int i, int side, int window, int dilation, int registers, int layers);
