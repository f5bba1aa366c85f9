// The list of operations as JSON: [{"type": NAME, "params": {…}}, …].
//
// It knows JSON and declarations; what the operations do is theirs.
#pragma once

#include <string>

#include "steps/common/picture/operation.h"

namespace millrace {

inline constexpr size_t kOperationsMax = 32;

// Appends the operations to `chain`. BadParameter: which entry, what is wrong, what there is.
Problem read_operations(const std::string& json, PictureJob* job, Chain* chain);

}  // namespace millrace
