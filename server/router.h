// Router: which handler answers a method and a path.
//
// The table of routes is the only list of what is served: matching, Allow, metric labels and the
// OpenAPI document all come from it. It knows nothing of what handlers do.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "server/http/exchange.h"

namespace millrace {

class App;

enum class BodyKind : uint8_t { kNone, kJson, kRaw, kSubmission, kYaml };

struct Route {
  Method method;        // kGet serves HEAD too
  const char* pattern;  // /v1/jobs/{id}; {key*} takes the rest of the path
  const char* id;       // operationId of OpenAPI
  const char* summary;
  const char* statuses;  // what it answers beyond what every route may, separated by spaces
  const char* media;     // media type of its success; empty: no body or any type
  const char* schema;    // its JSON schema in the OpenAPI document, or empty
  const char* query;     // names of query parameters, separated by spaces
  const char* headers;   // names of request headers it reads
  BodyKind body;
  void (*begin)(App& app, Exchange& exchange);  // null: nothing to check before the body
  void (*answer)(App& app, Exchange& exchange);
};

struct Match {
  int route = -1;           // -1: none for this method
  bool path_known = false;  // then `allow` says what the path takes
  std::string allow;
};

class Router {
 public:
  explicit Router(std::vector<Route> routes);
  // Splits and decodes the path into `request->params`. A broken escape or text that is no UTF-8
  // counts as no match. [loop]
  Match match(Request* request) const;
  const std::vector<Route>& routes() const { return routes_; }
  const Route& at(int route) const { return routes_[static_cast<size_t>(route)]; }

 private:
  struct Pattern {
    std::vector<std::string> segments;  // an empty one is a parameter
    bool tail = false;                  // the last parameter takes the rest
    int by_method[kMethods];
    std::string allow;
  };
  bool fits(const Pattern& pattern, const std::vector<std::string_view>& segments) const;

  std::vector<Route> routes_;
  std::vector<Pattern> patterns_;
};

const std::vector<Route>& all_routes();  // routes.cc

}  // namespace millrace
