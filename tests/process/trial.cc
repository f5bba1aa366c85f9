#include "tests/process/trial.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cmake/tree.h"
#include "tests/http/child.h"

namespace millrace {
namespace {

constexpr size_t kSentenceBytesMin = 20;
constexpr int kPollMs = 5;

}  // namespace

ServerSettings settings_in(const std::string& directory) {
  ServerSettings settings;
  settings.program = in_build("/millrace");
  settings.data = directory + "/data";
  settings.pipelines = directory + "/pipelines";
  std::filesystem::create_directories(settings.pipelines);
  const std::string pipeline = in_source("/pipelines/grayscale.yaml");
  std::filesystem::copy(pipeline, settings.pipelines,
                        std::filesystem::copy_options::overwrite_existing);
  settings.extra = {"webhook.allow=127.0.0.0/8"};
  return settings;
}

std::string all_steps(const std::string& directory) {
  std::string steps = directory + "/steps";
  std::filesystem::create_directories(steps);
  for (const std::string& from : {in_build("/steps"), in_build("/tests/fault_steps")}) {
    for (const auto& entry : std::filesystem::directory_iterator(from)) {
      if (entry.path().extension() == ".so") std::filesystem::copy(entry.path(), steps);
    }
  }
  return steps;
}

std::string url_encoded(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c))) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::string Reply::text(const std::string& path) const {
  const Value* at = &json;
  std::istringstream names(path);
  for (std::string name; std::getline(names, name, '.');) {
    if (at->kind() != Value::Kind::kMap) return "";
    at = at->find(name);
    if (at == nullptr) return "";
  }
  if (at->kind() == Value::Kind::kInt) return std::to_string(at->as_int());
  return at->kind() == Value::Kind::kString ? at->as_string() : "";
}

std::string Reply::shown() const {
  return fmt::format("{} {}", status, body.substr(0, 2000));
}

Reply ask(uint16_t port, const std::string& method, const std::string& path,
          const std::string& headers, const std::string& body, int patience_ms) {
  Reply reply;
  const auto answer = http_request(port, method, path, headers, body, patience_ms);
  if (!answer) return reply;
  reply.status = answer->status;
  reply.head = answer->head;
  reply.body = answer->body;
  if (auto json = parse_json(answer->body); json.ok()) reply.json = *std::move(json);
  return reply;
}

Reply submit_image(uint16_t port, const std::string& image, const std::string& headers,
                   const std::string& query) {
  return ask(port, "POST", "/v1/pipelines/grayscale/jobs" + query,
             "Content-Type: application/octet-stream\r\n" + headers, image);
}

Reply await_job(uint16_t port, const std::string& job) {
  return ask(port, "GET", "/v1/jobs/" + job, "Prefer: wait=120\r\n");
}

std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

void expect_in_reference(const std::string& code) {
  const std::string all = file_text(in_source("/server/errors.md"));
  const size_t at = all.find("\n## " + code + " ");
  ASSERT_NE(at, std::string::npos) << code << " has no entry in server/errors.md";
  const std::string entry = all.substr(at, all.find("\n## ", at + 4) - at);
  for (const char* part : {"**What happened.** ", "**Likely causes.** ", "**What to do.** "}) {
    EXPECT_NE(entry.find(part), std::string::npos) << part << " is missing in " << entry;
  }
}

void expect_sentence(const std::string& sentence) {
  EXPECT_GE(sentence.size(), kSentenceBytesMin) << "'" << sentence << "' helps nobody";
  EXPECT_NE(sentence.find(' '), std::string::npos) << "'" << sentence << "' is no sentence";
}

void expect_problem(const Reply& reply, int status, const std::string& code) {
  EXPECT_EQ(reply.status, status) << reply.shown();
  EXPECT_NE(reply.head.find("application/problem+json"), std::string::npos) << reply.head;
  EXPECT_EQ(reply.text("code"), code) << reply.shown();
  EXPECT_EQ(reply.text("status"), std::to_string(status)) << reply.shown();
  EXPECT_FALSE(reply.text("title").empty()) << reply.shown();
  EXPECT_FALSE(reply.text("type").empty()) << reply.shown();
  expect_sentence(reply.text("detail"));
  expect_in_reference(code);
}

bool eventually(const std::function<bool()>& holds, double seconds) {
  const double end = now_seconds() + seconds;
  while (!holds()) {
    if (now_seconds() > end) return false;
    ::poll(nullptr, 0, kPollMs);
  }
  return true;
}

int run_program(const std::vector<std::string>& arguments, std::string* said) {
  std::vector<std::string> all = {in_build("/millrace")};
  all.insert(all.end(), arguments.begin(), arguments.end());
  test::Child child(all);
  const int code = child.wait();
  *said = child.output + child.text;
  return code;
}

}  // namespace millrace
