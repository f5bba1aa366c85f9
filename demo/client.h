// Client: the few requests that the demo makes of the server, as any HTTP client would make them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace millrace::demo {

struct HttpAnswer {
  int status = 0;  // 0: no answer, `body` says why
  std::string body;
};

// Called with the data of each server-sent event; false ends the stream.
using OnEvent = std::function<bool(std::string_view data)>;

class Client {
 public:
  explicit Client(std::string base) : base_(std::move(base)) {}

  HttpAnswer get(const std::string& path) const;
  // multipart/form-data: the file as part "image", the text as field "callback".
  HttpAnswer submit(const std::string& path, const std::string& image_file,
                    const std::string& callback) const;
  // Follows an event stream to its end.
  HttpAnswer follow(const std::string& path, const OnEvent& on_event) const;

  const std::string& base() const { return base_; }

 private:
  std::string base_;
};

}  // namespace millrace::demo
