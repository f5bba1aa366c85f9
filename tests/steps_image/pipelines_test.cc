// Goal: every operation runs in the sandbox that the product has.
// Method: the built program runs a list of all of them on a picture of each format.
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cmake/precompiled_test.h"
#include "cmake/tree.h"
#include "tests/steps_image/operations.h"

namespace millrace::testing {
namespace {

namespace fs = std::filesystem;

std::string read_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

class Pipelines : public ::testing::Test {
 protected:
  Pipelines() {
    std::string name = fs::temp_directory_path().string() + "/pipelines-XXXXXX";
    directory_ = mkdtemp(name.data());
  }
  ~Pipelines() override { fs::remove_all(directory_); }

  // What the program said, and its exit code.
  int millrace(const std::string& arguments, std::string* said) const {
    FILE* pipe = popen((in_build("/millrace ") + arguments + " 2>&1").c_str(), "r");
    char chunk[4096];
    for (size_t count; (count = fread(chunk, 1, sizeof chunk, pipe)) > 0;) {
      said->append(chunk, count);
    }
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(directory_ / name, std::ios::binary) << bytes;
    return (directory_ / name).string();
  }
  // Validates and runs it; the outputs by file name.
  std::map<std::string, std::string> run(const std::string& pipeline, const std::string& inputs) {
    std::string said;
    EXPECT_EQ(millrace("validate " + pipeline, &said), 0) << said;
    const fs::path out = directory_ / "out";
    fs::remove_all(out);
    EXPECT_EQ(millrace("run " + pipeline + " " + inputs + " --out " + out.string(), &said), 0)
        << said;
    std::map<std::string, std::string> outputs;
    if (!fs::exists(out)) return outputs;
    for (const auto& entry : fs::directory_iterator(out)) {
      outputs[entry.path().filename().string()] = read_bytes(entry.path());
    }
    return outputs;
  }
  fs::path directory_;
};

// What an operation may do only once (code that is written at run time, a lookup of a file) ends a
// worker in the sandbox and nowhere else.
TEST_F(Pipelines, EveryOperationRunsInTheSandbox) {
  const std::string pipeline = write("all.yaml", R"(pipeline: all
inputs:
  image: { type: image }
  operations: { type: json }
  format: { type: "enum<same,jpeg,png,webp,gif,tiff,avif>", default: same }
steps:
  work:
    use: transform
    with:
      image: ${{ inputs.image }}
      mark: ${{ inputs.image }}
      operations: ${{ inputs.operations }}
      format: ${{ inputs.format }}
outputs:
  image: ${{ steps.work.image }}
)");
  const std::string operations =
      R"([{"type":"resize","params":{"width":30,"height":30,"gravity":"entropy","linear":true}},)"
      R"({"type":"rotate","params":{"angle":90}},{"type":"blur"},{"type":"sharpen"},)"
      R"({"type":"watermark","params":{"scale":0.5}},{"type":"grayscale"},)"
      R"({"type":"dither","params":{"method":"blue_noise"}},)"
      R"({"type":"crop","params":{"aspect":"1:1","gravity":"attention"}}])";
  const std::string list = "operations=" + ("'" + operations + "'");
  JpegStyle cmyk;
  cmyk.cmyk = true;
  GifStyle gif;
  gif.frame_colours = {{255, 0, 0}, {0, 255, 0}};
  gif.width = gif.height = 40;
  PngStyle profile;
  profile.icc = icc_display_p3();
  const std::pair<std::string, std::string> images[] = {
      {"png", encode_png(scene(60, 50, 3, 16), profile)},
      {"jpeg", encode_jpeg(scene(60, 50, 4), cmyk)},
      {"webp", encode_webp(scene(60, 50, 4), false)},
      {"gif", encode_gif(gif)},
      {"tiff", encode_tiff({scene(60, 50), scene(40, 60, 1)})},
  };
  for (const auto& [name, image] : images) {
    const auto outputs =
        run(pipeline, "image=@" + write("in." + name, image) + " " + list + " format=" + name);
    ASSERT_EQ(outputs.size(), 1u) << name;
    EXPECT_EQ(upload(outputs.begin()->second).code, MR_OK) << name;
  }
  const auto outputs =
      run(pipeline, "image=@" + write("in.png", images[0].second) + " " + list + " format=avif");
  ASSERT_EQ(outputs.size(), 1u);
  EXPECT_EQ(outputs.begin()->second.find("ftypavif"), 4u);
}

}  // namespace
}  // namespace millrace::testing
