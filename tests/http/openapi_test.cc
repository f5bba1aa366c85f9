// Goal: the OpenAPI document describes exactly what is served.
// Method: every route of the document is requested in several ways; each status that comes back is
// one the document names, and each route of the table is in the document and the other way round.
#include "tests/http/server_fixture.h"

namespace millrace::test {
namespace {

class OpenApi : public ServerFixture {};

std::string concrete(std::string path, const std::string& id) {
  const std::pair<std::string, std::string> values[] = {
      {"{name}", "photo"},
      {"{id}", id},
      {"{digest}", "sha256:" + std::string(64, 'a')},
      {"{store}", "default"},
      {"{key}", "none"}};
  for (const auto& [from, to] : values) {
    if (const size_t at = path.find(from); at != std::string::npos)
      path.replace(at, from.size(), to);
  }
  return path;
}

TEST_F(OpenApi, EveryStatusThatComesIsDocumented) {
  start();
  auto c = client();
  const auto document = parse_json(c->get("/openapi.json").body);
  ASSERT_TRUE(document.ok());
  EXPECT_EQ(document->find("openapi")->as_string(), "3.1.0");
  const Answer job = c->request("POST", "/v1/pipelines/photo/jobs", "", tiny_jpeg());
  const std::string id = parse_json(job.body)->find("id")->as_string();
  size_t operations = 0;
  for (const auto& [path, item] : document->find("paths")->as_map()) {
    for (const auto& [method, operation] : item.as_map()) {
      operations++;
      std::string upper = method;
      for (char& ch : upper) ch = static_cast<char>(std::toupper(static_cast<unsigned char>(ch)));
      for (const std::string& headers :
           {std::string(), std::string("Range: bytes=9999999-\r\n"),
            std::string("If-None-Match: *\r\n"), std::string("Content-Type: image/png\r\n"),
            std::string("Origin: https://evil.example\r\n")}) {
        for (const std::string& body : {std::string(), std::string("bytes"), tiny_jpeg()}) {
          const bool takes = upper == "POST" || upper == "PUT";
          const Answer answer =
              client()->request(upper, concrete(path, id), headers, takes ? body : "");
          EXPECT_NE(operation.find("responses")->find(std::to_string(answer.status)), nullptr)
              << upper << ' ' << path << " answered " << answer.status << ' ' << answer.body;
          // A wrong path or method would say nothing about the route.
          EXPECT_EQ(answer.body.find("\"E002\""), std::string::npos) << upper << ' ' << path;
          EXPECT_NE(answer.status, 405) << upper << ' ' << path;
        }
      }
    }
  }
  size_t routes = 0;
  for (const Route& route : all_routes()) routes += route.method == Method::kGet ? 2 : 1;
  EXPECT_EQ(operations, routes);
}

}  // namespace
}  // namespace millrace::test
