// The lossless way of steps that only move pixels: a JPEG that stays a JPEG, not decoded.
#pragma once

#include "steps/common/picture/operations.h"

namespace millrace {

// Turns the JPEG by EXIF's orientation and then by `rotation` (one of 1 to 8), and cuts the box out
// of what is then seen (no width: all of it), as coefficients, with the metadata and the profile
// that `output` asks for. job->header is filled in. False: that is not possible without loss, or
// something else is asked for that needs decoding; `result` is untouched then.
bool move_jpeg(const PictureJob& job, const OutputOptions& output, int rotation, const Box& box,
               ChainResult* result);

// Runs a step of one operation (kind) the lossless way where `move` can go it, else on pixels, and
// sets the step's last result, which is kUntouchedResult. `move` may find a problem of the
// parameters.
using MoveFunction = std::function<bool(const PictureJob& job, const OutputOptions& output,
                                        ChainResult* result, Problem* problem)>;
int32_t run_lossless_first(const mr_call* call, const OperationKind& kind,
                           const MoveFunction& move);

// The result of such a step behind kPictureResults: whether the picture was left as it was coded.
inline constexpr mr_port kUntouchedResult[] = {
    make_port("untouched", "bool",
              "Whether it is a JPEG whose blocks were moved, bit for bit, "
              "without decoding them."),
};

}  // namespace millrace
