// Machine: a core that is driven by lines of text.
//
// The world writes each event as one line; the machine reads it back, applies it and writes what
// the core did under it. So every run is its own trace: executing the same lines again on a new
// machine must give the same text (I9), and a trace in a file replays without any world.
//
// Lines begin with "> " (done to the core) or "< " (what it did). A value is one word: "-" null,
// "n<hex>" bytes, "f<port>" the blob that the step was given there, "j<hex>" JSON,
// "x<letter><count>" a long JSON string.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "engine/core/core.h"

namespace millrace::sim {

// What broke: an invariant, in words. Thrown by machine and checkers, caught by main().
struct Violation {
  std::string what;
};
[[noreturn]] void violated(const std::string& what);

std::string hex(std::string_view bytes);
std::string key_text(const JobKey& key);
std::string json_word(const Value& value);  // "j…"
std::string blob_word(std::string_view bytes);
std::string long_word(size_t bytes, char letter);  // a JSON string of one letter
// A text that differs when any part of the record does.
std::string record_text(const JobRecord& record);

// What machines know of records and texts that were written: those of one store share it.
struct Writings {
  std::map<std::string, std::shared_ptr<const JobRecord>, std::less<>> images;  // by write id
  std::map<Digest, std::string> texts;  // of puts, to read spills back
};

class Machine {
 public:
  Machine() : Machine(std::make_shared<Writings>(), size_t{1} << 18) {}
  Machine(std::shared_ptr<Writings> writings, size_t trace_bytes) : writings_(std::move(writings)) {
    trace_.reserve(trace_bytes);
  }
  // Executes one line without its "> ". Appends it and its effects to the trace.
  std::vector<Action> execute(const std::string& line);
  // The same for "collect".
  std::vector<Write> collect();

  Core& core() { return *core_; }
  const std::string& trace() const { return trace_; }
  // A record that this machine knows by its write id: collected from a core, stolen or tampered.
  std::shared_ptr<const JobRecord> image(std::string_view write_id) const;
  static std::string write_id_text(const JobRecord& record);

 private:
  class Words;
  void boot(Words& words);
  Event parse(std::string_view verb, Words& words);
  Event parse_submit(Words& words);
  Event parse_adopt(Words& words);
  Event parse_done(Words& words);
  static std::optional<Event> parse_shared(std::string_view verb, TimeMs now, Words& words);
  Value parse_value(std::string_view word, const StartStep* start);
  void alter(std::string_view verb, Words& words);
  void note(const Action& action);
  std::string show_value(const Value& value);

  std::unique_ptr<Core> core_;
  std::string trace_;
  std::shared_ptr<Writings> writings_;
  std::map<Ticket, StartStep> started_;
};

}  // namespace millrace::sim
