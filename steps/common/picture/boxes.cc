// Boxes: placing, choosing and cutting them.
#include <vips/vips.h>

#include "steps/common/picture/operations.h"

namespace millrace {

Box place_box(const std::string& gravity, int width, int height, int box_width, int box_height) {
  const bool north = gravity.find("north") == 0, south = gravity.find("south") == 0;
  const bool west = gravity.find("west") != gravity.npos;
  const bool east = gravity.find("east") != gravity.npos;
  const int room_x = width - box_width, room_y = height - box_height;
  return {west   ? 0
          : east ? room_x
                 : room_x / 2,
          north   ? 0
          : south ? room_y
                  : room_y / 2,
          box_width, box_height};
}

Problem cut_box(PictureJob* job, const Box& box, VipsPicture* picture) {
  if (box.left == 0 && box.top == 0 && box.width == width_of(*picture) &&
      box.height == height_of(*picture)) {
    return {};
  }
  VipsImage* out = nullptr;
  if (vips_crop(picture->get(), &out, box.left, box.top, box.width, box.height, nullptr)) {
    return picture_problem(*job, "cropped");
  }
  *picture = VipsPicture(out);
  return {};
}

// What entropy is counted in: bytes, and what is transparent is black. libvips would count 16 bits,
// and whatever has alpha, in 65,536 bins a band: 80 MB for any picture, and nearly every sample
// alone in its bin.
static Problem to_opaque_bytes(PictureJob* job, VipsPicture* picture) {
  constexpr uint8_t kBlack[3] = {};
  if (Problem problem = to_8_bits(job, picture)) return problem;
  return flatten(job, kBlack, picture);
}

Problem choose_box(PictureJob* job, const std::string& gravity, int width, int height,
                   VipsPicture* picture, ChosenBox* memory) {
  if (gravity != "attention" && gravity != "entropy") {
    memory->box = place_box(gravity, width_of(*picture), height_of(*picture), width, height);
    return {};
  }
  const Box& last = memory->box;
  if (memory->width == width_of(*picture) && memory->height == height_of(*picture) &&
      last.width == width && last.height == height) {
    return {};
  }
  if (Problem problem = to_memory(job, picture)) return problem;
  const bool attention = gravity == "attention";
  VipsPicture looked_at = picture->share();
  if (!attention) {
    if (Problem problem = to_opaque_bytes(job, &looked_at)) return problem;
  }
  VipsImage* out = nullptr;
  if (vips_smartcrop(looked_at.get(), &out, width, height, "interesting",
                     attention ? VIPS_INTERESTING_ATTENTION : VIPS_INTERESTING_ENTROPY, nullptr)) {
    return picture_problem(*job, "cropped");
  }
  const VipsPicture owner(out);
  memory->width = width_of(*picture);
  memory->height = height_of(*picture);
  memory->box = {-vips_image_get_xoffset(out), -vips_image_get_yoffset(out), width, height};
  return {};
}

}  // namespace millrace
