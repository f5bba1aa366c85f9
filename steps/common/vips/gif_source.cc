#include "steps/common/vips/gif_source.h"

#include <vips/vips.h>

#include <cstring>
#include <memory>
#include <new>

#include "steps/common/gif_frames.h"

namespace millrace {
namespace {

int read_frame_rows(VipsRegion* out, void*, void* context, void*, gboolean*) {
  auto* frames = static_cast<GifFrames*>(context);
  const VipsRect* area = &out->valid;
  const auto height = static_cast<int>(frames->height());
  const bool alpha = out->im->Bands == 4;
  try {
    for (int y = area->top; y < VIPS_RECT_BOTTOM(area); ++y) {
      const std::string wrong = frames->show(static_cast<size_t>(y / height));
      if (!wrong.empty()) {
        vips_error("millrace", "%s", wrong.c_str());
        return -1;
      }
      const uint8_t* from = frames->row(static_cast<uint32_t>(y % height)) + size_t{4} * area->left;
      VipsPel* to = VIPS_REGION_ADDR(out, area->left, y);
      if (alpha) {
        std::memcpy(to, from, size_t{4} * area->width);
        continue;
      }
      for (int x = 0; x < area->width; ++x, from += 4, to += 3) std::memcpy(to, from, 3);
    }
  } catch (const std::bad_alloc&) {  // must not cross libvips, which is C
    vips_error("millrace", "out of memory");
    return -1;
  }
  return 0;
}

void delete_frames(gpointer frames) {
  delete static_cast<GifFrames*>(frames);
}

}  // namespace

VipsPicture load_gif(ByteView bytes, const VipsLoad& load) {
  auto frames = std::make_unique<GifFrames>(bytes, load.strict);
  if (frames->count() == 0 || frames->width() == 0 || frames->height() == 0) {
    vips_error("millrace", "it has no frame");
    return {};
  }
  VipsPicture owner(vips_image_new());
  VipsImage* image = owner.get();
  const std::vector<int> delays = frames->delays();
  const size_t count = load.frames ? frames->count() : 1;
  // Frames and pixels over all of them are bounded by what parse_gif() has let through.
  vips_image_init_fields(image, static_cast<int>(frames->width()),
                         static_cast<int>(frames->height() * count), frames->alpha() ? 4 : 3,
                         VIPS_FORMAT_UCHAR, VIPS_CODING_NONE, VIPS_INTERPRETATION_sRGB, 1, 1);
  // Rows are made one frame after the other.
  if (vips_image_pipelinev(image, VIPS_DEMAND_STYLE_THINSTRIP, nullptr)) return {};
  vips_image_set_array_int(image, "delay", delays.data(), static_cast<int>(delays.size()));
  vips_image_set_int(image, "loop", frames->loop());
  GifFrames* kept = frames.release();
  g_object_set_data_full(G_OBJECT(image), "millrace-gif", kept, delete_frames);
  if (vips_image_generate(image, nullptr, read_frame_rows, nullptr, kept, nullptr)) return {};
  return owner;
}

}  // namespace millrace
