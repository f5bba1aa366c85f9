#include "engine/core/gate.h"

#include "engine/base/check.h"

namespace millrace {
namespace {

constexpr uint32_t kEffect = 3, kStopping = 1 << 2, kParked = 1 << 3, kRoom = 1 << 4,
                   kKnown = 1 << 5, kBackingOff = 1 << 6, kDraining = 1 << 7, kAccepted = 1 << 8,
                   kDurable = 1 << 9, kSlot = 1 << 10, kIntent = 1 << 11, kBlame = 1 << 12,
                   kInside = 1 << 13, kDoubt = 1 << 14;

constexpr uint32_t effect_bits(Effect effect) {
  return static_cast<uint32_t>(effect);
}

// Each row but the first repeats what the rows above it have already sorted out; that makes them
// disjoint, whatever their order.
constexpr uint32_t kAlive = kStopping | kParked | kRoom;
constexpr uint32_t kHere = kAlive | kKnown | kBackingOff | kDraining;
constexpr uint32_t kNow = kHere | kBlame;
constexpr uint32_t kNowValue = kRoom | kKnown;
constexpr uint32_t kPure = kNow | kEffect | kInside;
constexpr uint32_t kSafe = kNow | kEffect | kAccepted | kDurable | kDoubt;

constexpr uint32_t safe(Effect effect) {
  return kNowValue | effect_bits(effect) | kAccepted | kDurable;
}

constexpr GateRow undurable(Effect effect, uint32_t mask, uint32_t value, Verdict verdict) {
  return {kNow | kEffect | mask, kNowValue | effect_bits(effect) | value, verdict};
}

constexpr GateRow kRows[] = {
    {kStopping, kStopping, Verdict::kStopping},
    {kStopping | kParked, kParked, Verdict::kNeedsDecision},
    {kAlive, 0, Verdict::kNoRoom},
    {kAlive | kKnown, kRoom, Verdict::kAfter},
    {kAlive | kKnown | kBackingOff, kRoom | kKnown | kBackingOff, Verdict::kRetry},
    {kHere, kNowValue | kDraining, Verdict::kDraining},
    {kNow, kNowValue | kBlame, Verdict::kNotDurable},
    // A pure step needs nothing durable, inside the server its job's acceptance.
    {kPure | kSlot, kNowValue, Verdict::kNoWorker},
    {kPure | kSlot, kNowValue | kSlot, Verdict::kStart},
    {kPure | kAccepted, kNowValue | kInside, Verdict::kNotAccepted},
    {kPure | kAccepted | kSlot, kNowValue | kInside | kAccepted, Verdict::kNoWorker},
    {kPure | kAccepted | kSlot, kNowValue | kInside | kAccepted | kSlot, Verdict::kStart},
    // An effect needs its job accepted, then everything it builds on.
    undurable(Effect::kIdempotent, kAccepted, 0, Verdict::kNotAccepted),
    undurable(Effect::kKeyed, kAccepted, 0, Verdict::kNotAccepted),
    undurable(Effect::kOnce, kAccepted, 0, Verdict::kNotAccepted),
    undurable(Effect::kIdempotent, kAccepted | kDurable, kAccepted, Verdict::kNotDurable),
    undurable(Effect::kKeyed, kAccepted | kDurable, kAccepted, Verdict::kNotDurable),
    undurable(Effect::kOnce, kAccepted | kDurable, kAccepted, Verdict::kNotDurable),
    // Its node must be sure of its jobs.
    {kSafe, safe(Effect::kIdempotent) | kDoubt, Verdict::kInDoubt},
    {kSafe, safe(Effect::kKeyed) | kDoubt, Verdict::kInDoubt},
    {kSafe, safe(Effect::kOnce) | kDoubt, Verdict::kInDoubt},
    {kSafe | kSlot, safe(Effect::kIdempotent), Verdict::kNoWorker},
    {kSafe | kSlot, safe(Effect::kKeyed), Verdict::kNoWorker},
    {kSafe | kSlot, safe(Effect::kOnce), Verdict::kNoWorker},
    {kSafe | kSlot, safe(Effect::kIdempotent) | kSlot, Verdict::kStart},
    {kSafe | kSlot, safe(Effect::kKeyed) | kSlot, Verdict::kStart},
    // A `once` step also needs its intent.
    {kSafe | kSlot | kIntent, safe(Effect::kOnce) | kSlot, Verdict::kWriteIntent},
    {kSafe | kSlot | kIntent, safe(Effect::kOnce) | kSlot | kIntent, Verdict::kStart},
};
static_assert(effect_bits(Effect::kPure) == 0 && effect_bits(Effect::kOnce) == kEffect);

}  // namespace

uint32_t GateFacts::bits() const {
  return effect_bits(effect) | (stopping ? kStopping : 0) | (parked ? kParked : 0) |
         (room ? kRoom : 0) | (known ? kKnown : 0) | (backing_off ? kBackingOff : 0) |
         (draining ? kDraining : 0) | (accepted ? kAccepted : 0) |
         (ancestors_durable ? kDurable : 0) | (slot ? kSlot : 0) | (intent_durable ? kIntent : 0) |
         (blame_pending ? kBlame : 0) | (inside ? kInside : 0) | (doubt ? kDoubt : 0);
}

std::span<const GateRow> gate_rows() {
  return kRows;
}

Verdict ask_gate(const GateFacts& facts) {
  const uint32_t bits = facts.bits();
  for (const GateRow& row : kRows) {
    if ((bits & row.mask) == row.value) return row.verdict;
  }
  CHECK_MSG(false, "the gate has no row for these facts");
  return Verdict::kStopping;
}

}  // namespace millrace
