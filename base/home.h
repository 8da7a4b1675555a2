// The home folder in paths, where no shell has put it in: after the = of an option, in configurations.
#pragma once
#include <string>

namespace vitral {

/// ~ and ~/x with the folder that HOME names (else the system's list of users), ~user/x with that user's;
/// every other path as it is. UsageError: no such user.
std::string expand_home(const std::string& path);

/// The first part of a path that a shell would replace, as $HOME or ${HOME} at the beginning of a name; "":
/// none, or a file or folder of this very name is there.
std::string unexpanded_variable(const std::string& path);

}  // namespace vitral
