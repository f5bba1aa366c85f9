// Outcome: from what a step said to what the core is told. Runs on the server's side, after the
// bytes have been copied out of any shared memory; it trusts nothing of a CallEnd.
#pragma once

#include <string>
#include <vector>

#include "engine/core/event.h"
#include "engine/plugin/call.h"

namespace millrace {

// The outcome of an attempt that ended by itself. Every Piece of `end` is complete in `bytes`. An
// output's bytes are charged to `budget` (may be null) when the caller has not done so. What was
// declared and not produced, or is of another type, is kFailed with reason "invalid_result" (E166).
// [any]
StepOutcome outcome_of(const StepDecl& decl, const std::vector<Value>& with, CallEnd end,
                       const std::shared_ptr<ByteBudget>& budget);

// The attempt broke the rules of step.h: E166, reason "invalid_result". [any]
StepOutcome invalid_result(const StepDecl& decl, const std::string& message);

// At most `bytes_max` bytes of `text`, valid UTF-8 (other bytes become '?'), cut at a character.
// [any]
std::string clean_text(std::string_view text, size_t bytes_max);

}  // namespace millrace
