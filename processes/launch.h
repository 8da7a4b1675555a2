// Who started this process: a launcher of MPI (mpirun, mpiexec, srun), as one of several, or nobody.
#pragma once
#include <string>
#include <vector>

#include "processes/group.h"

namespace vitral {

/// All processes of this job. MPI is loaded on the first call where a launcher started more than one, else
/// this is alone(). UsageError: a build without MPI, or a launcher that does not speak to it.
Group& processes();
/// Which of this job's processes on this machine this is, from 0, as the launcher says: for what each takes
/// its own of.
int local_rank();
/// What is wrong with the cores that the launcher left to this process, which computes with so many threads:
/// a line for a warning, or "".
std::string binding_problem(int threads);

/// The group where one of several is open; for the end of a process that fails.
Group* open_group();

/// UsageError where one of several comes to work that they do not share. what: "--from: embeddings are
/// copied".
void require_one_process(const std::string& what);

/// Starts this program with these arguments as so many processes on this machine, each with its share
/// of the cores, waits, and returns the exit status of the job. A signal that asks to stop goes to all of
/// them. One line on stderr where one of them died. UsageError: no launcher is installed, or these are such
/// processes.
int start_processes(int count, const std::vector<std::string>& arguments);

}  // namespace vitral
