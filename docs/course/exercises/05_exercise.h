// Exercise of lesson 5: attention in a neighbourhood with holes. Write the functions in 05_exercise.cpp, then
// scripts/course 5 check
#pragma once

/// Whether token i sees token j on a grid of rows x columns, row-major: where
///   row_j = row_i + dilation a,  column_j = column_i + dilation b,  |a|, |b| <= window / 2
/// for whole numbers a and b. window is odd, dilation positive; i and j are on the grid.
bool sees(int i, int j, int rows, int columns, int window, int dilation);

/// One head of attention in such a neighbourhood, N = rows columns tokens of size D:
///   out_i = sum_j softmax_j(q_i . k_j / sqrt(D)) v_j    over the j that i sees
/// q, k, v, out [N,D]. Neighbours beside the grid do not exist: their share goes to the others. The cost must
/// be N window^2 D, not N^2 D: go through the neighbours, not through all tokens. Scores may be as large as
/// 1000.
void dilated_attention(double* out, const double* q, const double* k, const double* v, int rows, int columns,
                       int size, int window, int dilation);

/// How many of the N tokens token i sees.
int neighbours(int i, int rows, int columns, int window, int dilation);
