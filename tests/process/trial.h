// Trial: what tests of the real program share. Settings of a server of one's own, answers as JSON,
// and the promise about errors: each has a code, a sentence, and an entry in the reference.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "bench/harness/client.h"
#include "bench/harness/process.h"
#include "engine/base/value.h"

namespace millrace {

// A server over `directory`/data with the pipelines of this repository, notifying loopback only.
ServerSettings settings_in(const std::string& directory);
// The plugins of the product and the test plugin, in `directory`/steps; its path.
std::string all_steps(const std::string& directory);
std::string url_encoded(const std::string& text);

// One answer, read. A broken connection is status 0; a body that is no JSON is null.
struct Reply {
  int status = 0;
  std::string head, body;
  Value json;

  // Text at a path of names ("error.code"); empty when it is not there.
  std::string text(const std::string& path) const;
  // `{"shown": what it says}` for failure messages.
  std::string shown() const;
};
Reply ask(uint16_t port, const std::string& method, const std::string& path,
          const std::string& headers = "", const std::string& body = "", int patience_ms = 0);
// POST to the pipeline; the media type is that of the bytes.
Reply submit_image(uint16_t port, const std::string& image, const std::string& headers = "",
                   const std::string& query = "");
// Waits up to two minutes for the job's end.
Reply await_job(uint16_t port, const std::string& job);

std::string file_text(const std::string& path);
// Fails the test unless `code` has an entry with all three parts in server/errors.md.
void expect_in_reference(const std::string& code);
// Fails the test unless `sentence` is one that a person can act on.
void expect_sentence(const std::string& sentence);
// Fails the test unless the answer is a problem of RFC 9457 with this status and code.
void expect_problem(const Reply& reply, int status, const std::string& code);

// Asks again until `holds` or `seconds` are over; what it held at the end.
bool eventually(const std::function<bool()>& holds, double seconds = 60);

// The program with other arguments: its exit code; everything it says in `said`.
int run_program(const std::vector<std::string>& arguments, std::string* said);

// How `doctor` ends where nothing is wrong with the data: a program built with a sanitizer has no
// sandbox, which doctor wants mended.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kDoctorContent = 1;
#else
constexpr int kDoctorContent = 0;
#endif

}  // namespace millrace
