// Goal: no step takes more memory than it declares (mr_step.memory_base, memory_per_pixel),
// whatever the format, so that what the pool promises by `workers.memory` is true. Method: each
// step with pictures of each kind in a fresh worker process; the kernel says how far its resident
// memory rose (VmHWM). MILLRACE_MEMORY_SIDE makes the pictures larger, to measure.
#include <fmt/core.h>

#include <cstdlib>
#include <set>

#include "engine/worker/worker_memory.h"
#include "tests/steps_image/pictures.h"
#include "tests/worker/worker_fixture.h"

namespace millrace {
namespace {

using testing::Picture;

struct File {
  std::string bytes;
  uint32_t width = 0, height = 0;
  uint64_t pixels = 0;
};

struct Case {
  std::string step;
  std::string file;
  std::map<std::string, std::string> params;
};

uint32_t side() {
  const char* given = std::getenv("MILLRACE_MEMORY_SIDE");
  return given == nullptr ? 1200 : static_cast<uint32_t>(std::atoi(given));
}

// Smooth colours with noise, so that no encoder finds it easy.
Picture noisy(uint32_t width, uint32_t height, int bands, int bits) {
  const int most = bits == 16 ? 65535 : 255;
  uint32_t seed = 1;
  return testing::make_picture(width, height, bands, bits, [&](int x, int y, int band) {
    seed = seed * 1664525 + 1013904223;
    const int smooth = (x * (band + 1) + y * (3 - band)) % 1024 * most / 1024;
    return std::clamp(smooth + static_cast<int>(seed >> 24) * most / 2048, 0, most);
  });
}

std::string make_file(const std::string& kind, uint32_t width, uint32_t height) {
  using namespace testing;
  if (kind == "jpeg") return encode_jpeg(noisy(width, height, 3, 8));
  if (kind == "progressive") return encode_jpeg(noisy(width, height, 3, 8), {.progressive = true});
  if (kind == "turned") {
    const std::string tag("MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0\6\0\0\0\0\0\0", 26);
    return encode_jpeg(noisy(width, height, 3, 8), {.exif = tag});
  }
  if (kind == "cmyk") return encode_jpeg(noisy(width, height, 4, 8), {.cmyk = true});
  if (kind == "rgba") return encode_png(noisy(width, height, 4, 8));
  if (kind == "rgba16") return encode_png(noisy(width, height, 4, 16));
  if (kind == "interlaced") return encode_png(noisy(width, height, 4, 16), {.interlaced = true});
  if (kind == "gray") return encode_png(noisy(width, height, 1, 8));
  if (kind == "webp") return encode_webp(noisy(width, height, 4, 8), false);
  if (kind == "lossless") return encode_webp(noisy(width, height, 4, 8), true);
  if (kind == "tiff") return encode_tiff({noisy(width, height, 4, 16)});
  if (kind == "frames_webp") {
    std::vector<Picture> frames;
    for (uint32_t i = 0; i < 8; i++) frames.push_back(noisy(width, height / 8, 4, 8));
    return encode_webp_animation(frames, 100, 0);
  }
  if (kind == "frames_gif") {
    GifStyle style;
    style.width = width, style.height = height / 8;
    for (uint8_t i = 0; i < 8; i++) style.frame_colours.push_back({i, 100, 200});
    return encode_gif(style);
  }
  ADD_FAILURE() << kind;
  return "";
}

const File& file_of(const std::string& kind) {
  static std::map<std::string, File> files;
  File& file = files[kind];
  if (!file.bytes.empty()) return file;
  const bool frames = kind.starts_with("frames");
  file.width = side();
  file.height = side() / (frames ? 8 : 1);
  file.pixels = frames ? uint64_t{file.width} * file.height * 8 : 0;
  file.bytes = make_file(kind, side(), side());
  return file;
}

Value blob_of(const File& file) {
  BlobRef blob = WorkerFixture::blob(file.bytes).as_blob();
  blob.media_type = "application/octet-stream";
  blob.width = file.width, blob.height = file.height, blob.pixels = file.pixels;
  return blob;
}

uint64_t status_bytes(int pid, const std::string& name) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name))
      return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) << 10;
  }
  ADD_FAILURE() << "no " << name << " of process " << pid;
  return 0;
}

StepCall call_of(WorkerFixture& t, const Case& one) {
  const StepDecl* decl = t.workers->catalogue()->find(one.step);
  std::vector<Value> with;
  for (size_t i = 0; i < decl->inputs.size(); i++) with.push_back(blob_of(file_of(one.file)));
  for (const PortDecl& port : decl->params) {
    const auto found = one.params.find(port.name);
    if (found == one.params.end()) {
      with.emplace_back();
      continue;
    }
    auto value = value_from_text(port.type, found->second);
    EXPECT_TRUE(value.ok()) << port.name;
    with.push_back(std::move(value).value());
  }
  StepCall call = t.call(one.step, std::move(with));
  call.timeout_ms = 600'000;
  return call;
}

class StepsMemory : public ::testing::TestWithParam<Case> {};

TEST_P(StepsMemory, IsWithinWhatIsDeclared) {
  const Case& one = GetParam();
  WorkerOptions options = WorkerFixture::real();
  options.cpu = 1;
  WorkerFixture t(options);
  t.run(t.call("noop", {"ready"}));
  const std::vector<int> workers = processes_named("millrace-cpu");
  ASSERT_EQ(workers.size(), 1u);
  const uint64_t before = status_bytes(workers[0], "VmRSS");
  StepCall call = call_of(t, one);
  const WorkerMemory memory(UINT64_MAX, UINT64_MAX);
  const StepDecl& decl = *call.decl;
  const uint64_t need = memory.need_of(decl, call.with);
  uint64_t passed_on = 0, pixels = 0;
  for (size_t i = 0; i < decl.inputs.size(); i++) {
    passed_on += call.with[i].as_blob().content->size_bytes;
    pixels += std::max(file_of(one.file).pixels, uint64_t{side()} * side());
  }
  const StepOutcome outcome = t.wait(t.start(std::move(call)), 600'000'000);
  ASSERT_EQ(outcome.kind, StepOutcome::Kind::kSucceeded) << outcome.message;
  const uint64_t peak = status_bytes(workers[0], "VmHWM");
  for (const Value& output : outcome.outputs) {
    if (output.kind() == Value::Kind::kBlob) passed_on += output.as_blob().content->size_bytes;
  }
  const uint64_t grown = peak - std::min(peak, before + passed_on);
  fmt::print("{:<12} {:<12} {:<28} {:>7.1f} MB, {:>6.1f} a pixel; declared {:.1f} MB\n", one.step,
             one.file,
             one.params.empty() ? "" : one.params.begin()->first + "=" + one.params.begin()->second,
             static_cast<double>(grown) / 1e6,
             (static_cast<double>(grown) - static_cast<double>(decl.memory_base)) /
                 static_cast<double>(pixels),
             static_cast<double>(need) / 1e6);
  EXPECT_LE(grown, need);
}

std::vector<Case> cases() {
  const std::vector<std::string> kinds = {"jpeg",   "progressive", "turned",    "cmyk", "rgba",
                                          "rgba16", "interlaced",  "gray",      "webp", "lossless",
                                          "tiff",   "frames_webp", "frames_gif"};
  std::vector<Case> out;
  const auto add = [&](const std::string& step, std::map<std::string, std::string> params = {}) {
    for (const std::string& kind : kinds) out.push_back({step, kind, params});
  };
  add("upload");
  add("metadata");
  add("grayscale");
  add("grayscale", {{"method", "luminance"}});
  add("resize", {{"width", "500"}});
  add("convert");
  add("convert", {{"format", "jpeg"}});
  add("convert", {{"format", "png"}});
  add("convert", {{"format", "webp"}});
  add("convert", {{"format", "webp"}, {"lossless", "true"}});
  add("convert", {{"format", "gif"}});
  add("convert", {{"format", "tiff"}});
  add("convert", {{"progressive", "true"}});
  add("convert", {{"format", "jpeg"}, {"progressive", "true"}});
  add("convert", {{"format", "avif"}});
  add("crop", {{"aspect", "1"}, {"gravity", "attention"}});
  add("crop", {{"aspect", "1"}, {"gravity", "entropy"}});
  add("rotate", {{"angle", "90"}});
  add("blur", {{"sigma", "5"}});
  add("sharpen");
  add("dither");
  add("dither", {{"palette", "cga"}});
  add("watermark");
  add("compare");
  add("optimize");
  add("placeholder");
  add("transform", {{"operations",
                     R"([{"rotate":{"angle":90}},{"blur":{"sigma":5}},{"rotate":{"angle":90}}])"}});
  return out;
}

INSTANTIATE_TEST_SUITE_P(All, StepsMemory, ::testing::ValuesIn(cases()), [](const auto& info) {
  std::string name = info.param.step + "_" + info.param.file;
  for (const auto& [key, value] : info.param.params) name += "_" + key + value.substr(0, 10);
  std::erase_if(name, [](char c) { return !isalnum(c) && c != '_'; });
  return name + std::to_string(info.index);
});

}  // namespace
}  // namespace millrace
