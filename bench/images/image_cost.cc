// What one image step costs, for bench/images/compare.py:
//
//   image-cost step STEP FILE ROUNDS [NAME=VALUE…]    a step, called in this process
//   image-cost bare CHAIN FILE ROUNDS WIDTH QUALITY   what a program of libvips alone would do
//
// One JSON line: CPU and wall milliseconds a call (the median of ROUNDS, after one that is not
// counted), bytes of the result, and the process's largest resident set.
#include <fmt/core.h>
#include <sys/resource.h>
#include <vips/vips.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <utility>
#include <vector>

#include "tests/steps_image/step_host.h"

namespace millrace {
namespace {

double cpu_ms() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto ms = [](const timeval& time) { return time.tv_sec * 1e3 + time.tv_usec / 1e3; };
  return ms(usage.ru_utime) + ms(usage.ru_stime);
}

double wall_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int measure(int rounds, const std::function<size_t()>& work) {
  size_t bytes = work();
  std::vector<double> cpu, wall;
  for (int round = 0; round < rounds && bytes > 0; ++round) {
    const double cpu_start = cpu_ms(), wall_start = wall_ms();
    bytes = work();
    cpu.push_back(cpu_ms() - cpu_start);
    wall.push_back(wall_ms() - wall_start);
  }
  if (bytes == 0 || cpu.empty()) return 1;
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  fmt::print(R"({{"cpu_ms":{:.3f},"wall_ms":{:.3f},"bytes":{},"rss_mb":{:.1f}}})"
             "\n",
             median(cpu), median(wall), bytes, static_cast<double>(usage.ru_maxrss) / 1024);
  return 0;
}

// What stands behind one name on the command line.
struct Bare {
  const std::string& file;
  int width, quality;

  VipsImage* load() const {
    return vips_image_new_from_buffer(file.data(), file.size(), "", "access",
                                      VIPS_ACCESS_SEQUENTIAL, nullptr);
  }
  VipsImage* thumbnail() const {
    VipsImage* out = nullptr;
    const int failed =
        vips_thumbnail_buffer(const_cast<char*>(file.data()), file.size(), &out, width, "height",
                              VIPS_MAX_COORD, "size", VIPS_SIZE_DOWN, nullptr);
    return failed ? nullptr : out;
  }
  static VipsImage* gray(VipsImage* in) {
    VipsImage* out = nullptr;
    const int failed = vips_colourspace(in, &out, VIPS_INTERPRETATION_B_W, nullptr);
    g_object_unref(in);
    return failed ? nullptr : out;
  }
  VipsImage* blurred(VipsImage* in) const {
    VipsImage* out = nullptr;
    // The mask and the precision of the step; libvips' own defaults are a smaller one, in integers.
    const int failed = vips_gaussblur(in, &out, 2.0, "min_ampl", 0.0022, "precision",
                                      VIPS_PRECISION_FLOAT, nullptr);
    g_object_unref(in);
    return failed ? nullptr : out;
  }
  size_t save(VipsImage* image, const std::string& format) const {
    void* data = nullptr;
    size_t size = 0;
    int failed = -1;
    if (image == nullptr) {
    } else if (format == "webp") {
      failed = vips_webpsave_buffer(image, &data, &size, "Q", quality, "strip", TRUE, nullptr);
    } else if (format == "png") {
      failed = vips_pngsave_buffer(image, &data, &size, "strip", TRUE, "filter",
                                   VIPS_FOREIGN_PNG_FILTER_ALL, nullptr);
    } else {
      failed = vips_jpegsave_buffer(image, &data, &size, "Q", quality, "strip", TRUE,
                                    "optimize_coding", TRUE, nullptr);
    }
    if (failed) fmt::print(stderr, "{}\n", vips_error_buffer());
    if (image != nullptr) g_object_unref(image);
    g_free(data);
    return failed ? 0 : size;
  }
  size_t run(const std::string& chain) const {
    if (chain == "gray") return save(gray(load()), "jpeg");
    if (chain == "resize") return save(thumbnail(), "jpeg");
    if (chain == "resize-png") return save(thumbnail(), "png");
    if (chain == "resize-webp") return save(thumbnail(), "webp");
    if (chain == "chain") return save(gray(blurred(thumbnail())), "jpeg");
    return save(load(), chain);
  }
};

std::string read_file(const char* path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::string bytes(file ? static_cast<size_t>(file.tellg()) : 0, '\0');
  file.seekg(0).read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

int run_step(const std::string& name, std::string image, int rounds, char** arguments) {
  std::map<std::string, std::string> params;
  for (; *arguments != nullptr; ++arguments) {
    const std::string argument = *arguments;
    const size_t equals = argument.find('=');
    params[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  const testing::StepRequest request = {name, name, std::move(image), params};
  return measure(rounds, [&]() -> size_t {
    const testing::StepAnswer answer = testing::run_step_here(request);
    if (answer.ok() && !answer.outputs.empty()) return answer.outputs[0].size();
    fmt::print(stderr, "{}: {}\n", name, answer.message + answer.misuse);
    return 0;
  });
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  using namespace millrace;
  if (argc < 5) return fmt::print(stderr, "usage: image-cost step|bare NAME FILE ROUNDS …\n"), 2;
  const std::string kind = argv[1], name = argv[2];
  std::string image = read_file(argv[3]);
  const int rounds = std::atoi(argv[4]);
  if (kind == "step") return run_step(name, std::move(image), rounds, argv + 5);
  if (argc < 7)
    return fmt::print(stderr, "usage: image-cost bare NAME FILE ROUNDS WIDTH QUALITY\n"), 2;
  if (vips_init("image-cost") != 0) return 1;
  vips_cache_set_max(0);
  vips_concurrency_set(1);
  const Bare bare = {image, std::atoi(argv[5]), std::atoi(argv[6])};
  return measure(rounds, [&] { return bare.run(name); });
}
