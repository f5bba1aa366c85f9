// GET /v1/steps, /metrics, /livez, /readyz, /openapi.json
#include "server/api.h"
#include "server/catalogue_json.h"

namespace millrace {

void answer_steps(App& app, Exchange& exchange) {
  std::string body = "{\"steps\":[";
  bool first = true;
  for (const StepDecl& step : app.runtime().catalogue()->steps()) {
    if (!first) body += ',';
    first = false;
    body += step_json(step);
  }
  body += "]}";
  exchange.respond(Response::json(200, std::move(body)));
}

void answer_metrics(App& app, Exchange& exchange) {
  exchange.respond(Response::text(200, "text/plain; version=0.0.4; charset=utf-8",
                                  app.runtime().metrics_text()));
}

void answer_livez(App&, Exchange& exchange) {
  exchange.respond(Response::text(200, "text/plain", "ok\n"));
}

void answer_readyz(App& app, Exchange& exchange) {
  const Health health = app.runtime().health();
  const bool ready = health.ready && !app.draining();
  std::string text = ready ? "ok" : app.draining() ? "draining" : health.reason;
  Response response = Response::text(ready ? 200 : 503, "text/plain", std::move(text) + "\n");
  if (!ready) response.header("Retry-After", "1");
  exchange.respond(std::move(response));
}

void answer_openapi(App& app, Exchange& exchange) {
  exchange.respond(Response::json(200, app.openapi()));
}

}  // namespace millrace
