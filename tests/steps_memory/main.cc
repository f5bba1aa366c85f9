// The test program is its own template process, as the server is.
#include <gtest/gtest.h>

#include <cstring>

#include "engine/worker/workers.h"

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "worker-template") == 0) millrace::worker_template_main();
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
