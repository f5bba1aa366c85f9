// Problems: application/problem+json (RFC 9457) from a Status.
#pragma once

#include <string>
#include <vector>

#include "engine/base/status.h"
#include "server/http/response.h"

namespace millrace {

struct ProblemItem {
  int number = 0;
  std::string detail;
  std::string pointer;  // JSON pointer into what was sent: /inputs/image
};

// The HTTP status that an error is answered with: the error table's, else one for its code. [any]
int http_status_of(const Status& status);

// One problem. 429, 503 and 507 carry Retry-After, 401 WWW-Authenticate. `http_status` 0: from the
// table. [any]
Response problem_response(const Status& status, int http_status = 0);
// Several at once; the first gives type, title and code. `http_status` 0: from the table of the
// first. [any]
Response problem_response(const std::vector<ProblemItem>& items, int http_status = 0);

}  // namespace millrace
