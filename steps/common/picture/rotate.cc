// rotate: multiples of a quarter, and mirrors. All eight are EXIF orientations, so they are done as
// such.
#include "steps/common/picture/rotate.h"

#include <fmt/core.h>

namespace millrace {

int orientation_of(int quarters, const std::string& mirror) {
  // Turned clockwise: 1, 6, 3, 8. Each mirrored afterwards, left for right.
  constexpr int kTurned[] = {1, 6, 3, 8}, kMirrored[] = {2, 5, 4, 7};
  const int turns = ((quarters % 4) + 4) % 4;
  if (mirror == "horizontal") return kMirrored[turns];
  // Upside down is left for right, turned by a half.
  return mirror == "vertical" ? kMirrored[(turns + 2) % 4] : kTurned[turns];
}

int orientation_after(int first, int second) {
  // An orientation as mirror (after) and quarters (before).
  constexpr int kQuarters[] = {0, 0, 0, 2, 2, 1, 1, 3, 3};
  const auto mirrored = [](int o) { return o == 2 || o == 4 || o == 5 || o == 7; };
  // Turning after a mirror is turning the other way before it.
  const int turns =
      mirrored(first) ? kQuarters[first] - kQuarters[second] : kQuarters[first] + kQuarters[second];
  return orientation_of(turns, mirrored(first) != mirrored(second) ? "horizontal" : "none");
}

Problem read_rotation(const Params& params, int* orientation) {
  const int64_t angle = params.integer("angle");
  if (angle % 90 != 0) {
    return bad_parameter(fmt::format("rotate: angle is {}, it must be a multiple of 90", angle));
  }
  *orientation = orientation_of(static_cast<int>(angle / 90), params.text("mirror", "none"));
  return {};
}

namespace {

Problem make(const Params& params, PictureJob*, OutputOptions*, Operation* operation) {
  int orientation = 1;
  if (Problem problem = read_rotation(params, &orientation)) return problem;
  operation->apply = [orientation](PictureJob* job, int, VipsPicture* picture) {
    return apply_orientation(job, orientation, picture);
  };
  return {};
}

}  // namespace

const OperationKind kRotate = {"rotate", kRotatePorts, make};

}  // namespace millrace
