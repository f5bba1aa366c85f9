// HEVC by libde265.
#include <fmt/core.h>
#include <libde265/de265.h>

#include <memory>

#include "steps/common/heif/heif_planes.h"
#include "steps/common/hevc_units.h"

namespace millrace {
namespace {

struct FreeDecoder {
  void operator()(void* decoder) const { de265_free_decoder(decoder); }
};
using Decoder = std::unique_ptr<void, FreeDecoder>;

// Of what libde265 only warns, what does not touch the picture.
bool is_harmless(de265_error warning) {
  return warning == DE265_WARNING_NO_WPP_CANNOT_USE_MULTITHREADING ||
         warning == DE265_WARNING_NUMBER_OF_THREADS_LIMITED_TO_MAXIMUM ||
         warning == DE265_WARNING_SPS_MISSING_CANNOT_DECODE_SEI;
}

std::string said(de265_error error) {
  if (error == DE265_ERROR_OUT_OF_MEMORY) return "HEVC: out of memory";
  return fmt::format("HEVC: {}", de265_get_error_text(error));
}

// The first thing that went wrong without ending it.
std::string first_warning(de265_decoder_context* decoder) {
  std::string first;
  for (;;) {
    const de265_error warning = de265_get_warning(decoder);
    if (warning == DE265_OK) return first;
    if (first.empty() && !is_harmless(warning)) first = said(warning);
  }
}

CodedFrame frame_of(const de265_image* image) {
  CodedFrame frame;
  frame.width = static_cast<uint32_t>(de265_get_image_width(image, 0));
  frame.height = static_cast<uint32_t>(de265_get_image_height(image, 0));
  frame.bits = de265_get_bits_per_pixel(image, 0);
  frame.chroma = static_cast<int>(de265_get_chroma_format(image));
  for (int i = 0; i < (frame.chroma == 0 ? 1 : 3); ++i) {
    int stride = 0;
    frame.plane[i] = de265_get_image_plane(image, i, &stride);
    frame.stride[i] = stride;
    if (de265_get_bits_per_pixel(image, i) != frame.bits) frame.bits = 0;  // no picture of ours
  }
  frame.colour = {
      de265_get_image_colour_primaries(image), de265_get_image_transfer_characteristics(image),
      de265_get_image_matrix_coefficients(image), de265_get_image_full_range_flag(image) != 0};
  return frame;
}

}  // namespace

std::string decode_hevc(ByteView config, ByteView data, bool strict, const TakeFrame& take) {
  const Decoder owner(de265_new_decoder());  // no threads are started: it works on this one
  de265_decoder_context* decoder = owner.get();
  if (decoder == nullptr) return "HEVC: out of memory";
  // A camera's own check sum of the picture, where there is one.
  de265_set_parameter_bool(decoder, DE265_DECODER_PARAM_BOOL_SEI_CHECK_HASH, strict ? 1 : 0);
  const auto push = [&](ByteView unit) {
    const int size = static_cast<int>(unit.size);
    return unit.size < 2 || hevc_unit_layer(unit) > 0 ||
           de265_push_NAL(decoder, unit.data, size, 0, nullptr) == DE265_OK;
  };
  const unsigned length_size = (config.u8(21) & 3) + 1u;
  const bool whole = each_configured_unit(config, push) && each_hevc_unit(data, length_size, push);
  if (!whole && strict) return "HEVC: its units do not end where they should";
  de265_flush_data(decoder);
  for (int more = 1; more != 0;) {
    const de265_error error = de265_decode(decoder, &more);
    if (error != DE265_OK && (strict || more == 0)) return said(error);
    if (const de265_image* image = de265_peek_next_picture(decoder)) {
      if (const std::string warned = first_warning(decoder); strict && !warned.empty()) {
        return warned;
      }
      take(frame_of(image));
      return "";
    }
  }
  return "HEVC: its stream holds no picture";
}

}  // namespace millrace
