// Catalogue: which steps exist and what they declare. Plain data, made from the plugins'
// declarations; the pipeline language is checked against it without any plugin being opened.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pipeline/type.h"

namespace millrace {

enum class Effect : uint8_t { kPure, kIdempotent, kKeyed, kOnce };
enum class Lane : uint8_t { kCpu, kIo };
constexpr int kLanes = 2;
const char* effect_name(Effect effect);  // "pure" "idempotent" "keyed" "once". [any]
const char* lane_name(Lane lane);        // "cpu" "io". [any]

struct PortDecl {
  std::string name;
  Type type;
  std::string doc;
  std::string default_text;  // as a pipeline would write it; meaningful when has_default
  bool has_default = false;
  int64_t min = 0, max = 0;  // of an int; both 0: none
};

struct ReasonDecl {
  std::string name;
  std::string doc;
  bool transient = false;
  bool no_space = false;  // waited out, not counted as an attempt
};

// What a step takes for each pixel that goes in, and that comes out.
struct PixelMemory {
  uint64_t per_pixel = 0;
  uint64_t per_result_pixel = 0;
};

// With this value of a with port (of a blob: its media type) it is so much, where that is more.
struct MemoryDecl {
  int port = 0;
  std::string value;
  PixelMemory memory;
};

struct StepDecl {
  std::string name;
  uint32_t major = 1, minor = 0;
  Effect effect = Effect::kPure;
  Lane lane = Lane::kCpu;
  std::string doc;
  std::string plugin;             // name and version of the plugin, for people
  std::vector<PortDecl> inputs;   // blobs
  std::vector<PortDecl> params;   // values
  std::vector<PortDecl> outputs;  // blobs
  std::vector<PortDecl> results;  // values
  std::vector<ReasonDecl> reasons;
  std::vector<std::string> settings;
  // The memory of a call, at most. All 0: unknown.
  uint64_t memory_base = 0;
  PixelMemory memory;
  int result_width = -1, result_height = -1;  // with ports that bound a result's sides; -1: none
  std::vector<MemoryDecl> more_memory;
  bool declares_memory() const {
    return memory_base > 0 || memory.per_pixel > 0 || memory.per_result_pixel > 0 ||
           !more_memory.empty();
  }

  // In a pipeline inputs and params share one name space (`with`), outputs and results another
  // (`steps.ID.NAME`). Ports are numbered inputs first, then params; outputs first, then results.
  // -1: no such port.
  int with_port(std::string_view name) const;
  int output_port(std::string_view name) const;
  int with_count() const { return static_cast<int>(inputs.size() + params.size()); }
  int output_count() const { return static_cast<int>(outputs.size() + results.size()); }
  const PortDecl& with_at(int port) const;
  const PortDecl& output_at(int port) const;
};

// Immutable once shared. Steps keep their address for the catalogue's life.
class Catalogue {
 public:
  explicit Catalogue(std::vector<StepDecl> steps) : steps_(std::move(steps)) {}
  const std::vector<StepDecl>& steps() const { return steps_; }
  const StepDecl* find(std::string_view name) const;  // null: none

 private:
  const std::vector<StepDecl> steps_;
};

}  // namespace millrace
