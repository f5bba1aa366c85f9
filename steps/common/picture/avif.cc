#include "steps/common/picture/avif.h"

#include <fmt/core.h>
#include <libheif/heif.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "steps/common/picture/container.h"

namespace millrace {
namespace {

constexpr int kQuality = 50, kEffort = 3;  // of 9; libaom's speed is what is left

template <auto release>
struct Release {
  template <typename Object>
  void operator()(Object* object) const {
    release(object);
  }
};
template <typename Object, auto release>
using Owned = std::unique_ptr<Object, Release<release>>;

heif_error append(heif_context*, const void* data, size_t size, void* file) {
  static_cast<std::string*>(file)->append(static_cast<const char*>(data), size);
  return {heif_error_Ok, heif_suberror_Unspecified, ""};
}

class AvifWriter {
 public:
  // False: failed() says why.
  bool write(const std::vector<uint8_t>& samples, int width, int height, int bands,
             const OutputOptions& options, const Extras& extras, std::string* file) {
    return make_image(samples, width, height, bands, extras.icc) && encode(options) &&
           add(extras) && finish(file);
  }
  std::string failed() const {
    return error_.message == nullptr ? "no reason given" : error_.message;
  }
  bool out_of_memory() const { return error_.code == heif_error_Memory_allocation_error; }

 private:
  bool good(heif_error error) {
    error_ = error;
    return error.code == heif_error_Ok;
  }

  bool fill(heif_channel channel, const std::vector<uint8_t>& samples, int width, int height,
            int bands, int first, int count) {
    if (!good(heif_image_add_plane(image_.get(), channel, width, height, 8))) return false;
    int stride = 0;
    uint8_t* plane = heif_image_get_plane(image_.get(), channel, &stride);
    const uint8_t* in = samples.data();
    for (int y = 0; y < height; ++y) {
      uint8_t* out = plane + static_cast<ptrdiff_t>(y) * stride;
      for (int x = 0; x < width; ++x, in += bands, out += count) {
        std::memcpy(out, in + first, static_cast<size_t>(count));
      }
    }
    return true;
  }

  bool make_image(const std::vector<uint8_t>& samples, int width, int height, int bands,
                  const std::string& icc) {
    const bool gray = bands < 3;
    heif_image* image = nullptr;
    const heif_chroma chroma = gray         ? heif_chroma_monochrome
                               : bands == 4 ? heif_chroma_interleaved_RGBA
                                            : heif_chroma_interleaved_RGB;
    const auto space = gray ? heif_colorspace_monochrome : heif_colorspace_RGB;
    if (!good(heif_image_create(width, height, space, chroma, &image))) return false;
    image_.reset(image);
    if (gray ? !fill(heif_channel_Y, samples, width, height, bands, 0, 1)
             : !fill(heif_channel_interleaved, samples, width, height, bands, 0, bands)) {
      return false;
    }
    if (bands == 2 && !fill(heif_channel_Alpha, samples, width, height, bands, 1, 1)) return false;
    if (!icc.empty()) {
      return good(heif_image_set_raw_color_profile(image, "prof", icc.data(), icc.size()));
    }
    const Owned<heif_color_profile_nclx, heif_nclx_color_profile_free> nclx(
        heif_nclx_color_profile_alloc());
    nclx->color_primaries = heif_color_primaries_ITU_R_BT_709_5;
    nclx->transfer_characteristics = heif_transfer_characteristic_IEC_61966_2_1;
    nclx->matrix_coefficients = heif_matrix_coefficients_ITU_R_BT_601_6;
    nclx->full_range_flag = 1;
    return good(heif_image_set_nclx_color_profile(image, nclx.get()));
  }

  bool encode(const OutputOptions& options) {
    heif_encoder* made = nullptr;
    context_.reset(heif_context_alloc());
    if (!good(heif_context_get_encoder_for_format(context_.get(), heif_compression_AV1, &made))) {
      return false;
    }
    const Owned<heif_encoder, heif_encoder_release> encoder(made);
    const int effort = options.effort < 0 ? kEffort : std::min(options.effort, 9);
    const int quality = options.quality > 0 ? options.quality : kQuality;
    heif_image_handle* handle = nullptr;
    const bool encoded =
        good(heif_encoder_set_lossy_quality(made, quality)) &&
        good(heif_encoder_set_parameter_integer(made, "speed", 9 - effort)) &&
        good(heif_encoder_set_parameter_integer(made, "threads", 1)) &&
        good(heif_context_encode_image(context_.get(), image_.get(), made, nullptr, &handle));
    handle_.reset(handle);
    return encoded;
  }

  bool add(const Extras& extras) {
    const std::string &exif = extras.exif, &xmp = extras.xmp;
    heif_context* context = context_.get();
    return (exif.empty() || good(heif_context_add_exif_metadata(context, handle_.get(), exif.data(),
                                                                static_cast<int>(exif.size())))) &&
           (xmp.empty() || good(heif_context_add_XMP_metadata(context, handle_.get(), xmp.data(),
                                                              static_cast<int>(xmp.size()))));
  }

  bool finish(std::string* file) {
    heif_writer writer = {1, append};
    file->clear();
    return good(heif_context_write(context_.get(), &writer, file));
  }

  heif_error error_ = {};
  Owned<heif_image, heif_image_release> image_;
  Owned<heif_context, heif_context_free> context_;
  Owned<heif_image_handle, heif_image_handle_release> handle_;
};

}  // namespace

Problem encode_avif(PictureJob* job, const OutputOptions& options, const VipsPicture& picture,
                    std::string* file) {
  if (options.lossless == 1) {
    return bad_parameter("lossless is true, and an AVIF has losses here; choose webp or png");
  }
  std::vector<uint8_t> samples;
  if (Problem problem = read_samples(job, picture, &samples)) return problem;
  if (job->cancelled || !job->progress(900)) return {};
  AvifWriter writer;
  Extras extras = select_extras(*job, options.metadata);
  extras.icc = job->profile;
  if (writer.write(samples, width_of(picture), height_of(picture), bands_of(picture), options,
                   extras, file)) {
    return {};
  }
  return {writer.out_of_memory() ? Fault::kTooLarge : Fault::kUnsupported,
          fmt::format("the result cannot be written as AVIF: {}; make it smaller, or choose webp",
                      writer.failed())};
}

}  // namespace millrace
