// The table of what is served.
#include "server/app.h"

namespace millrace {

const std::vector<Route>& all_routes() {
  using M = Method;
  using B = BodyKind;
  static constexpr char kJson[] = "application/json";  // the routes point to it
  static const std::vector<Route> routes = {
      {M::kPost, "/v1/pipelines/{name}/jobs", "submitJob", "Submit a job.",
       "200 202 400 404 408 409 410 413 415 422 429 507", kJson, "Job", "label",
       "Idempotency-Key Prefer", B::kSubmission, begin_submit, answer_submit},
      {M::kGet, "/v1/jobs", "listJobs", "List jobs, newest first.", "200 400", kJson, "JobList",
       "pipeline state label created_after limit cursor", "", B::kNone, nullptr, answer_jobs},
      {M::kGet, "/v1/jobs/{id}", "getJob", "Read a job, or wait for its end.", "200 304 404 410",
       kJson, "Job", "", "Prefer If-None-Match", B::kNone, nullptr, answer_job},
      {M::kDelete, "/v1/jobs/{id}", "deleteJob", "Delete an ended job.", "204 404 409 410", "", "",
       "", "", B::kNone, nullptr, answer_delete_job},
      {M::kPost, "/v1/jobs/{id}/cancel", "cancelJob", "Cancel an unfinished job.",
       "202 404 409 410 413", kJson, "Job", "", "", B::kNone, nullptr, answer_cancel},
      {M::kGet, "/v1/jobs/{id}/outputs/{name}", "getOutput", "An output's bytes or JSON.",
       "200 206 304 404 409 410 416", "", "", "", "If-None-Match Range If-Range", B::kNone, nullptr,
       answer_output},
      {M::kGet, "/v1/jobs/{id}/events", "watchJob", "A job's durable states as they come.",
       "200 400 404 410", "text/event-stream", "", "", "Last-Event-ID", B::kNone, nullptr,
       answer_events},
      {M::kPost, "/v1/blobs", "uploadBlob", "Store bytes.", "201 408 413 507", kJson, "Blob", "",
       "", B::kRaw, begin_blob, answer_post_blob},
      {M::kGet, "/v1/blobs/{digest}", "getBlob", "Stored bytes.", "200 206 304 404 416", "", "", "",
       "If-None-Match Range If-Range", B::kNone, nullptr, answer_blob},
      {M::kPut, "/v1/blobs/{digest}", "putBlob", "Store bytes under their digest.",
       "200 400 408 413 422 507", kJson, "Blob", "", "", B::kRaw, begin_put_blob, answer_put_blob},
      {M::kGet, "/v1/files/{store}/{key*}", "getFile", "An object that the step store put.",
       "200 206 304 404 416", "", "", "", "If-None-Match Range If-Range", B::kNone, nullptr,
       answer_file},
      {M::kGet, "/v1/pipelines", "listPipelines", "All pipelines.", "200", kJson, "PipelineList",
       "", "", B::kNone, nullptr, answer_pipelines},
      {M::kPost, "/v1/pipelines/validate", "validatePipeline", "Check a definition.",
       "200 408 413 415", kJson, "Diagnostics", "", "", B::kYaml, begin_validate, answer_validate},
      {M::kGet, "/v1/pipelines/{name}", "getPipeline", "A definition as YAML or JSON.",
       "200 304 404", "application/yaml", "", "", "Accept If-None-Match", B::kNone, nullptr,
       answer_pipeline},
      {M::kPut, "/v1/pipelines/{name}", "putPipeline", "Refused: pipelines.writable is false.",
       "403", "", "", "", "", B::kYaml, begin_change_pipeline, answer_pipeline},
      {M::kDelete, "/v1/pipelines/{name}", "deletePipeline",
       "Refused: pipelines.writable is false.", "403", "", "", "", "", B::kNone,
       begin_change_pipeline, answer_pipeline},
      {M::kGet, "/v1/steps", "listSteps", "The catalogue of steps.", "200", kJson, "StepList", "",
       "", B::kNone, nullptr, answer_steps},
      {M::kGet, "/metrics", "metrics", "Prometheus metrics.", "200", "text/plain", "", "", "",
       B::kNone, nullptr, answer_metrics},
      {M::kGet, "/livez", "live", "Whether the process lives.", "200", "text/plain", "", "", "",
       B::kNone, nullptr, answer_livez},
      {M::kGet, "/readyz", "ready", "Whether it takes jobs.", "200 503", "text/plain", "", "", "",
       B::kNone, nullptr, answer_readyz},
      {M::kGet, "/openapi.json", "openapi", "This document.", "200", kJson, "", "", "", B::kNone,
       nullptr, answer_openapi},
  };
  return routes;
}

}  // namespace millrace
