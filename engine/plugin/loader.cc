#include "engine/plugin/loader.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "engine/base/errors.h"
#include "engine/base/limits.h"

namespace millrace {
namespace {

constexpr uint32_t kStructBytesMax = 4096;
constexpr uint32_t kListMax = 4096;  // steps of a plugin, reasons of a step
constexpr uint64_t kMemoryBaseMax = uint64_t{1} << 40;
constexpr uint64_t kMemoryPerPixelMax = uint64_t{1} << 20;

// The end of the last member that every version of step.h has had.
#define MILLRACE_END_OF(type, member) (offsetof(type, member) + sizeof(type::member))
constexpr size_t kPluginBytesMin = MILLRACE_END_OF(mr_plugin, step_count);
constexpr size_t kStepBytesMin = MILLRACE_END_OF(mr_step, run);
constexpr size_t kPortBytesMin = MILLRACE_END_OF(mr_port, type);
constexpr size_t kReasonBytesMin = MILLRACE_END_OF(mr_reason, name);
constexpr size_t kMemoryBytesMin = MILLRACE_END_OF(mr_memory, per_pixel);
#undef MILLRACE_END_OF

// Copies as much of a plugin's struct as the plugin has; the rest is zero. False: the size it
// states cannot be one.
template <typename T>
bool read_sized(const void* from, size_t bytes_min, T* to) {
  uint32_t size = 0;
  memcpy(&size, from, sizeof size);
  if (size < bytes_min || size > kStructBytesMax) return false;
  memset(static_cast<void*>(to), 0, sizeof *to);
  memcpy(static_cast<void*>(to), from, std::min<size_t>(size, sizeof *to));
  return true;
}

std::string text_of(const char* text) {
  return text == nullptr ? "" : text;
}

Status refuse(std::string message) {
  return Status::invalid(errors::kPluginDeclaration, std::move(message));
}

bool holds_blob(const Type& type) {
  return type.is_blob() || (type.element != nullptr && holds_blob(*type.element));
}

enum class PortUse { kInput, kParam, kOutput, kResult };

Status check_port_type(PortUse use, const mr_port& raw, PortDecl* port, const std::string& where) {
  auto type = parse_type(text_of(raw.type));
  if (!type.ok()) {
    return refuse(
        fmt::format("{}: type \"{}\": {}", where, text_of(raw.type), type.status().message()));
  }
  port->type = std::move(type).value();
  const bool blob_place = use == PortUse::kInput || use == PortUse::kOutput;
  if (blob_place && !port->type.is_blob()) {
    return refuse(
        fmt::format("{}: type \"{}\" stands among the blobs; it is a value, declare it "
                    "under params or results",
                    where, text_of(raw.type)));
  }
  if (!blob_place && holds_blob(port->type)) {
    return refuse(
        fmt::format("{}: type \"{}\" stands among the values; blobs belong to inputs "
                    "or outputs, one a port",
                    where, text_of(raw.type)));
  }
  if (use == PortUse::kResult && port->type.kind == Type::Kind::kSecret) {
    return refuse(fmt::format("{}: a result cannot be a secret", where));
  }
  return {};
}

Status read_port(PortUse use, const mr_port& raw, const std::string& where, PortDecl* port) {
  port->name = text_of(raw.name);
  if (!is_step_name(port->name)) {
    return refuse(fmt::format("{}: \"{}\" is not a name ([a-z][a-z0-9_]*, at most 64 bytes)", where,
                              port->name));
  }
  RETURN_IF_ERROR(check_port_type(use, raw, port, fmt::format("{} '{}'", where, port->name)));
  port->doc = text_of(raw.doc);
  port->min = raw.min;
  port->max = raw.max;
  if (raw.min > raw.max) {
    return refuse(
        fmt::format("{} '{}': min {} is above max {}", where, port->name, raw.min, raw.max));
  }
  if (raw.default_value != nullptr) {
    if (use != PortUse::kParam) {
      return refuse(fmt::format("{} '{}': only params have a default", where, port->name));
    }
    port->has_default = true;
    port->default_text = raw.default_value;
    auto value = value_from_text(port->type, port->default_text);
    if (!value.ok()) {
      return refuse(fmt::format("{} '{}': default \"{}\": {}", where, port->name,
                                port->default_text, value.status().message()));
    }
  }
  return {};
}

Status read_ports(PortUse use, const mr_port* first, uint32_t count, const std::string& where,
                  std::set<std::string>* names, std::vector<PortDecl>* ports) {
  if (count == 0) return {};
  if (first == nullptr || count > kPortsMax) {
    return refuse(fmt::format("{}: {} ports{}, at most {} are possible", where, count,
                              first == nullptr ? " at a null pointer" : "", kPortsMax));
  }
  // An array's elements are as far apart as the plugin's compiler put them.
  const uint32_t stride = first->size;
  const auto* at = reinterpret_cast<const uint8_t*>(first);
  for (uint32_t i = 0; i < count; i++, at += stride) {
    mr_port raw;
    if (!read_sized(at, kPortBytesMin, &raw) || raw.size != stride) {
      return refuse(fmt::format("{} {}: mr_port.size is not set (use sizeof(mr_port))", where, i));
    }
    PortDecl port;
    RETURN_IF_ERROR(read_port(use, raw, where, &port));
    if (!names->insert(port.name).second) {
      return refuse(fmt::format("{} '{}': the name is used twice", where, port.name));
    }
    ports->push_back(std::move(port));
  }
  return {};
}

Status read_reasons(const mr_step& raw, const std::string& where, StepDecl* decl) {
  if (raw.reason_count == 0) return {};
  if (raw.reasons == nullptr || raw.reason_count > kListMax) {
    return refuse(fmt::format("{}: {} reasons cannot be read", where, raw.reason_count));
  }
  const uint32_t stride = raw.reasons->size;
  const auto* at = reinterpret_cast<const uint8_t*>(raw.reasons);
  std::set<std::string> names;
  for (uint32_t i = 0; i < raw.reason_count; i++, at += stride) {
    mr_reason reason;
    if (!read_sized(at, kReasonBytesMin, &reason) || reason.size != stride) {
      return refuse(
          fmt::format("{} reason {}: mr_reason.size is not set (use sizeof(mr_reason))", where, i));
    }
    ReasonDecl one{text_of(reason.name), text_of(reason.doc), (reason.flags & MR_TRANSIENT) != 0,
                   (reason.flags & MR_NO_SPACE) != 0};
    if (!is_step_name(one.name) || !names.insert(one.name).second) {
      return refuse(fmt::format("{} reason \"{}\": not a name, or used twice", where, one.name));
    }
    decl->reasons.push_back(std::move(one));
  }
  return {};
}

Status read_settings(const mr_step& raw, const std::string& where, StepDecl* decl) {
  const std::string text = text_of(raw.settings);
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (end > at) decl->settings.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (!decl->settings.empty() && decl->lane != Lane::kIo) {
    return refuse(fmt::format("{}: settings are for the io lane only", where));
  }
  return {};
}

Status check_memory(const PixelMemory& memory, const std::string& where) {
  const uint64_t most = std::max(memory.per_pixel, memory.per_result_pixel);
  if (most <= kMemoryPerPixelMax) return {};
  return refuse(fmt::format("{}: {} bytes of memory for each pixel, at most {} are possible", where,
                            most, kMemoryPerPixelMax));
}

// Where it is more.
Status read_more_memory(const mr_step& raw, const std::string& where, StepDecl* decl) {
  if (raw.memory_count == 0) return {};
  if (raw.memory == nullptr || raw.memory_count > kListMax) {
    return refuse(fmt::format("{}: {} entries of memory cannot be read", where, raw.memory_count));
  }
  const uint32_t stride = raw.memory->size;
  const auto* at = reinterpret_cast<const uint8_t*>(raw.memory);
  for (uint32_t i = 0; i < raw.memory_count; i++, at += stride) {
    mr_memory more;
    if (!read_sized(at, kMemoryBytesMin, &more) || more.size != stride) {
      return refuse(
          fmt::format("{} memory {}: mr_memory.size is not set (use sizeof(mr_memory))", where, i));
    }
    const int port = decl->with_port(text_of(more.port));
    if (port < 0) {
      return refuse(fmt::format("{} memory {}: \"{}\" is none of its inputs and parameters", where,
                                i, text_of(more.port)));
    }
    const PixelMemory memory{more.per_pixel, more.per_result_pixel};
    RETURN_IF_ERROR(check_memory(memory, where));
    decl->more_memory.push_back({port, text_of(more.value), memory});
  }
  return {};
}

// The parameter that bounds a side of the result.
Status read_side(const char* name, const std::string& where, const StepDecl& decl, int* port) {
  if (name == nullptr) return {};
  *port = decl.with_port(name);
  if (*port >= 0) {
    const Type::Kind kind = decl.with_at(*port).type.kind;
    if (kind == Type::Kind::kInt || kind == Type::Kind::kJson) return {};
  }
  return refuse(
      fmt::format("{}: the result's side \"{}\" is no int or json parameter of it", where, name));
}

Status read_memory(const mr_step& raw, const std::string& where, StepDecl* decl) {
  decl->memory_base = raw.memory_base;
  decl->memory = {raw.memory_per_pixel, raw.memory_per_result_pixel};
  if (raw.memory_base > kMemoryBaseMax) {
    return refuse(fmt::format("{}: memory_base is {}, at most {} bytes are possible", where,
                              raw.memory_base, kMemoryBaseMax));
  }
  RETURN_IF_ERROR(check_memory(decl->memory, where));
  RETURN_IF_ERROR(read_side(raw.result_width, where, *decl, &decl->result_width));
  RETURN_IF_ERROR(read_side(raw.result_height, where, *decl, &decl->result_height));
  RETURN_IF_ERROR(read_more_memory(raw, where, decl));
  if (!decl->declares_memory() || decl->lane == Lane::kCpu) return {};
  return refuse(fmt::format("{}: memory is declared for the cpu lane only", where));
}

Status read_step(const mr_step* from, uint32_t index, LoadedStep* step) {
  mr_step raw;
  if (from == nullptr || !read_sized(from, kStepBytesMin, &raw)) {
    return refuse(fmt::format("step {}: mr_step.size is not set (use sizeof(mr_step))", index));
  }
  StepDecl& decl = step->decl;
  decl.name = text_of(raw.name);
  if (!is_step_name(decl.name)) {
    return refuse(fmt::format("step {}: \"{}\" is not a name ([a-z][a-z0-9_]*, at most 64 bytes)",
                              index, decl.name));
  }
  const std::string where = fmt::format("step '{}'", decl.name);
  if (raw.effect > MR_ONCE || raw.lane > MR_LANE_IO) {
    return refuse(
        fmt::format("{}: effect {} or lane {} is not one of step.h", where, raw.effect, raw.lane));
  }
  if (raw.run == nullptr) return refuse(fmt::format("{}: run is null", where));
  step->run = raw.run;
  decl.major = raw.major;
  decl.minor = raw.minor;
  decl.effect = static_cast<Effect>(raw.effect);
  decl.lane = static_cast<Lane>(raw.lane);
  decl.doc = text_of(raw.doc);
  std::set<std::string> with, outputs;
  RETURN_IF_ERROR(read_ports(PortUse::kInput, raw.inputs, raw.input_count, where + " input", &with,
                             &decl.inputs));
  RETURN_IF_ERROR(read_ports(PortUse::kParam, raw.params, raw.param_count, where + " param", &with,
                             &decl.params));
  RETURN_IF_ERROR(read_ports(PortUse::kOutput, raw.outputs, raw.output_count, where + " output",
                             &outputs, &decl.outputs));
  RETURN_IF_ERROR(read_ports(PortUse::kResult, raw.results, raw.result_count, where + " result",
                             &outputs, &decl.results));
  if (decl.with_count() > kPortsMax || decl.output_count() > kPortsMax) {
    return refuse(fmt::format("{}: more than {} ports", where, kPortsMax));
  }
  RETURN_IF_ERROR(read_reasons(raw, where, &decl));
  RETURN_IF_ERROR(read_memory(raw, where, &decl));
  return read_settings(raw, where, &decl);
}

// The symbol that a plugin for another major version would export, to say so.
std::string foreign_symbol(void* handle) {
  for (int major = 0; major < 20; major++) {
    const std::string name = fmt::format("mr_plugin_v{}", major);
    if (dlsym(handle, name.c_str()) != nullptr) return name;
  }
  return "";
}

Status check_version(const mr_plugin& plugin) {
  if (plugin.abi_major == MR_ABI_MAJOR && plugin.abi_minor <= MR_ABI_MINOR) return {};
  const bool newer = plugin.abi_major > MR_ABI_MAJOR ||
                     (plugin.abi_major == MR_ABI_MAJOR && plugin.abi_minor > MR_ABI_MINOR);
  return Status::invalid(
      errors::kPluginVersion,
      fmt::format("symbol {}: built for plugin ABI {}.{}, this millrace has {}.{}; {}", MR_SYMBOL,
                  plugin.abi_major, plugin.abi_minor, MR_ABI_MAJOR, MR_ABI_MINOR,
                  newer ? "install a newer millrace, or rebuild the plugin against its step.h"
                        : "rebuild the plugin against this millrace's step.h"));
}

// Finds and checks the one symbol; `name` and `plugin` are filled as far as it got.
Status open_plugin(const std::string& file, mr_plugin* plugin) {
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return Status::invalid(
        errors::kPluginUnreadable,
        fmt::format("cannot be opened: {}; rebuild it, or install what it links against",
                    text_of(dlerror())));
  }
  const void* symbol = dlsym(handle, MR_SYMBOL);
  if (symbol == nullptr) {
    const std::string other = foreign_symbol(handle);
    return Status::invalid(
        errors::kPluginSymbolMissing,
        fmt::format("exports no symbol {} (plugin ABI {}.{}){}", MR_SYMBOL, MR_ABI_MAJOR,
                    MR_ABI_MINOR,
                    other.empty() ? "; it is no plugin of millrace, or the symbol lacks MR_EXPORT"
                                  : fmt::format(", but {}; rebuild it against this millrace's "
                                                "step.h",
                                                other)));
  }
  // The version comes first: a struct of another major version means nothing to us beyond it.
  uint32_t head[3];
  memcpy(head, symbol, sizeof head);
  plugin->abi_major = head[1];
  plugin->abi_minor = head[2];
  RETURN_IF_ERROR(check_version(*plugin));
  if (!read_sized(symbol, kPluginBytesMin, plugin)) {
    return refuse(
        fmt::format("symbol {}: mr_plugin.size is {}, expected {} to {}; use "
                    "sizeof(mr_plugin)",
                    MR_SYMBOL, head[0], kPluginBytesMin, kStructBytesMax));
  }
  if (text_of(plugin->name).empty()) return refuse("mr_plugin.name is empty");
  if (plugin->step_count > kListMax || (plugin->steps == nullptr && plugin->step_count > 0)) {
    return refuse(fmt::format("mr_plugin.steps: {} steps cannot be read", plugin->step_count));
  }
  return {};
}

Status load_plugin(const std::string& file, LoadedPlugins* loaded) {
  mr_plugin raw{};
  RETURN_IF_ERROR(open_plugin(file, &raw));
  LoadedPlugin plugin;
  plugin.file = file;
  plugin.name = raw.name;
  plugin.version = text_of(raw.version);
  plugin.start = raw.start;
  std::vector<LoadedStep> steps(raw.step_count);
  for (uint32_t i = 0; i < raw.step_count; i++) {
    LoadedStep& step = steps[i];
    RETURN_IF_ERROR(read_step(raw.steps[i], i, &step));
    step.plugin = loaded->plugins.size();
    step.decl.plugin = plugin.version.empty() ? plugin.name : plugin.name + " " + plugin.version;
    plugin.has_lane[static_cast<int>(step.decl.lane)] = true;
    auto same = [&](const LoadedStep& other) { return other.decl.name == step.decl.name; };
    const auto other = std::find_if(loaded->steps.begin(), loaded->steps.end(), same);
    if (other != loaded->steps.end() || std::find_if(steps.begin(), steps.begin() + i, same) !=
                                            steps.begin() + static_cast<ptrdiff_t>(i)) {
      return Status::invalid(
          errors::kStepDuplicate,
          fmt::format("step '{}' is declared already, by {}; remove one of the two", step.decl.name,
                      other == loaded->steps.end() ? "the same plugin"
                                                   : loaded->plugins[other->plugin].file));
    }
  }
  char error[512] = "";
  if (raw.load != nullptr && raw.load(error, sizeof error) != 0) {
    error[sizeof error - 1] = 0;
    return Status::invalid(errors::kPluginRefused,
                           fmt::format("its load() refused: {}", error[0] ? error : "no reason"));
  }
  loaded->plugins.push_back(std::move(plugin));
  std::move(steps.begin(), steps.end(), std::back_inserter(loaded->steps));
  return {};
}

std::vector<std::string> shared_objects(const std::string& directory, LoadedPlugins* loaded) {
  std::vector<std::string> files;
  DIR* open = opendir(directory.c_str());
  if (open == nullptr) {
    loaded->problems.push_back(
        {directory,
         fmt::format("{}: the directory of steps cannot be read: {}; set 'steps' to the folder "
                     "that holds the plugins",
                     directory, strerror(errno)),
         errors::kStepsDirectory});
    return files;
  }
  while (const dirent* entry = readdir(open)) {
    const std::string_view name = entry->d_name;
    if (name.size() > 3 && name.substr(name.size() - 3) == ".so") {
      files.push_back(directory + "/" + entry->d_name);
    }
  }
  closedir(open);
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

Declarations LoadedPlugins::declarations() const {
  Declarations declarations;
  for (const LoadedStep& step : steps) declarations.steps.push_back(step.decl);
  declarations.problems = problems;
  return declarations;
}

LoadedPlugins load_plugins(const std::string& directory, const std::vector<PluginProblem>& refused,
                           const std::function<void(const std::string&)>& before_file) {
  LoadedPlugins loaded;
  for (const std::string& file : shared_objects(directory, &loaded)) {
    const auto known = std::find_if(refused.begin(), refused.end(),
                                    [&](const PluginProblem& p) { return p.file == file; });
    if (known != refused.end()) {
      loaded.problems.push_back(*known);
      continue;
    }
    if (before_file) before_file(file);
    const Status status = load_plugin(file, &loaded);
    if (!status.ok()) {
      loaded.problems.push_back({file, file + ": " + status.message(), status.number()});
    }
  }
  return loaded;
}

Status start_plugins(const LoadedPlugins& loaded, Lane lane) {
  for (const LoadedPlugin& plugin : loaded.plugins) {
    if (plugin.start == nullptr || !plugin.has_lane[static_cast<int>(lane)]) continue;
    char error[512] = "";
    if (plugin.start(error, sizeof error) == 0) continue;
    error[sizeof error - 1] = 0;
    return Status::unavailable(
        errors::kPluginStart,
        fmt::format("{}: its start() refused: {}", plugin.file, error[0] ? error : "no reason"));
  }
  return {};
}

}  // namespace millrace
