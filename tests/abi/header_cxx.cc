// step.h stands alone as pedantic C++11; compiling this is the test.
#include "engine/abi/step.h"

extern "C" int millrace_header_cxx() {
  return static_cast<int>(sizeof(mr_plugin));
}
