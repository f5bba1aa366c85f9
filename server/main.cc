// The program. A worker's template process is this same program under a hidden verb; it must start
// before anything else has been touched.
#include <cstring>

#include "engine/worker/workers.h"
#include "server/cli/cli.h"

int main(int argc, char** argv) {
  if (argc > 1 && std::strcmp(argv[1], "worker-template") == 0) millrace::worker_template_main();
  return millrace::run_command_line(argc, argv);
}
