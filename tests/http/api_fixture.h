// What the tests of the API share: bodies, problems, and a server over a FakeRuntime.
#pragma once

#include <fmt/core.h>

#include "tests/http/server_fixture.h"

namespace millrace::test {

inline constexpr char kSubmit[] = "/v1/pipelines/photo/jobs";
inline constexpr char kPlain[] = "/v1/pipelines/plain/jobs";
inline constexpr char kJsonType[] = "Content-Type: application/json\r\n";
inline constexpr char kFormType[] = "Content-Type: multipart/form-data; boundary=B\r\n";

inline std::string field(const std::string& name, const std::string& text) {
  return "--B\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\n" + text + "\r\n";
}

inline std::string file(const std::string& name, const std::string& bytes) {
  return "--B\r\nContent-Disposition: form-data; name=\"" + name +
         "\"; filename=\"a.jpg\"\r\nContent-Type: image/png\r\n\r\n" + bytes + "\r\n";
}

inline Value json_of(const Answer& answer) {
  auto value = parse_json(answer.body);
  EXPECT_TRUE(value.ok()) << answer.body;
  return value.ok() ? *value : Value();
}

inline std::string text_at(const Value& value, std::string_view name) {
  const Value* found = value.find(name);
  return found != nullptr && found->kind() == Value::Kind::kString ? found->as_string() : "";
}

class Api : public ServerFixture {
 protected:
  void hold_jobs() {
    runtime->call([this] { runtime->ends_by_itself = false; });
  }
  // The code of a problem document, checked to be one.
  static std::string problem(const Answer& answer) {
    EXPECT_EQ(answer.header("content-type"), "application/problem+json") << answer.body;
    const Value value = json_of(answer);
    EXPECT_FALSE(text_at(value, "title").empty());
    EXPECT_FALSE(text_at(value, "detail").empty());
    EXPECT_EQ(text_at(value, "type"), "/errors#" + text_at(value, "code"));
    EXPECT_EQ(value.find("status")->as_int(), answer.status);
    return text_at(value, "code");
  }
  Answer submit_plain(const std::string& headers = "", const std::string& text = "abc") {
    return client()->request("POST", kPlain, std::string(kJsonType) + headers,
                             "{\"inputs\":{\"text\":\"" + text + "\"}}");
  }
  std::string id_of(const Answer& answer) { return text_at(json_of(answer), "id"); }
};

}  // namespace millrace::test
