/* step.h stands alone as pedantic C99; compiling this is the test. */
#include "engine/abi/step.h"

int millrace_header_c99(void);
int millrace_header_c99(void) {
  return (int)sizeof(mr_plugin);
}
