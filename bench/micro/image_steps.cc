// What the image steps cost beside the bare codec libraries: `image-steps PHOTO [ROUNDS]`. CPU
// milliseconds a photograph, the steps called in this process through a host that copies outputs
// into memory.
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <vector>

#include "bench/limits_image.h"
#include "tests/steps_image/step_host.h"

namespace millrace {
namespace {

double cpu_ms() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& time) { return time.tv_sec * 1e3 + time.tv_usec / 1e3; };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

// The median of five measurements of `rounds` calls, each in CPU milliseconds a call.
void measure(const char* name, int rounds, const std::function<void()>& work) {
  work();
  std::vector<double> results;
  for (int k = 0; k < 5; ++k) {
    const double start = cpu_ms();
    for (int i = 0; i < rounds; ++i) work();
    results.push_back((cpu_ms() - start) / rounds);
  }
  std::sort(results.begin(), results.end());
  fmt::print("{:<44} {:7.2f} ms ({:.2f} to {:.2f})\n", name, results[2], results[0], results[4]);
}

void step(const testing::StepRequest& request) {
  const testing::StepAnswer answer = testing::run_step_here(request);
  if (answer.ok()) return;
  fmt::print(stderr, "{}: {}\n", request.step, answer.message + answer.misuse);
  std::exit(1);
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  if (argc < 2) return fmt::print(stderr, "usage: image-steps PHOTO [ROUNDS]\n"), 2;
  std::ifstream file(argv[1], std::ios::binary);
  std::stringstream stream;
  stream << file.rdbuf();
  const std::string photo = stream.str();
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 40;
  measure("bare: coefficient transform", rounds, [&] { limit_coefficient_transform(photo); });
  measure("bare: Y plane, quality 80", rounds, [&] { limit_luma_plane(photo); });
  measure("upload", rounds, [&] { step({"upload", "upload", photo, {}}); });
  measure("grayscale (default)", rounds, [&] { step({"grayscale", "grayscale", photo, {}}); });
  measure("grayscale quality=80", rounds, [&] {
    step({"grayscale", "grayscale", photo, {{"quality", "80"}}});
  });
  measure("grayscale method=luminance quality=80", rounds, [&] {
    step({"grayscale", "grayscale", photo, {{"method", "luminance"}, {"quality", "80"}}});
  });
  return 0;
}
