// Reading AVIF, with libheif, for tests only.
#include <libheif/heif.h>

#include "tests/steps_image/pictures.h"

namespace millrace::testing {

Picture decode_avif(const std::string& bytes) {
  Picture picture;
  heif_context* context = heif_context_alloc();
  heif_image_handle* handle = nullptr;
  heif_image* image = nullptr;
  if (heif_context_read_from_memory_without_copy(context, bytes.data(), bytes.size(), nullptr)
              .code == heif_error_Ok &&
      heif_context_get_primary_image_handle(context, &handle).code == heif_error_Ok) {
    picture.bands = heif_image_handle_has_alpha_channel(handle) ? 4 : 3;
    const heif_chroma chroma =
        picture.bands == 4 ? heif_chroma_interleaved_RGBA : heif_chroma_interleaved_RGB;
    if (heif_decode_image(handle, &image, heif_colorspace_RGB, chroma, nullptr).code ==
        heif_error_Ok) {
      picture.width = static_cast<uint32_t>(heif_image_get_primary_width(image));
      picture.height = static_cast<uint32_t>(heif_image_get_primary_height(image));
      int stride = 0;
      const uint8_t* plane =
          heif_image_get_plane_readonly(image, heif_channel_interleaved, &stride);
      for (uint32_t y = 0; y < picture.height; ++y) {
        const uint8_t* row = plane + static_cast<ptrdiff_t>(y) * stride;
        picture.samples.insert(picture.samples.end(), row,
                               row + picture.width * static_cast<uint32_t>(picture.bands));
      }
    }
  }
  heif_image_release(image);
  heif_image_handle_release(handle);
  heif_context_free(context);
  return picture;
}

}  // namespace millrace::testing
