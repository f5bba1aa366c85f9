// Goal: a server that has made 10,000 pictures holds as much memory as one that has made 500.
// Method: files that nobody here made (photographs of our own where they are absent) through every
// step that makes a picture, again and again, several at a time, each with a number in it so that
// it is a file of its own (JPEG and PNG, which most are). What is compared is the memory of the
// server and its workers at rest, when idle workers have given back what they keep for the next
// picture; without files, which count for less the more programs use them. Before, jobs without
// pictures fill what grows with the store and has a bound: the store's page cache.
#include <poll.h>

#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "bench/harness/load.h"
#include "cmake/precompiled_test.h"
#include "cmake/tree.h"
#include "steps/common/crc32.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPictures = 10'000, kRound = 500;
constexpr int kConnections = 4;
constexpr double kGrowthMax = 0.05;
constexpr uint64_t kLookEvery = 1000;
// Rest: the least of so many seconds without work. An idle worker tidies up within one.
constexpr double kRestSeconds = 5;
constexpr uint64_t kFillers = 1600, kFillerBytes = 16000;
// Larger ones are a few of the corpus; with them this would take an hour and show nothing else.
constexpr uint64_t kFileBytesMax = 300'000;

struct Work {
  const char *name, *with;
};
constexpr Work kWorks[] = {
    {"resize", "width: 96"},
    {"transform", R"(operations: [{ type: rotate, params: { angle: 90 } }, )"
                  R"({ type: resize, params: { width: 90, height: 60, gravity: attention } }, )"
                  R"({ type: sharpen }, { type: convert, params: { format: webp } }])"},
    {"crop", R"(aspect: "1:1")"},
    {"rotate", "angle: 90"},
    {"convert", "format: jpeg"},
    {"blur", "sigma: 1.5"},
    {"sharpen", "amount: 2"},
    {"dither", "palette: c64"},
    {"grayscale", "method: luminance"},
    {"optimize", "quality: low"},
    {"metadata", "remove: unsafe"},
};

constexpr const char* kFiller = R"(pipeline: filler
inputs:
  text: { type: string }
steps:
  work: { use: noop }
outputs:
  text: ${{ inputs.text }}
)";

std::string pipeline_of(const Work& work) {
  return fmt::format(R"(pipeline: {0}_all
inputs:
  image: {{ type: blob, max: 8MiB }}
steps:
  upload:
    use: upload
    with: {{ image: "${{{{ inputs.image }}}}" }}
  work:
    use: {0}
    with:
      image: ${{{{ steps.upload.image }}}}
      {1}
outputs:
  image: ${{{{ steps.work.image }}}}
)",
                     work.name, work.with);
}

std::vector<std::string> pictures() {
  std::vector<std::string> all;
  const fs::path corpus = fs::path(in_source("/../shared/corpus"));
  for (const char* folder : {"pngsuite", "x-image", "libjpeg-turbo", "photo"}) {
    if (!fs::exists(corpus / folder)) continue;
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(corpus / folder)) {
      const bool picture = entry.path().extension() != ".md" && entry.path().extension() != ".icc";
      if (picture && entry.file_size() <= kFileBytesMax) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) all.push_back(file_text(file));
  }
  for (int number = 0; number < 8; ++number) all.push_back(make_photo(number));
  return all;
}

std::string big_endian(uint64_t number, int bytes) {
  std::string text;
  while (bytes-- > 0) text += static_cast<char>(number >> (8 * bytes));
  return text;
}

// The same picture with a comment that names it.
std::string numbered(const std::string& file, uint64_t number) {
  const std::string text = std::string("number\0", 7) + std::to_string(number);
  if (file.starts_with("\xff\xd8")) {
    return file.substr(0, 2) + "\xff\xfe" + big_endian(text.size() + 2, 2) + text + file.substr(2);
  }
  constexpr size_t kFirstChunkEnd = 33;
  if (!file.starts_with("\x89PNG") || file.size() < kFirstChunkEnd) return file;
  const std::string chunk = "tEXt" + text;
  const uint32_t sum = crc32(reinterpret_cast<const uint8_t*>(chunk.data()), chunk.size());
  return file.substr(0, kFirstChunkEnd) + big_endian(text.size(), 4) + chunk + big_endian(sum, 4) +
         file.substr(kFirstChunkEnd);
}

// Makes the store larger than its page cache.
void fill_store(const ServerProcess& server) {
  const std::string request = post_request(
      "/v1/pipelines/filler/jobs", "Prefer: wait=60\r\nContent-Type: application/json\r\n",
      fmt::format(R"({{"inputs":{{"text":"{}"}}}})", std::string(kFillerBytes, 'x')));
  Load load;
  load.port = server.port();
  load.connections = 16;
  load.requests = kFillers;
  load.request = [&](uint64_t) -> const std::string& { return request; };
  load.good = [](std::string_view answer) {
    return answer.find(R"("state":"succeeded")") != answer.npos;
  };
  const LoadResult result = run_load(load);
  ASSERT_EQ(result.failures, 0u) << result.first_failure;
}

double rest_bytes(const ServerProcess& server) {
  double least = 1e18;
  for (const double end = now_seconds() + kRestSeconds; now_seconds() < end;) {
    least = std::min(least, static_cast<double>(tree_own_bytes(server.pid())));
    poll(nullptr, 0, 50);
  }
  return least;
}

// The load of all files and all steps, round after round.
class PictureLoad {
 public:
  explicit PictureLoad(const ServerProcess& server) : files_(pictures()) {
    load_.port = server.port();
    load_.connections = kConnections;
    load_.requests = kRound;
    load_.request = [this](uint64_t) -> const std::string& { return next(); };
    load_.good = [this](std::string_view answer) {
      const size_t at = answer.find(R"("state":")");  // the job's comes before its steps'
      const std::string_view state = answer.substr(std::min(at, answer.size() - 1));
      const bool succeeded = state.starts_with(R"("state":"succeeded")");
      const bool failed = state.starts_with(R"("state":"failed")");
      made += succeeded, refused += failed;
      return succeeded || failed;
    };
    // Every file meets every step: their numbers have no common divisor.
    EXPECT_EQ(std::gcd(files_.size(), std::size(kWorks)), 1u);
  }

  void run_round() {
    const LoadResult result = run_load(load_);
    EXPECT_EQ(result.failures, 0u) << result.first_failure;
  }

  uint64_t sent = 0, made = 0, refused = 0;

 private:
  const std::string& next() {
    const Work& work = kWorks[sent % std::size(kWorks)];
    const std::string file = numbered(files_[files_.size() - 1 - sent % files_.size()], sent);
    sent += 1;
    request_ = post_request(fmt::format("/v1/pipelines/{}_all/jobs", work.name),
                            "Prefer: wait=60\r\nContent-Type: application/octet-stream\r\n", file);
    return request_;
  }

  const std::vector<std::string> files_;
  std::string request_;
  Load load_;
};

TEST(PicturesInARowLong, TenThousandLeaveNoMemoryBehind) {
  const std::string directory = make_directory("pictures");
  ServerSettings settings = settings_in(directory);
  for (const Work& work : kWorks) {
    std::ofstream(settings.pipelines + "/" + work.name + "_all.yaml") << pipeline_of(work);
  }
  std::ofstream(settings.pipelines + "/filler.yaml") << kFiller;
  {
    ServerProcess server(settings);
    ASSERT_NO_FATAL_FAILURE(fill_store(server));
    PictureLoad load(server);
    double first = 0, last = 0;
    const double begin = now_seconds();
    while (load.sent < kPictures && !::testing::Test::HasFailure()) {
      load.run_round();
      if (load.sent != kRound && load.sent % kLookEvery != 0) continue;
      last = rest_bytes(server);
      if (load.sent == kRound) first = last;
      printf("%6llu pictures, %5.1f MB at rest, %.0f s\n",
             static_cast<unsigned long long>(load.sent), last / 1e6, now_seconds() - begin);
      fflush(stdout);
    }
    printf("%llu made, %llu refused\n", static_cast<unsigned long long>(load.made),
           static_cast<unsigned long long>(load.refused));
    EXPECT_GT(load.made, kPictures / 2);
    EXPECT_LE(last, first * (1 + kGrowthMax));
    EXPECT_EQ(server.stop(), 0);
  }
  remove_tree(directory);
}

}  // namespace
}  // namespace millrace
