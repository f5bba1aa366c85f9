// The gate: may this step start? One table, the only place that knows the rule.
//
// A pure step may start as soon as its inputs are known in memory; inside the server's own process
// only once its job is durable: if the server dies over it, the next one must know whom to blame,
// and the client that asks again for want of an answer must get the same job. A step with an effect
// may start only on durable facts: its job's acceptance and everything its inputs depend on are in
// a record that was applied; a `once` step moreover only when the intent to start it is durable.
// None starts while its node is in doubt whether it still owns its jobs (shared stores). A
// step that is blamed for a death of the server starts only when that is durable: else one that
// kills the server at once would never be found out. What is not allowed yet names what it waits
// for. Each combination of facts matches exactly one row (a test tries all of them).
//
// It knows nothing of jobs, queues or time: the caller states the facts.
#pragma once

#include <cstdint>
#include <span>

#include "engine/pipeline/catalogue.h"

namespace millrace {

enum class Verdict : uint8_t {
  kStart,
  kWriteIntent,    // take the slot, make the intent durable, then ask again
  kStopping,       // never: its job is being cancelled or ran out of time
  kNeedsDecision,  // a person
  kNoRoom,         // its job waits in the store until there is room in memory
  kAfter,          // other steps
  kRetry,          // the end of its back-off
  kDraining,       // the next server: this one is being stopped
  kNotAccepted,    // rev 1 to be durable
  kNotDurable,     // the results it builds on to be durable
  kInDoubt,        // its node's lease to be renewed
  kNoWorker,       // a free worker
};

// What the gate looks at, one bit each; the effect is two of them.
struct GateFacts {
  Effect effect = Effect::kPure;
  bool stopping = false;
  bool parked = false;  // for a person
  bool room = true;     // its job may run in memory
  bool known = false;   // everything it comes after has ended
  bool backing_off = false;
  bool draining = false;
  bool accepted = false;           // rev 1 is durable
  bool ancestors_durable = false;  // the end of everything it comes after is durable
  bool slot = false;               // its lane has a free slot
  bool intent_durable = false;
  bool blame_pending = false;  // the count of its server deaths is not durable yet
  bool inside = false;         // it would run in the server's own process
  bool doubt = false;          // another node may own its job by now

  uint32_t bits() const;
};
constexpr int kGateBits = 15;

struct GateRow {
  uint32_t mask = 0;   // the facts this row looks at
  uint32_t value = 0;  // what they must be
  Verdict verdict = Verdict::kStart;
};

std::span<const GateRow> gate_rows();      // [any]
Verdict ask_gate(const GateFacts& facts);  // [any]

}  // namespace millrace
