#include "demo/client.h"

#include <curl/curl.h>

#include <memory>

namespace millrace::demo {
namespace {

constexpr long kTimeoutSeconds = 120;

// Collects the body, or cuts it into events.
struct Sink {
  std::string body;
  const OnEvent* on_event = nullptr;
};

// One event is a group of lines ended by an empty one; its data are the "data:" lines.
bool take_events(Sink* sink) {
  size_t end;
  while ((end = sink->body.find("\n\n")) != std::string::npos) {
    std::string data;
    for (size_t at = 0; at < end;) {
      const size_t line_end = std::min(sink->body.find('\n', at), end);
      std::string_view line = std::string_view(sink->body).substr(at, line_end - at);
      if (line.starts_with("data:")) {
        line.remove_prefix(line.starts_with("data: ") ? 6 : 5);
        data += line;
      }
      at = line_end + 1;
    }
    sink->body.erase(0, end + 2);
    if (!data.empty() && !(*sink->on_event)(data)) return false;
  }
  return true;
}

size_t on_body(char* data, size_t size, size_t count, void* context) {
  auto* sink = static_cast<Sink*>(context);
  sink->body.append(data, size * count);
  if (sink->on_event != nullptr && !take_events(sink)) return 0;
  return size * count;
}

HttpAnswer perform(const std::string& url, const OnEvent* on_event,
                   const std::function<void(CURL*)>& set_up) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(),
                                                                 curl_easy_cleanup);
  Sink sink = {{}, on_event};
  char error[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(easy.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy.get(), CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy.get(), CURLOPT_TIMEOUT, kTimeoutSeconds);
  curl_easy_setopt(easy.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(easy.get(), CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(easy.get(), CURLOPT_ERRORBUFFER, error);
  set_up(easy.get());
  const CURLcode code = curl_easy_perform(easy.get());
  long status = 0;
  curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &status);
  const bool stopped_by_us = code == CURLE_WRITE_ERROR && on_event != nullptr;
  if (code != CURLE_OK && !stopped_by_us) {
    return {0, error[0] != '\0' ? error : curl_easy_strerror(code)};
  }
  return {static_cast<int>(status), std::move(sink.body)};
}

}  // namespace

HttpAnswer Client::get(const std::string& path) const {
  return perform(base_ + path, nullptr, [](CURL*) {});
}

HttpAnswer Client::submit(const std::string& path, const std::string& image_file,
                          const std::string& callback) const {
  std::unique_ptr<curl_mime, decltype(&curl_mime_free)> form(nullptr, curl_mime_free);
  return perform(base_ + path, nullptr, [&](CURL* easy) {
    form.reset(curl_mime_init(easy));
    curl_mimepart* image = curl_mime_addpart(form.get());
    curl_mime_name(image, "image");
    curl_mime_filedata(image, image_file.c_str());
    curl_mimepart* field = curl_mime_addpart(form.get());
    curl_mime_name(field, "callback");
    curl_mime_data(field, callback.c_str(), CURL_ZERO_TERMINATED);
    curl_easy_setopt(easy, CURLOPT_MIMEPOST, form.get());
  });
}

HttpAnswer Client::follow(const std::string& path, const OnEvent& on_event) const {
  return perform(base_ + path, &on_event, [](CURL*) {});
}

}  // namespace millrace::demo
