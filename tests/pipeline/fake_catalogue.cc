#include "tests/pipeline/fake_catalogue.h"

#include <fmt/core.h>

#include "engine/base/errors.h"

namespace millrace {
namespace {

PortDecl port(std::string name, std::string_view type, std::string fallback = "") {
  PortDecl made;
  made.name = std::move(name);
  made.type = parse_type(type).value();
  made.has_default = !fallback.empty();
  made.default_text = std::move(fallback);
  return made;
}

PortDecl ranged(PortDecl made, int64_t min, int64_t max) {
  made.min = min;
  made.max = max;
  return made;
}

StepDecl upload() {
  StepDecl step;
  step.name = "upload";
  step.inputs = {port("image", "image")};
  step.outputs = {port("image", "image")};
  step.results = {port("extension", "string"), port("media_type", "string"),
                  port("width", "int"),        port("height", "int"),
                  port("pages", "int"),        port("orientation", "int")};
  step.reasons = {{"truncated", "", false}, {"too_many_pixels", "", false}};
  return step;
}

StepDecl store() {
  StepDecl step;
  step.name = "store";
  step.effect = Effect::kIdempotent;
  step.lane = Lane::kIo;
  step.inputs = {port("data", "blob")};
  step.params = {port("key", "string"), port("store", "string", "default"),
                 port("replace", "bool", "false")};
  step.results = {port("url", "url"), port("key", "string"), port("digest", "string")};
  step.reasons = {{"exists", "", false}, {"unavailable", "", true}};
  return step;
}

StepDecl grayscale() {
  StepDecl step;
  step.name = "grayscale";
  step.inputs = {port("image", "image")};
  step.params = {port("method", "enum<luma,luminance>", "luma"),
                 ranged(port("quality", "int?"), 1, 100), port("background", "string", "white"),
                 port("metadata", "enum<safe,keep,strip>", "safe")};
  step.outputs = {port("image", "image")};
  step.results = {port("extension", "string"), port("media_type", "string")};
  step.reasons = {{"truncated", "", false}, {"out_of_memory", "", true}};
  return step;
}

StepDecl notify() {
  StepDecl step;
  step.name = "notify";
  step.effect = Effect::kKeyed;
  step.lane = Lane::kIo;
  step.params = {port("url", "url"), port("body", "json")};
  step.results = {port("status", "int")};
  step.reasons = {{"refused", "", false}, {"unavailable", "", true}};
  return step;
}

// Takes and gives one of everything, for the type checker.
StepDecl probe() {
  StepDecl step;
  step.name = "probe";
  step.inputs = {port("data", "blob?")};
  step.params = {port("flag", "bool?"),
                 port("count", "int?"),
                 port("ratio", "float?"),
                 port("text", "string?"),
                 port("wait", "duration?"),
                 port("limit", "size?"),
                 port("link", "url?"),
                 port("doc", "json?"),
                 port("names", "list<string>?"),
                 port("table", "map<int>?"),
                 port("mode", "enum<fast,slow>", "fast")};
  step.outputs = {port("data", "blob?")};
  step.results = {port("flag", "bool"),
                  port("count", "int"),
                  port("ratio", "float"),
                  port("text", "string"),
                  port("wait", "duration"),
                  port("limit", "size"),
                  port("link", "url"),
                  port("doc", "json"),
                  port("names", "list<string>"),
                  port("table", "map<int>"),
                  port("mode", "enum<fast,slow>"),
                  port("maybe", "int?"),
                  port("numbers", "list<int>")};
  return step;
}

}  // namespace

std::shared_ptr<const Catalogue> fake_catalogue() {
  static const auto catalogue = [] {
    StepDecl noop, keyed;
    noop.name = "noop";
    noop.params = {port("value", "json?")};
    noop.results = {port("value", "json")};
    keyed = noop;
    keyed.name = "noop_keyed";
    keyed.effect = Effect::kKeyed;
    keyed.lane = Lane::kIo;
    return std::make_shared<const Catalogue>(
        std::vector<StepDecl>{upload(), store(), grayscale(), notify(), noop, keyed, probe()});
  }();
  return catalogue;
}

std::string problems_of(std::string_view yaml) {
  std::string text;
  for (const Diagnostic& d : parse_pipeline(yaml, fake_catalogue()).diagnostics) {
    text += fmt::format("{}:{} {} {}{}\n", d.line, d.column, error_code(d.number), d.message,
                        d.hint.empty() ? "" : " [" + d.hint + "]");
  }
  return text;
}

std::shared_ptr<const Graph> graph_of(std::string_view yaml) {
  ParsedPipeline parsed = parse_pipeline(yaml, fake_catalogue());
  CHECK_MSG(parsed.graph != nullptr, problems_of(yaml).c_str());
  return parsed.graph;
}

FakeScope& FakeScope::set_input(std::string_view name, Value value) {
  inputs_[{graph_->input_index(name), 0}] = std::move(value);
  return *this;
}

FakeScope& FakeScope::set_output(std::string_view step, std::string_view port_name, Value value) {
  const int index = graph_->step_index(step);
  CHECK(index >= 0);
  const int number = graph_->steps[static_cast<size_t>(index)].decl->output_port(port_name);
  CHECK(number >= 0);
  outputs_[{index, number}] = std::move(value);
  return *this;
}

FakeScope& FakeScope::set_job(JobField field, Value value) {
  job_[{static_cast<int>(field), 0}] = std::move(value);
  return *this;
}

const Value* FakeScope::look(const std::map<std::pair<int, int>, Value>& values, int a, int b) {
  const auto found = values.find({a, b});
  return found == values.end() ? nullptr : &found->second;
}

const Value* FakeScope::input(int index) const {
  return look(inputs_, index, 0);
}

const Value* FakeScope::step_output(int step, int port_number) const {
  return look(outputs_, step, port_number);
}

const Value* FakeScope::job(JobField field) const {
  return look(job_, static_cast<int>(field), 0);
}

Value blob_value(std::string media_type, uint64_t size_bytes) {
  BlobRef blob;
  blob.content = std::make_shared<BlobContent>();
  blob.content->size_bytes = size_bytes;
  blob.content->digest = sha256("blob");
  blob.media_type = std::move(media_type);
  return Value(std::move(blob));
}

}  // namespace millrace
