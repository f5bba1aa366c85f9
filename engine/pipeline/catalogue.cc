#include "engine/pipeline/catalogue.h"

namespace millrace {
namespace {

int position(const std::vector<PortDecl>& ports, std::string_view name) {
  for (size_t i = 0; i < ports.size(); i++) {
    if (ports[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

// The port numbered `port` when `second` follows `first`.
const PortDecl& numbered(const std::vector<PortDecl>& first, const std::vector<PortDecl>& second,
                         int port) {
  CHECK(port >= 0);
  const auto index = static_cast<size_t>(port);
  if (index < first.size()) return first[index];
  CHECK(index - first.size() < second.size());
  return second[index - first.size()];
}

int find_in_both(const std::vector<PortDecl>& first, const std::vector<PortDecl>& second,
                 std::string_view name) {
  const int found = position(first, name);
  if (found >= 0) return found;
  const int later = position(second, name);
  return later < 0 ? -1 : later + static_cast<int>(first.size());
}

}  // namespace

const char* effect_name(Effect effect) {
  constexpr const char* kNames[] = {"pure", "idempotent", "keyed", "once"};
  return kNames[static_cast<int>(effect)];
}

const char* lane_name(Lane lane) {
  return lane == Lane::kCpu ? "cpu" : "io";
}

int StepDecl::with_port(std::string_view port_name) const {
  return find_in_both(inputs, params, port_name);
}

int StepDecl::output_port(std::string_view port_name) const {
  return find_in_both(outputs, results, port_name);
}

const PortDecl& StepDecl::with_at(int port) const {
  return numbered(inputs, params, port);
}

const PortDecl& StepDecl::output_at(int port) const {
  return numbered(outputs, results, port);
}

const StepDecl* Catalogue::find(std::string_view name) const {
  for (const StepDecl& step : steps_) {
    if (step.name == name) return &step;
  }
  return nullptr;
}

}  // namespace millrace
