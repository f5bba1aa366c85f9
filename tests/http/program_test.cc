// Goal: the program as operators meet it: its ready line, signals, exit codes, one real job.
// Method: the built binary as a child process on a free port, with a directory of its own.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "engine/base/digest.h"
#include "engine/base/value.h"
#include "tests/http/client.h"
#include "tests/http/program_fixture.h"

namespace millrace::test {
namespace {

constexpr char kNoopChanged[] =
    "pipeline: noop\ndescription: changed\nsteps:\n  work: { use: noop }\n"
    "outputs:\n  data: ${{ steps.work.data }}\n";

TEST_F(Program, ServesAJobAndDrainsOnSigterm) {
  Child server(serve());
  ASSERT_TRUE(server.read_until("ev=server.ready")) << server.text;
  ASSERT_TRUE(server.read_until("\n"));
  Client client(server.word_after("addr"));
  EXPECT_EQ(client.get("/readyz").status, 200);
  const Answer job = client.request("POST", "/v1/pipelines/noop/jobs",
                                    "Prefer: wait=120\r\nIdempotency-Key: a\r\n");
  ASSERT_EQ(job.status, 200) << job.body;
  const auto value = parse_json(job.body);
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(value->find("state")->as_string(), "succeeded");
  const std::string path = "/v1/jobs/" + value->find("id")->as_string();
  EXPECT_EQ(client.get(path).status, 200);
  EXPECT_EQ(client.get(path + "/outputs/data").status, 200);
  EXPECT_NE(client.get(path + "/events").body.find("\"succeeded\""), std::string::npos);
  EXPECT_EQ(client.request("POST", "/v1/pipelines/noop/jobs", "Idempotency-Key: a\r\n")
                .header("idempotency-replayed"),
            "true");
  EXPECT_EQ(client.request("POST", path + "/cancel").status, 409);
  EXPECT_EQ(client.request("DELETE", path).status, 204);
  EXPECT_EQ(client.get(path).status, 410);
  EXPECT_NE(client.get("/metrics").body.find("millrace_jobs_total"), std::string::npos);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.text;
}

// A client that was told a digest may still name it; what came with a job goes with the job.
TEST_F(Program, ADeletedJobTakesItsBlobsButNoUpload) {
  write("pipelines/blob.yaml",
        "pipeline: blob\ninputs: { file: { type: blob } }\nsteps:\n  work: { use: noop }\n");
  Child server(serve());
  ASSERT_TRUE(server.read_until("ev=server.ready")) << server.text;
  ASSERT_TRUE(server.read_until("\n"));
  Client client(server.word_after("addr"));
  const std::string uploaded = "uploaded on its own", sent = "sent with its job";
  const Answer upload = client.request("POST", "/v1/blobs", "", uploaded);
  ASSERT_EQ(upload.status, 201) << upload.body;
  const auto run = [&](const std::string& file) {
    const Answer job = client.request("POST", "/v1/pipelines/blob/jobs",
                                      "Prefer: wait=120\r\nContent-Type: application/json\r\n",
                                      R"({"inputs":{"file":)" + file + "}}");
    EXPECT_EQ(job.status, 200) << job.body;
    return "/v1/jobs/" + parse_json(job.body)->find("id")->as_string();
  };
  const std::string first = run(R"({"blob":")" + sha256(uploaded).text() + R"("})");
  const std::string second =
      run(R"({"base64":"c2VudCB3aXRoIGl0cyBqb2I=","media_type":"text/plain"})");
  EXPECT_EQ(client.get("/v1/blobs/" + sha256(sent).text()).status, 200);
  EXPECT_EQ(client.request("DELETE", first).status, 204);
  EXPECT_EQ(client.request("DELETE", second).status, 204);
  // Its record is written after whatever the deletions still had to do.
  run(R"({"base64":"","media_type":"text/plain"})");
  EXPECT_EQ(client.get("/v1/blobs/" + sha256(uploaded).text()).body, uploaded);
  EXPECT_EQ(client.get("/v1/blobs/" + sha256(sent).text()).status, 404);
}

TEST_F(Program, AcknowledgedJobsSurviveAKill) {
  std::string path;
  {
    Child server(serve());
    ASSERT_TRUE(server.read_until("ev=server.ready")) << server.text;
    ASSERT_TRUE(server.read_until("\n"));
    Client client(server.word_after("addr"));
    const Answer job = client.request("POST", "/v1/pipelines/noop/jobs");
    ASSERT_EQ(job.status / 100, 2) << job.body;
    path = "/v1/jobs/" + parse_json(job.body)->find("id")->as_string();
    server.signal(SIGKILL);
    EXPECT_EQ(server.wait(), -1);
  }
  Child server(serve());
  ASSERT_TRUE(server.read_until("ev=server.ready")) << server.text;
  ASSERT_TRUE(server.read_until("\n"));
  Client client(server.word_after("addr"));
  const Answer job = client.get(path, "Prefer: wait=120\r\n");
  EXPECT_EQ(job.status, 200);
  EXPECT_NE(job.body.find("\"state\":\"succeeded\""), std::string::npos) << job.body;
}

TEST_F(Program, SighupReloadsAndKeepsWhatIsBroken) {
  Child server(serve());
  ASSERT_TRUE(server.read_until("ev=server.ready")) << server.text;
  ASSERT_TRUE(server.read_until("\n"));
  Client client(server.word_after("addr"));
  const std::string before = client.get("/v1/pipelines/noop").body;
  write("pipelines/noop.yaml", "pipeline: noop\nsteps: {work: {use: nothing}}\n");
  server.text.clear();
  server.signal(SIGHUP);
  ASSERT_TRUE(server.read_until("broken=1")) << server.text;
  EXPECT_NE(server.text.find("E039"), std::string::npos) << server.text;
  EXPECT_EQ(client.get("/v1/pipelines/noop").body, before);
  write("pipelines/noop.yaml", kNoopChanged);
  server.text.clear();
  server.signal(SIGHUP);
  ASSERT_TRUE(server.read_until("broken=0")) << server.text;
  EXPECT_NE(client.get("/v1/pipelines/noop").body.find("changed"), std::string::npos);
}

TEST_F(Program, ASecondSignalStopsAtOnce) {
  Child server(serve());
  ASSERT_TRUE(server.read_until("ev=server.ready")) << server.text;
  ASSERT_TRUE(server.read_until("\n"));
  Client client(server.word_after("addr"));
  client.write("GET /readyz HTTP/1.1\r\nHost: localhost\r\n");  // a head that never ends
  server.signal(SIGTERM);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.text;
}

TEST_F(Program, ExitCodesSayWhatWasWrong) {
  std::string text;
  EXPECT_EQ(code_of({"--help"}), 0);
  for (const char* verb : {"serve", "run", "validate", "graph", "schema", "steps", "jobs",
                           "pipelines", "doctor", "export", "version"}) {
    EXPECT_EQ(code_of({verb, "--help"}), 0) << verb;
  }
  EXPECT_EQ(code_of({"nonsense"}), 2);
  EXPECT_EQ(code_of({"serve", "--nonsense"}), 2);
  EXPECT_EQ(code_of({"serve", "--set", "lisen=127.0.0.1:0"}, &text), 3);
  EXPECT_NE(text.find("did you mean 'listen'?"), std::string::npos) << text;
  EXPECT_EQ(code_of({"serve", "--set", "listen=0.0.0.0:0"}, &text), 3);
  EXPECT_NE(text.find("E104"), std::string::npos) << text;
  write("pipelines/broken.yaml", "pipeline: broken\nstep: {}\n");
  Child broken(serve());
  EXPECT_EQ(broken.wait(), 3) << broken.text;
  EXPECT_EQ(code_of({"validate", directory_ + "/pipelines"}, &text), 1);
  EXPECT_NE(text.find("broken.yaml:2:1: error E032"), std::string::npos) << text;
  EXPECT_EQ(code_of({"validate", directory_ + "/pipelines/noop.yaml"}), 0);
  EXPECT_EQ(code_of({"graph", directory_ + "/pipelines/noop.yaml", "--format", "mermaid"}), 0);
  EXPECT_EQ(code_of({"schema"}), 0);
  EXPECT_EQ(code_of({"steps", "noop", "--json"}), 0);
  EXPECT_EQ(code_of({"jobs", "list", "--server", "http://127.0.0.1:1"}), 1);
}

TEST_F(Program, ASecondServerFindsTheStoreLocked) {
  Child first(serve());
  ASSERT_TRUE(first.read_until("ev=server.ready")) << first.text;
  Child second(serve());
  EXPECT_EQ(second.wait(), 4) << second.text;
  EXPECT_NE(second.text.find("E121"), std::string::npos);
}

TEST_F(Program, RunsAPipelineWithoutAServer) {
  std::string text;
  EXPECT_EQ(
      code_of({"run", directory_ + "/pipelines/noop.yaml", "--out", directory_ + "/out"}, &text), 0)
      << text;
  EXPECT_TRUE(std::filesystem::exists(directory_ + "/out/data.json")) << text;
  EXPECT_EQ(code_of({"run", directory_ + "/pipelines/noop.yaml", "colour=red"}, &text), 2) << text;
  EXPECT_EQ(code_of({"run", directory_ + "/pipelines/none.yaml"}), 3);
}

TEST_F(Program, TheClientVerbsTalkToTheServer) {
  Child server(serve());
  ASSERT_TRUE(server.read_until("ev=server.ready")) << server.text;
  ASSERT_TRUE(server.read_until("\n"));
  const std::string url = "http://" + server.word_after("addr");
  std::string text;
  EXPECT_EQ(code_of({"jobs", "submit", "noop", "--wait", "20", "--json", "--label", "a:b",
                     "--server", url},
                    &text),
            0)
      << text;
  const auto job = parse_json(text);
  ASSERT_TRUE(job.ok()) << text;
  const std::string id = job->find("id")->as_string();
  EXPECT_EQ(code_of({"jobs", "get", id, "--server", url}), 0);
  EXPECT_EQ(code_of({"jobs", "watch", id, "--server", url}), 0);
  EXPECT_EQ(code_of({"jobs", "outputs", id, "data", "--server", url}), 0);
  EXPECT_EQ(code_of({"jobs", "list", "--label", "a:b", "--server", url}, &text), 0);
  EXPECT_NE(text.find(id), std::string::npos);
  EXPECT_EQ(code_of({"jobs", "cancel", id, "--server", url}, &text), 1);
  EXPECT_NE(text.find("E021"), std::string::npos) << text;
  EXPECT_EQ(code_of({"jobs", "delete", id, "--server", url}), 0);
  EXPECT_EQ(code_of({"pipelines", "get", "noop", "--server", url}, &text), 0);
  EXPECT_EQ(text, kNoop);
  EXPECT_EQ(code_of({"pipelines", "list", "--server", url}), 0);
}

}  // namespace
}  // namespace millrace::test
