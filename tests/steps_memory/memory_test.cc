// Goal: no step takes more memory than it declares (mr_step.memory_base and what follows), whatever
// the format, so that what the pool promises by `workers.memory` is true.
// Method: each step with pictures of each kind in a fresh worker process: a tiny one first, then
// one whose pixels count. The kernel says how far the worker's resident memory rose (VmHWM).
// MILLRACE_MEMORY_SIDE makes the pictures larger, to measure; each case prints its figures.
#include <fmt/core.h>

#include <cstdlib>

#include "engine/worker/worker_memory.h"
#include "tests/steps_image/pictures.h"
#include "tests/worker/worker_fixture.h"

namespace millrace {
namespace {

using testing::Picture;

constexpr uint32_t kTinySide = 48;
constexpr uint64_t kSlackBytes = 1 << 20;  // what heaps round up to

struct File {
  std::string bytes;
  uint32_t width = 0, height = 0;
  uint64_t pixels = 0;
};

using Params = std::map<std::string, std::string>;

struct Case {
  std::string step;
  std::string kind;
  Params params;
};

uint32_t large_side() {
  const char* given = std::getenv("MILLRACE_MEMORY_SIDE");
  return given == nullptr ? 640 : static_cast<uint32_t>(std::atoi(given));
}

// Smooth colours with noise, so that no encoder finds it easy.
Picture noisy(uint32_t width, uint32_t height, int bands, int bits, int shift = 0) {
  const int most = bits == 16 ? 65535 : 255;
  uint32_t seed = 1;
  return testing::make_picture(width, height, bands, bits, [&](int x, int y, int band) {
    seed = seed * 1664525 + 1013904223;
    const int smooth = (x * (band + 1) + y * (3 - band) + shift) % 1024 * most / 1024;
    return std::clamp(smooth + static_cast<int>(seed >> 24) * most / 2048, 0, most);
  });
}

constexpr uint32_t kFrames = 8;

std::string make_frames_webp(uint32_t width, uint32_t height) {
  std::vector<Picture> frames;
  for (uint32_t i = 0; i < kFrames; i++) {
    frames.push_back(noisy(width, height, 4, 8, static_cast<int>(i) * 100));
  }
  return testing::encode_webp_animation(frames, 100, 0);
}

// With holes, and each frame taken back before the next: the reader keeps what was below it.
std::string make_frames_gif(uint32_t width, uint32_t height) {
  testing::GifFilm film;
  film.width = width;
  film.height = height;
  for (int i = 0; i < 256; i++) {
    film.table.push_back({static_cast<uint8_t>(i), static_cast<uint8_t>(255 - i), 100});
  }
  for (uint32_t i = 0; i < kFrames; i++) {
    testing::GifFrame frame;
    frame.width = width;
    frame.height = height;
    frame.transparent = static_cast<int>(i);
    frame.disposal = 3;
    for (const uint16_t index : noisy(width, height, 1, 8, static_cast<int>(i) * 100).samples) {
      frame.indices.push_back(static_cast<uint8_t>(index));
    }
    film.frames.push_back(std::move(frame));
  }
  return testing::encode_gif(film);
}

std::string make_file(const std::string& kind, uint32_t width, uint32_t height) {
  using namespace testing;
  JpegStyle style;
  style.progressive = kind == "progressive";
  style.cmyk = kind == "cmyk";
  if (style.progressive) style.luma_h = style.luma_v = 1;  // all components at full size
  if (kind == "turned") {
    style.exif = std::string("MM\0*\0\0\0\10\0\1\1\22\0\3\0\0\0\1\0\6\0\0\0\0\0\0", 26);
  }
  if (kind == "cmyk") return encode_jpeg(noisy(width, height, 4, 8), style);
  if (kind == "jpeg" || kind == "progressive" || kind == "turned") {
    return encode_jpeg(noisy(width, height, 3, 8), style);
  }
  if (kind == "sampled_jpeg") return encode_jpeg(noisy(width, height, 3, 8));
  if (kind == "sampled_png") return encode_png(noisy(width, height, 4, 8));
  if (kind == "rgba16") return encode_png(noisy(width, height, 4, 16));
  if (kind == "p3") return encode_png(noisy(width, height, 4, 8), {.icc = icc_display_p3()});
  if (kind == "interlaced") return encode_png(noisy(width, height, 4, 16), {.interlaced = true});
  if (kind == "webp") return encode_webp(noisy(width, height, 4, 8), false);
  if (kind == "lossless") return encode_webp(noisy(width, height, 4, 8), true);
  if (kind.starts_with("heic") || kind.starts_with("avif")) {
    const bool deep = kind.ends_with("10");
    HeifStyle heif;
    heif.hevc = kind.starts_with("heic");
    heif.bits = deep ? 10 : 8;
    heif.quality = 80;
    heif.chroma = deep && !heif.hevc ? "422" : "444";  // all that libheif's encoder of AVIF makes
    heif.columns = heif.rows = kind.ends_with("tiles") ? 2 : 1;
    return encode_heif(noisy(width, height, deep && !heif.hevc ? 3 : 4, deep ? 16 : 8), heif);
  }
  if (kind == "tiff") return encode_tiff({noisy(width, height, 4, 16)});
  if (kind == "frames_webp") return make_frames_webp(width, height);
  return make_frames_gif(width, height);
}

// What is done otherwise with a large picture is tried on one that is large enough for it: above
// 2.65 megapixels, where `optimize` searches on a sample.
uint32_t side_of(const std::string& kind, uint32_t side) {
  return kind.starts_with("sampled") && side > kTinySide ? std::max(side, 1700u) : side;
}

const File& file_of(const std::string& kind, uint32_t given_side) {
  const uint32_t side = side_of(kind, given_side);
  static std::map<std::pair<std::string, uint32_t>, File> files;
  File& file = files[{kind, side}];
  if (!file.bytes.empty()) return file;
  const uint32_t frames = kind.starts_with("frames") ? kFrames : 1;
  file.width = side;
  file.height = side / frames;
  file.pixels = uint64_t{file.width} * file.height * frames;
  file.bytes = make_file(kind, file.width, file.height);
  return file;
}

std::string media_type_of(const std::string& kind) {
  if (kind == "rgba16" || kind == "interlaced" || kind == "sampled_png" || kind == "p3") {
    return "image/png";
  }
  if (kind == "webp" || kind == "lossless" || kind == "frames_webp") return "image/webp";
  if (kind == "frames_gif") return "image/gif";
  if (kind.starts_with("heic")) return "image/heic";
  if (kind.starts_with("avif")) return "image/avif";
  return kind == "tiff" ? "image/tiff" : "image/jpeg";
}

StepCall call_of(WorkerFixture& t, const Case& one, uint32_t side) {
  const StepDecl* decl = t.workers->catalogue()->find(one.step);
  const File& file = file_of(one.kind, side);
  BlobRef blob = WorkerFixture::blob(file.bytes).as_blob();
  blob.media_type = media_type_of(one.kind);
  blob.width = file.width, blob.height = file.height, blob.pixels = file.pixels;
  std::vector<Value> with;
  for (const PortDecl& port : decl->inputs) {
    with.push_back(port.type.optional ? Value() : Value(blob));
  }
  for (const PortDecl& port : decl->params) {
    const auto found = one.params.find(port.name);
    with.emplace_back();
    if (found == one.params.end()) continue;
    auto value = value_from_text(port.type, found->second);
    EXPECT_TRUE(value.ok()) << port.name;
    with.back() = std::move(value).value();
  }
  StepCall call = t.call(one.step, std::move(with));
  call.timeout_ms = 600'000;
  return call;
}

uint64_t status_bytes(int pid, const std::string& name) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with(name + ":")) continue;
    return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) << 10;
  }
  ADD_FAILURE() << "no " << name << " of process " << pid;
  return 0;
}

// Runs it; what it took beside the bytes of inputs and outputs.
uint64_t taken(WorkerFixture& t, int worker, StepCall call) {
  uint64_t passed_on = 0;
  for (size_t i = 0; i < call.decl->inputs.size(); i++) {
    if (call.with[i].kind() != Value::Kind::kBlob) continue;
    passed_on += call.with[i].as_blob().content->size_bytes;
  }
  const uint64_t before = status_bytes(worker, "VmRSS");
  const StepOutcome outcome = t.wait(t.start(std::move(call)), 600'000'000);
  EXPECT_EQ(outcome.kind, StepOutcome::Kind::kSucceeded) << outcome.message;
  for (const Value& output : outcome.outputs) {
    if (output.kind() == Value::Kind::kBlob) passed_on += output.as_blob().content->size_bytes;
  }
  const uint64_t peak = status_bytes(worker, "VmHWM");
  return peak - std::min(peak, before + passed_on);
}

class StepsMemory : public ::testing::TestWithParam<Case> {};

TEST_P(StepsMemory, IsWithinWhatIsDeclared) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer has memory of its own";
#endif
  const Case& one = GetParam();
  WorkerOptions options = WorkerFixture::real();
  options.cpu = 1;
  const std::vector<int> others = processes_named("millrace-cpu");  // of the last case, going
  WorkerFixture t(options);
  t.run(t.call("noop", {"ready"}));
  std::vector<int> workers = processes_named("millrace-cpu");
  std::erase_if(workers, [&](int pid) {
    return std::find(others.begin(), others.end(), pid) != others.end();
  });
  ASSERT_EQ(workers.size(), 1u);
  const WorkerMemory memory(UINT64_MAX, UINT64_MAX);
  const uint64_t base = t.workers->catalogue()->find(one.step)->memory_base;

  StepCall tiny = call_of(t, one, kTinySide);
  const uint64_t tiny_need = memory.need_of(*tiny.decl, tiny.with);
  const uint64_t tiny_bytes = taken(t, workers[0], std::move(tiny));
  EXPECT_LE(tiny_bytes, tiny_need);
  StepCall large = call_of(t, one, large_side());
  const uint64_t need = memory.need_of(*large.decl, large.with) - base;
  const uint64_t bytes = taken(t, workers[0], std::move(large));
  EXPECT_LE(bytes, need + kSlackBytes);
  const auto pixels = static_cast<double>(file_of(one.kind, large_side()).pixels);
  fmt::print("{:.1f} MB of {:.1f}; a pixel {:.1f} bytes of {:.1f}\n",
             static_cast<double>(tiny_bytes) / 1e6, static_cast<double>(tiny_need) / 1e6,
             static_cast<double>(bytes) / pixels, static_cast<double>(need) / pixels);
}

std::vector<Case> cases() {
  const std::vector<std::string> all = {"progressive", "turned", "cmyk",      "interlaced",
                                        "lossless",    "tiff",   "frames_gif"};
  const std::vector<std::string> few = {"progressive", "rgba16"};
  const std::vector<std::string> heif = {"avif", "avif10", "heic10", "heic_tiles"};
  std::vector<Case> cases;
  const auto add = [&](const std::string& step, const std::vector<std::string>& kinds,
                       const Params& params = {}) {
    for (const std::string& kind : kinds) cases.push_back({step, kind, params});
  };
  add("convert", all);
  add("convert", {"jpeg", "rgba16", "frames_webp"}, {{"format", "webp"}});
  add("convert", few, {{"format", "webp"}, {"lossless", "true"}});
  add("convert", few, {{"format", "gif"}});
  add("convert", {"frames_webp"}, {{"format", "gif"}});
  add("convert", few, {{"format", "tiff"}});
  add("convert", few, {{"progressive", "true"}});
  add("convert", {"jpeg"}, {{"format", "avif"}});
  add("convert", heif);
  add("convert", {"avif", "heic10"}, {{"format", "png"}});
  add("convert", {"heic10"}, {{"format", "webp"}});
  add("resize", heif, {{"width", "300"}});
  add("rotate", {"avif", "heic10"}, {{"angle", "90"}});
  add("grayscale", {"avif", "heic10"});
  add("placeholder", heif);
  add("compare", {"avif10", "heic10"});
  add("metadata", {"avif", "heic10"});
  add("optimize", {"avif", "heic10"});
  add("grayscale", all);
  add("grayscale", few, {{"method", "luminance"}});
  add("resize", all, {{"width", "300"}});
  add("resize", {"rgba16"}, {{"width", "1200"}, {"enlarge", "true"}});
  add("resize", {"jpeg"}, {{"width", "1200"}, {"enlarge", "true"}, {"format", "webp"}});
  add("crop", few, {{"aspect", "1:2"}, {"gravity", "attention"}});
  add("crop", few, {{"aspect", "1:2"}, {"gravity", "entropy"}});
  add("rotate", {"turned", "interlaced", "frames_webp"}, {{"angle", "90"}});
  add("blur", few, {{"sigma", "5"}});
  add("sharpen", few);
  add("dither", {"progressive", "rgba16", "frames_gif"});
  add("dither", few, {{"palette", "cga"}});
  add("watermark", few);
  add("watermark", {"p3"});
  add("watermark", {"p3"}, {{"colours", "keep"}});
  add("compare", {"turned", "interlaced", "webp"});
  add("metadata", {"jpeg", "rgba16"});
  add("placeholder", {"progressive", "interlaced"});
  add("optimize", {"jpeg", "rgba16", "webp", "sampled_jpeg", "sampled_png"});
  add("optimize", {"jpeg", "sampled_jpeg", "sampled_png"}, {{"formats", "web"}});
  add("transform", {"progressive", "interlaced"},
      {{"operations",
        R"([{"type":"rotate","params":{"angle":90}},)"
        R"({"type":"sharpen","params":{}},{"type":"rotate","params":{"angle":90}}])"}});
  // What a list enlarges, after it has cut it to the longest shape that is reckoned with, and
  // holds.
  const std::string enlarge = fmt::format(
      R"([{{"type":"crop","params":{{"aspect":"1:4"}}}},)"
      R"({{"type":"resize","params":{{"width":{},"enlarge":true}}}},)"
      R"({{"type":"rotate","params":{{"angle":90}}}},{{"type":"sharpen","params":{{}}}},)"
      R"({{"type":"rotate","params":{{"angle":90}}}})",
      large_side());
  const auto enlarge_to = [&](const std::string& format) -> Params {
    return {
        {"operations", enlarge + R"(,{"type":"convert","params":{"format":")" + format + "\"}}]"}};
  };
  add("transform", few, enlarge_to("same"));
  add("transform", {"rgba16"}, enlarge_to("webp"));
  add("transform", {"rgba16"}, enlarge_to("gif"));
  add("transform", {"jpeg"}, enlarge_to("avif"));  // smooth: libaom takes it for a screen
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, StepsMemory, ::testing::ValuesIn(cases()), [](const auto& one) {
  std::string name = one.param.step + "_" + one.param.kind;
  for (const auto& [key, value] : one.param.params) {
    name += "_" + key + "_" + (value.size() <= 12 ? value : value.substr(value.size() - 24));
  }
  std::erase_if(name,
                [](char c) { return isalnum(static_cast<unsigned char>(c)) == 0 && c != '_'; });
  return name;
});

}  // namespace
}  // namespace millrace
