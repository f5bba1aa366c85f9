// ICC profiles through lcms: making them, finding them in files, and converting by them.
#include <lcms2.h>
#include <webp/mux.h>

#include <algorithm>
#include <cstdlib>

#include "tests/steps_image/pictures.h"

namespace millrace::testing {
namespace {

std::string bytes_of(cmsHPROFILE profile) {
  cmsUInt32Number size = 0;
  cmsSaveProfileToMem(profile, nullptr, &size);
  std::string bytes(size, '\0');
  cmsSaveProfileToMem(profile, bytes.data(), &size);
  cmsCloseProfile(profile);
  return bytes;
}

std::string rgb_profile(const cmsCIExyYTRIPLE& primaries, cmsToneCurve* curve) {
  const cmsCIExyY d65 = {0.3127, 0.3290, 1.0};
  cmsToneCurve* curves[3] = {curve, curve, curve};
  const std::string bytes = bytes_of(cmsCreateRGBProfile(&d65, &primaries, curves));
  cmsFreeToneCurve(curve);
  return bytes;
}

cmsToneCurve* srgb_curve() {
  const cmsFloat64Number parameters[5] = {2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045};
  return cmsBuildParametricToneCurve(nullptr, 4, parameters);
}

const cmsCIExyYTRIPLE kBt709 = {{0.64, 0.33, 1}, {0.30, 0.60, 1}, {0.15, 0.06, 1}};
const cmsCIExyYTRIPLE kAdobe = {{0.64, 0.33, 1}, {0.21, 0.71, 1}, {0.15, 0.06, 1}};
const cmsCIExyYTRIPLE kP3 = {{0.680, 0.320, 1}, {0.265, 0.690, 1}, {0.150, 0.060, 1}};

}  // namespace

std::string icc_srgb() {
  return bytes_of(cmsCreate_sRGBProfile());
}
std::string icc_with_gamma(double gamma) {
  return rgb_profile(kBt709, cmsBuildGamma(nullptr, gamma));
}
std::string icc_display_p3() {
  return rgb_profile(kP3, srgb_curve());
}
std::string icc_adobe_rgb() {
  return rgb_profile(kAdobe, cmsBuildGamma(nullptr, 563 / 256.0));
}
std::string icc_gray(double gamma) {
  cmsToneCurve* curve = cmsBuildGamma(nullptr, gamma);
  const std::string bytes = bytes_of(cmsCreateGrayProfile(cmsD50_xyY(), curve));
  cmsFreeToneCurve(curve);
  return bytes;
}

namespace {

// Lab of inks: lightness falls with all of them, each pulls towards its own colour.
cmsInt32Number lab_of_inks(const cmsUInt16Number in[], cmsUInt16Number out[], void*) {
  const double c = in[0] / 65535.0, m = in[1] / 65535.0, y = in[2] / 65535.0, k = in[3] / 65535.0;
  cmsCIELab lab;
  lab.L = 100 * (1 - 0.35 * c) * (1 - 0.45 * m) * (1 - 0.08 * y) * (1 - 0.95 * k);
  lab.a = (70 * m - 35 * c - 5 * y) * (1 - k);
  lab.b = (85 * y - 45 * c - 5 * m) * (1 - k);
  cmsFloat2LabEncodedV2(out, &lab);
  return 1;
}

std::string jpeg_profile(const std::string& file) {
  std::string profile;
  for (const auto& [marker, text] : jpeg_facts(file).markers) {
    if (marker == 0xE2 && text.compare(0, 11, "ICC_PROFILE") == 0) profile += text.substr(14);
  }
  return profile;
}

std::string webp_profile(const std::string& file) {
  const WebPData data = {reinterpret_cast<const uint8_t*>(file.data()), file.size()};
  WebPMux* mux = WebPMuxCreate(&data, 0);
  WebPData chunk = {};
  std::string profile;
  if (WebPMuxGetChunk(mux, "ICCP", &chunk) == WEBP_MUX_OK) {
    profile.assign(reinterpret_cast<const char*>(chunk.bytes), chunk.size);
  }
  WebPMuxDelete(mux);
  return profile;
}

}  // namespace

std::string icc_cmyk() {
  cmsHPROFILE profile = cmsCreateProfilePlaceholder(nullptr);
  cmsSetDeviceClass(profile, cmsSigOutputClass);
  cmsSetColorSpace(profile, cmsSigCmykData);
  cmsSetPCS(profile, cmsSigLabData);
  cmsSetProfileVersion(profile, 2.1);
  cmsPipeline* pipeline = cmsPipelineAlloc(nullptr, 4, 3);
  cmsStage* table = cmsStageAllocCLut16bit(nullptr, 9, 4, 3, nullptr);
  cmsStageSampleCLut16bit(table, lab_of_inks, nullptr, 0);
  cmsPipelineInsertStage(pipeline, cmsAT_BEGIN, table);
  cmsWriteTag(profile, cmsSigAToB0Tag, pipeline);
  cmsPipelineFree(pipeline);
  return bytes_of(profile);
}

std::string profile_in(const std::string& file) {
  if (file.compare(0, 3, "\xff\xd8\xff") == 0) return jpeg_profile(file);
  if (file.compare(0, 4, "\x89PNG") == 0) return png_profile(file);
  if (file.compare(0, 4, "RIFF") == 0) return webp_profile(file);
  const bool tiff = file.compare(0, 2, "II") == 0 || file.compare(0, 2, "MM") == 0;
  return tiff ? decode_tiff(file)[0].icc : "";
}

Picture to_srgb(const Picture& picture, const std::string& icc) {
  cmsHPROFILE from = cmsOpenProfileFromMem(icc.data(), static_cast<cmsUInt32Number>(icc.size()));
  cmsHPROFILE to = cmsCreate_sRGBProfile();
  const bool ink = cmsGetColorSpace(from) == cmsSigCmykData;
  const int colours = ink ? 4 : picture.bands >= 3 ? 3 : 1;
  const bool alpha = picture.bands > colours;
  const int out_bands = colours == 1 ? 1 : 3;
  cmsHTRANSFORM transform = cmsCreateTransform(from,
                                               ink            ? TYPE_CMYK_8
                                               : colours == 1 ? TYPE_GRAY_8
                                                              : TYPE_RGB_8,
                                               to, TYPE_RGB_8, INTENT_PERCEPTUAL, 0);
  Picture out{picture.width, picture.height, out_bands + (alpha ? 1 : 0), 8, {}};
  const auto step = static_cast<size_t>(picture.bands);
  for (size_t i = 0; i + step <= picture.samples.size(); i += step) {
    uint8_t in[4] = {}, rgb[3];
    for (int band = 0; band < colours; ++band) {
      in[band] = static_cast<uint8_t>(picture.samples[i + static_cast<size_t>(band)]);
    }
    cmsDoTransform(transform, in, rgb, 1);
    out.samples.insert(out.samples.end(), rgb, rgb + out_bands);
    if (alpha) out.samples.push_back(picture.samples[i + step - 1]);
  }
  cmsDeleteTransform(transform);
  cmsCloseProfile(from);
  cmsCloseProfile(to);
  return out;
}

}  // namespace millrace::testing
