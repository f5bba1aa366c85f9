// Goal: doctor says what a server would stumble over, changes nothing, and its exit code tells the
// kind of trouble.
// Method: the built binary on directories that are absent, in use, healthy and damaged.
#include "tests/http/client.h"
#include "tests/http/program_fixture.h"

namespace millrace::test {
namespace {

constexpr char kBytes[] =
    "pipeline: bytes\ninputs:\n  data: { type: blob }\nsteps:\n  work: { use: noop }\n"
    "outputs:\n  data: ${{ inputs.data }}\n";

class Doctor : public Program {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "workers are not locked under a sanitizer, and doctor says so";
#endif
    Program::SetUp();
  }
  int doctor(const std::vector<std::string>& more = {}) {
    std::vector<std::string> arguments = serve(more);
    arguments.erase(arguments.begin());
    arguments[0] = "doctor";
    text_.clear();
    return code_of(arguments, &text_);
  }
  bool says(const std::string& words) const {
    return text_.find(words) != std::string::npos;
  }
  // Runs one job over `bytes` and returns its id.
  std::string job_with(const std::string& bytes) {
    write("pipelines/bytes.yaml", kBytes);
    Child server(serve());
    EXPECT_TRUE(server.read_until("ev=server.ready")) << server.text;
    EXPECT_TRUE(server.read_until("\n"));
    write("input", bytes);
    std::string text;
    EXPECT_EQ(code_of({"jobs", "submit", "bytes", "data=@" + directory_ + "/input", "--wait", "20",
                       "--server", "http://" + server.word_after("addr")},
                      &text),
              0)
        << text;
    server.signal(SIGTERM);
    EXPECT_EQ(server.wait(), 0);
    return text.substr(0, text.find(' '));
  }
  std::vector<std::string> blobs() const {
    std::vector<std::string> out;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(directory_ + "/data/blobs")) {
      if (entry.is_regular_file()) out.push_back(entry.path());
    }
    return out;
  }

  std::string text_;
};

TEST_F(Doctor, MakesNothingWhereNothingIs) {
  EXPECT_EQ(doctor(), 0) << text_;
  EXPECT_TRUE(says("data " + directory_ + "/data is absent; `millrace serve` makes it")) << text_;
  EXPECT_TRUE(says("1 pipelines")) << text_;
  EXPECT_TRUE(says("file descriptors")) << text_;
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/data"));
  std::filesystem::create_directory(directory_ + "/data");
  EXPECT_EQ(doctor(), 0) << text_;
  EXPECT_TRUE(says("no store at")) << text_;
  EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/data"));
}

TEST_F(Doctor, ChecksTheRestWhileAServerHoldsTheStore) {
  Child server(serve());
  ASSERT_TRUE(server.read_until("ev=server.ready")) << server.text;
  EXPECT_EQ(doctor(), 0) << text_;
  EXPECT_TRUE(says("holds the store")) << text_;
  for (const char* words : {"blobs ", "steps from", "1 pipelines", "free for", "clock", "sandbox",
                            "limits.memory", "workers.memory"}) {
    EXPECT_TRUE(says(words)) << words << " not in\n" << text_;
  }
}

TEST_F(Doctor, NamesBlobsThatAreMissingOrAlteredAndTheirJobs) {
  const std::string job = job_with("the bytes");
  EXPECT_EQ(doctor(), 0) << text_;
  EXPECT_TRUE(says("1 blobs")) << text_;
  const auto files = blobs();
  ASSERT_EQ(files.size(), 1u);
  std::filesystem::permissions(files[0], std::filesystem::perms::owner_all);
  std::ofstream(files[0], std::ios::binary) << "The bytes";  // the same length
  EXPECT_EQ(doctor(), 1) << text_;
  EXPECT_TRUE(says("E127: the blob sha256:")) << text_;
  EXPECT_TRUE(says("does not have the bytes of its name")) << text_;
  EXPECT_TRUE(says("named by job " + job)) << text_;
  std::filesystem::remove(files[0]);
  EXPECT_EQ(doctor(), 1) << text_;
  EXPECT_TRUE(says("is missing from " + directory_ + "/data/blobs; named by job " + job)) << text_;
  std::filesystem::remove_all(directory_ + "/data/blobs");
  EXPECT_EQ(doctor(), 1) << text_;
  EXPECT_TRUE(says("named by job " + job)) << text_;
  EXPECT_FALSE(std::filesystem::exists(directory_ + "/data/blobs"));
}

TEST_F(Doctor, ExitCodesAreThoseOfTheServer) {
  write("file", "");
  EXPECT_EQ(doctor({"data=" + directory_ + "/file/data"}), 4) << text_;
  EXPECT_TRUE(says("cannot be made: " + directory_ + "/file: not a directory")) << text_;
  EXPECT_TRUE(says("1 pipelines")) << text_;
  EXPECT_EQ(doctor({"webhook.secret=env:NO_SUCH_SECRET"}), 3) << text_;
  EXPECT_TRUE(says("1 pipelines")) << text_;
  write("pipelines/broken.yaml", "pipeline: broken\n");
  EXPECT_EQ(doctor(), 3) << text_;
  std::filesystem::create_directory(directory_ + "/data");
  write("data/millrace.db", "no database, but long enough to be looked at by whoever opens it");
  EXPECT_EQ(doctor(), 4) << text_;
}

}  // namespace
}  // namespace millrace::test
