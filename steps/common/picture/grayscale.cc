// grayscale as an entry of a list: the formulas of steps/common/gray.h on decoded pixels.
#include "steps/common/gray.h"
#include "steps/common/picture/kept_profile.h"
#include "steps/common/picture/operations.h"

namespace millrace {
namespace {

Problem make(const Params& params, PictureJob*, OutputOptions*, Operation* operation) {
  GrayRow row;
  row.method =
      params.text("method", "luma") == "luminance" ? GrayMethod::kLuminance : GrayMethod::kLuma;
  operation->apply = [row](PictureJob* job, int, VipsPicture* picture) -> Problem {
    if (colours_of(*picture) == 1) return {};
    if (Problem problem = make_room_for_gray(job, picture)) return problem;
    const bool wide = is_wide(*picture);
    GrayRow layout = row;
    layout.bands = layout.bands_used = bands_of(*picture);
    layout.out_bands = has_alpha(*picture) ? 2 : 1;
    *picture = map_rows(std::move(*picture), shape_of(layout.out_bands, wide),
                        [=](const void* from, void* to, size_t pixels) {
                          if (wide) {
                            gray_row16(layout, static_cast<const uint16_t*>(from),
                                       static_cast<uint16_t*>(to), pixels);
                          } else {
                            gray_row8(layout, static_cast<const uint8_t*>(from),
                                      static_cast<uint8_t*>(to), pixels);
                          }
                        });
    return picture->get() == nullptr ? picture_problem(*job, "made gray") : Problem{};
  };
  return {};
}

}  // namespace

const OperationKind kGrayscale = {"grayscale", kGrayscalePorts, make};

}  // namespace millrace
