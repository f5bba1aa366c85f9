// HttpClient: requests of the command line to a server, over libcurl.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/status.h"

namespace millrace {

struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

struct FormField {
  std::string name;
  std::string text;
  std::string file;  // set: the file's bytes instead of `text`
};

class HttpClient {
 public:
  // `token` may be empty.
  HttpClient(std::string server, std::string token);

  // E109: no answer came.
  Result<HttpReply> request(const std::string& method, const std::string& path,
                            const std::vector<std::string>& headers = {},
                            const std::vector<FormField>* form = nullptr);
  // Gives the data of each server-sent event as it comes; stops when `event` returns false. The
  // reply has no body unless its status is not 200.
  Result<HttpReply> follow(const std::string& path,
                           const std::function<bool(std::string_view)>& event);

 private:
  Result<HttpReply> perform(const std::string& method, const std::string& path,
                            const std::vector<std::string>& headers,
                            const std::vector<FormField>* form,
                            const std::function<bool(std::string_view)>* piece);
  std::string server_, token_;
};

}  // namespace millrace
