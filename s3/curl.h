// Curl: the functions of libcurl that are called here and in the command line's client, looked up
// when the first request is made.
//
// The library is loaded then and not with the program: with what it needs itself it would cost each
// start of a server 6 ms, and most servers make no request of their own.
#pragma once

#include <curl/curl.h>

#include <string>

// Names without `curl_`.
#define MILLRACE_CURL_FUNCTIONS(each) \
  each(easy_cleanup);                 \
  each(easy_init);                    \
  each(easy_perform);                 \
  each(easy_reset);                   \
  each(easy_setopt);                  \
  each(easy_strerror);                \
  each(getdate);                      \
  each(global_init);                  \
  each(mime_addpart);                 \
  each(mime_data);                    \
  each(mime_filedata);                \
  each(mime_free);                    \
  each(mime_init);                    \
  each(mime_name);                    \
  each(mime_type);                    \
  each(slist_append);                 \
  each(slist_free_all);               \
  each(version_info)

namespace millrace::s3 {

struct Curl {
#define MILLRACE_POINTER(name) decltype(&::curl_##name) name = nullptr
  MILLRACE_CURL_FUNCTIONS(MILLRACE_POINTER);
#undef MILLRACE_POINTER
};

// Loaded and initialised once, for the life of the process. Null: it is not installed, or lacks a
// function; curl_problem() says so. A process that will lock itself in calls it before. [any]
[[nodiscard]] const Curl* load_curl();
[[nodiscard]] const std::string& curl_problem();

}  // namespace millrace::s3
