// What hostile clients send: each request, form, image and name that some server has fallen for.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace millrace {

// Requests that two parsers read differently. Each is refused; more bytes may follow.
std::vector<std::string> ambiguous_requests();
// Heads beyond every limit, and the status each gets.
std::vector<std::pair<std::string, int>> oversized_requests();
// A megabyte of no protocol, the same each time.
std::string garbage_bytes();

struct Form {
  const char* what;
  std::string boundary;  // of multipart/form-data
  std::string body;
  int status;
  std::string code;
};
std::vector<Form> multipart_bombs();  // for a pipeline with an input `image`
std::vector<Form> json_bombs();       // for a pipeline with an input `data`, a text

struct Bomb {
  const char* what;
  std::string bytes;
  std::string reason;  // that its job fails for; empty: it succeeds
};
std::vector<Bomb> image_bombs();

// Bytes that are more than one thing, with what their client calls them.
struct Polyglot {
  const char* what;
  std::string file_name, declared;
  std::string bytes;
  std::string served;  // the media type they must be served as
};
std::vector<Polyglot> polyglots();

std::vector<std::string> evil_keys();        // of objects, as JSON writes them
std::vector<std::string> evil_paths();       // below a store, as a request line has them
std::vector<std::string> evil_file_names();  // the parameter of a Content-Disposition
std::vector<std::string> evil_ranges();

}  // namespace millrace
