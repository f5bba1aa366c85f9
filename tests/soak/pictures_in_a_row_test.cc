// Goal: a server that has made 10,000 pictures holds as much memory as one that has made 500.
// Method: files that nobody here made (photographs of our own where they are absent) through every
// step that makes a picture, again and again, several at a time; the memory of the server and its
// workers after each 500.
#include <filesystem>
#include <fstream>
#include <numeric>
#include <sstream>

#include "bench/harness/load.h"
#include "cmake/precompiled_test.h"
#include "tests/process/photo.h"
#include "tests/process/trial.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPictures = 10'000, kRound = 500;
constexpr int kConnections = 4;
constexpr double kGrowthMax = 0.05;
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
  const fs::path corpus = fs::path(MILLRACE_SOURCE) / ".." / "shared" / "corpus";
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

TEST(PicturesInARowLong, TenThousandLeaveNoMemoryBehind) {
  const std::string directory = make_directory("pictures");
  ServerSettings settings = settings_in(directory);
  for (const Work& work : kWorks) {
    std::ofstream(settings.pipelines + "/" + work.name + "_all.yaml") << pipeline_of(work);
  }
  ServerProcess server(settings);
  const std::vector<std::string> files = pictures();
  std::string request;
  Load load;
  load.port = server.port();
  load.connections = kConnections;
  load.requests = kRound;
  uint64_t sent = 0, made = 0, refused = 0;
  // Every file meets every step, and the first round has met the largest ones: the numbers of files
  // and steps have no common divisor.
  load.request = [&](uint64_t) -> const std::string& {
    const Work& work = kWorks[sent % std::size(kWorks)];
    const std::string& file = files[files.size() - 1 - sent % files.size()];
    sent += 1;
    request = post_request(fmt::format("/v1/pipelines/{}_all/jobs", work.name),
                           "Prefer: wait=60\r\nContent-Type: application/octet-stream\r\n", file);
    return request;
  };
  load.good = [&](std::string_view answer) {
    const bool ended = answer.find(R"("state":"succeeded")") != answer.npos;
    const bool failed = answer.find(R"("state":"failed")") != answer.npos;
    made += ended, refused += failed;
    return ended || failed;
  };
  ASSERT_EQ(std::gcd(files.size(), std::size(kWorks)), 1u);
  std::vector<uint64_t> bytes;
  const double begin = now_seconds();
  while (sent < kPictures) {
    const LoadResult result = run_load(load);
    ASSERT_EQ(result.failures, 0u) << result.first_failure;
    bytes.push_back(tree_pss_bytes(server.pid()));
    printf("%6llu pictures, %6.1f MB, %.0f s\n", static_cast<unsigned long long>(sent),
           static_cast<double>(bytes.back()) / 1e6, now_seconds() - begin);
    fflush(stdout);
  }
  printf("%llu made, %llu refused\n", static_cast<unsigned long long>(made),
         static_cast<unsigned long long>(refused));
  EXPECT_GT(made, kPictures / 2);
  // One round may end with more in somebody's hands than another: the last four, on average.
  const double last = std::accumulate(bytes.end() - 4, bytes.end(), 0.0) / 4;
  EXPECT_LE(last, static_cast<double>(bytes.front()) * (1 + kGrowthMax))
      << "from " << bytes.front() << " to " << last << " bytes";
  EXPECT_EQ(server.stop(), 0);
  remove_tree(directory);
}

}  // namespace
}  // namespace millrace
