#include "steps/common/picture/kept_profile.h"

#include <vips/vips.h>

#include <algorithm>

#include "steps/common/icc.h"

namespace millrace {
namespace {

// A copy of the picture with the job's profile in it.
VipsPicture with_profile(const PictureJob& job, VipsImage* picture) {
  VipsImage* copy = nullptr;
  if (vips_copy(picture, &copy, nullptr)) return {};
  vips_image_set_blob_copy(copy, VIPS_META_ICC_NAME, job.profile.data(), job.profile.size());
  return VipsPicture(copy);
}

// By way of Lab, which is what both profiles mean. Empty: it does not work.
VipsPicture through_lab(const PictureJob& job, VipsImage* srgb) {
  VipsImage* lab = nullptr;
  if (vips_icc_import(srgb, &lab, "input_profile", "srgb", "intent", VIPS_INTENT_PERCEPTUAL,
                      nullptr)) {
    return {};
  }
  const VipsPicture owner(lab);
  const VipsPicture tagged = with_profile(job, lab);
  VipsImage* out = nullptr;
  if (tagged.get() == nullptr ||
      vips_icc_export(tagged.get(), &out, "depth", 8, "intent", VIPS_INTENT_PERCEPTUAL, nullptr)) {
    return {};
  }
  return VipsPicture(out);
}

// The picture's samples become sRGB's.
Problem leave_profile(PictureJob* job, const char* why, VipsPicture* picture) {
  job->note(why);
  VipsPicture tagged = with_profile(*job, picture->get());
  if (tagged.get() == nullptr) return picture_problem(*job, "converted to sRGB");
  *picture = std::move(tagged);
  job->profile.clear();
  std::string unused;
  return import_colours(job, false, picture, &unused);
}

}  // namespace

Problem make_room_for_colours(PictureJob* job, VipsPicture* picture) {
  if (read_icc(view_of(job->profile)).space != IccSpace::kGray) return {};
  return leave_profile(job, "the result has colours, so the gray profile of the input was left out",
                       picture);
}

Problem make_room_for_gray(PictureJob* job, VipsPicture* picture) {
  if (read_icc(view_of(job->profile)).space != IccSpace::kRgb) return {};
  return leave_profile(job, "the result is gray, so the colour profile of the input was left out",
                       picture);
}

Problem fit_colours(PictureJob* job, VipsPicture* picture, std::vector<uint8_t>* colours) {
  if (job->profile.empty() || colours->empty()) return {};
  const size_t count = colours->size() / 3;
  VipsPicture srgb;
  if (Problem problem = picture_of(*colours, static_cast<int>(count), 1, 3, &srgb)) return problem;
  const VipsPicture fitted = through_lab(*job, srgb.get());
  if (fitted.get() == nullptr) {
    vips_error_clear();
    return leave_profile(job,
                         "the colour profile of the input is for reading only, so the result with "
                         "other colours in it is in sRGB",
                         picture);
  }
  const auto bands = static_cast<size_t>(bands_of(fitted));
  std::vector<uint8_t> samples;
  if (Problem problem = read_samples(job, fitted, &samples)) return problem;
  if (job->cancelled) return {};
  for (size_t i = 0; i < count; ++i) {
    for (size_t band = 0; band < 3; ++band) {
      (*colours)[i * 3 + band] = samples[i * bands + (bands < 3 ? 0 : band)];
    }
  }
  return {};
}

Problem fit_colour(PictureJob* job, const uint8_t srgb[3], VipsPicture* picture, Colour* colour) {
  *colour = {srgb[0], srgb[1], srgb[2]};
  if (!is_gray(*colour)) {
    if (Problem problem = make_room_for_colours(job, picture)) return problem;
  }
  std::vector<uint8_t> one(colour->begin(), colour->end());
  if (Problem problem = fit_colours(job, picture, &one)) return problem;
  std::copy(one.begin(), one.end(), colour->begin());
  return {};
}

}  // namespace millrace
