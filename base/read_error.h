// What the machine does not give is not damage of what it was to give.
#pragma once
#include "base/error.h"

namespace vitral {

/// The system did not give what a file holds: the disk fails, descriptors or memory are used up. It says
/// nothing of the contents: whoever leaves out what does not decode must not leave out this.
class ReadError : public Error {
 public:
  using Error::Error;
};

}  // namespace vitral
