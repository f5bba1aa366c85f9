// The test program is its own template process, as the server is.
#include <gtest/gtest.h>

#include <cstring>

#include "engine/worker/workers.h"

namespace millrace {
int run_inside(const char* file, const char* how);  // running_slots_test.cc
}

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "worker-template") == 0) millrace::worker_template_main();
  if (argc == 4 && strcmp(argv[1], "run-inside") == 0) {
    return millrace::run_inside(argv[2], argv[3]);
  }
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
