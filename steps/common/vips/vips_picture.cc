#include "steps/common/vips/vips_picture.h"

#include <vips/vips.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "steps/common/heif/heif_read.h"
#include "steps/common/png/png_read.h"
#include "steps/common/vips/gif_source.h"
#include "steps/common/vips/vips_start.h"

namespace millrace {
namespace {

constexpr const char* kJpegSource = "millrace-jpeg";
constexpr int kPngTileRows = 16;

int generate_rows(VipsRegion* out, void* sequence, void*, void* context, gboolean*) {
  auto* in = static_cast<VipsRegion*>(sequence);
  const VipsRect* area = &out->valid;
  if (vips_region_prepare(in, area)) return -1;
  for (int y = 0; y < area->height; ++y) {
    (*static_cast<const PlacedRowFunction*>(context))(
        VIPS_REGION_ADDR(in, area->left, area->top + y),
        VIPS_REGION_ADDR(out, area->left, area->top + y), static_cast<size_t>(area->width),
        area->left, area->top + y);
  }
  return 0;
}

void delete_function(gpointer function) {
  delete static_cast<PlacedRowFunction*>(function);
}

// Rows of libvips' own reader from where the faster one gave up, which is where it is not begun
// yet: it finds what is wrong, and has the words for it.
int read_png_rows(VipsRegion* out, void* sequence, void*, void* context, gboolean*) {
  auto* in = static_cast<VipsRegion*>(sequence);
  auto* reader = static_cast<PngReader*>(context);
  const VipsRect* area = &out->valid;
  for (int y = area->top; y < VIPS_RECT_BOTTOM(area); ++y) {
    const uint8_t* row = static_cast<uint32_t>(y) == reader->next() ? reader->read_row() : nullptr;
    if (row != nullptr) {
      const size_t pixel = VIPS_IMAGE_SIZEOF_PEL(out->im);
      std::memcpy(VIPS_REGION_ADDR(out, area->left, y),
                  row + static_cast<size_t>(area->left) * pixel,
                  static_cast<size_t>(area->width) * pixel);
      continue;
    }
    const VipsRect rest = {area->left, y, area->width, VIPS_RECT_BOTTOM(area) - y};
    return vips_region_prepare_to(in, out, &rest, rest.left, rest.top);
  }
  return 0;
}

void delete_reader(gpointer reader) {
  delete static_cast<PngReader*>(reader);
}

int convert_rows(VipsRegion* out, void*, void* pixels, void*, gboolean*) {
  const VipsRect* area = &out->valid;
  try {
    for (int y = area->top; y < VIPS_RECT_BOTTOM(area); ++y) {
      static_cast<HeifPixels*>(pixels)->rows.read(
          static_cast<uint32_t>(area->left), static_cast<uint32_t>(y),
          static_cast<uint32_t>(area->width), VIPS_REGION_ADDR(out, area->left, y));
    }
  } catch (const std::bad_alloc&) {  // must not cross libvips, which is C
    vips_error("millrace", "out of memory");
    return -1;
  }
  return 0;
}

void delete_heif(gpointer pixels) {
  delete static_cast<HeifPixels*>(pixels);
}

// Decoded now; made RGB when its rows are read. libvips' own reader is a module that is not opened.
VipsPicture load_heif(ByteView file, bool strict) {
  auto pixels = std::make_unique<HeifPixels>();
  if (const std::string failed = read_heif_pixels(file, strict, pixels.get()); !failed.empty()) {
    vips_error("millrace", "%s", failed.c_str());
    return {};
  }
  const HeifRows& rows = pixels->rows;
  const bool gray = rows.bands() < 3, wide = rows.wide();
  VipsPicture owner(vips_image_new());
  VipsImage* image = owner.get();
  vips_image_init_fields(image, static_cast<int>(rows.width()), static_cast<int>(rows.height()),
                         rows.bands(), wide ? VIPS_FORMAT_USHORT : VIPS_FORMAT_UCHAR,
                         VIPS_CODING_NONE,
                         wide ? (gray ? VIPS_INTERPRETATION_GREY16 : VIPS_INTERPRETATION_RGB16)
                              : (gray ? VIPS_INTERPRETATION_B_W : VIPS_INTERPRETATION_sRGB),
                         1, 1);
  if (vips_image_pipelinev(image, VIPS_DEMAND_STYLE_THINSTRIP, nullptr)) return {};
  if (!pixels->icc.empty()) {
    vips_image_set_blob_copy(image, VIPS_META_ICC_NAME, pixels->icc.data(), pixels->icc.size());
  }
  HeifPixels* kept = pixels.release();
  g_object_set_data_full(G_OBJECT(image), "millrace-pixels", kept, delete_heif);
  if (vips_image_generate(image, nullptr, convert_rows, nullptr, kept, nullptr)) return {};
  return owner;
}

void delete_jpeg(gpointer source) {
  delete static_cast<JpegSource*>(source);
}

// Whoever reads the rows once may do so without libvips.
void remember_jpeg(VipsImage* image, const JpegSource& source) {
  g_object_set_data_full(G_OBJECT(image), kJpegSource, new JpegSource(source), delete_jpeg);
}

// The picture that libvips has opened, whose rows are read faster where they are known how to be.
VipsPicture with_reader(VipsPicture opened, ByteView file) {
  std::unique_ptr<PngReader> reader = PngReader::open(file);
  if (!reader) return opened;
  VipsImage* source = opened.get();
  const PngShape& shape = reader->shape();
  const bool wide = vips_image_get_format(source) == VIPS_FORMAT_USHORT;
  if (vips_image_get_width(source) != static_cast<int>(shape.width) ||
      vips_image_get_height(source) != static_cast<int>(shape.height) ||
      vips_image_get_bands(source) != shape.bands || wide != shape.wide) {
    return opened;
  }
  VipsPicture owner(vips_image_new());
  VipsImage* image = owner.get();
  if (vips_image_pipelinev(image, VIPS_DEMAND_STYLE_THINSTRIP, source, nullptr)) return {};
  PngReader* kept = reader.release();
  g_object_set_data_full(G_OBJECT(image), "millrace-png", kept, delete_reader);
  vips_object_local(image, opened.release());
  if (vips_image_generate(image, vips_start_one, read_png_rows, vips_stop_one, source, kept)) {
    return {};
  }
  // Rows are asked for in order, and some once more, as of every loader.
  VipsImage* ordered = nullptr;
  if (vips_sequential(image, &ordered, "tile_height", kPngTileRows, nullptr)) return {};
  return VipsPicture(ordered);
}

}  // namespace

VipsPicture::~VipsPicture() {
  if (image_ != nullptr) g_object_unref(image_);
}

VipsPicture& VipsPicture::operator=(VipsPicture&& other) noexcept {
  VipsImage* image = other.release();
  if (image_ != nullptr) g_object_unref(image_);
  image_ = image;
  return *this;
}

VipsImage* VipsPicture::release() {
  VipsImage* image = image_;
  image_ = nullptr;
  return image;
}

VipsPicture VipsPicture::share() const {
  if (image_ != nullptr) g_object_ref(image_);
  return VipsPicture(image_);
}

VipsPicture load_vips(ImageFormat format, ByteView bytes, const VipsLoad& load) {
  if (is_heif(format)) return load_heif(bytes, load.strict);
  if (format == ImageFormat::kGif) return load_gif(bytes, load);
  VipsImage* image = nullptr;
  auto* data = const_cast<uint8_t*>(bytes.data);
  const size_t size = bytes.size;
  const VipsFailOn fail_on = load.strict ? VIPS_FAIL_ON_ERROR : VIPS_FAIL_ON_NONE;
  const int count = load.frames ? -1 : 1;
  int failed = -1;
  switch (format) {
    case ImageFormat::kJpeg:
      failed = vips_jpegload_buffer(data, size, &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                                    fail_on, "shrink", load.shrink, nullptr);
      break;
    case ImageFormat::kPng:
      failed = vips_pngload_buffer(data, size, &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                                   fail_on, nullptr);
      break;
    case ImageFormat::kWebp:
      failed = vips_webpload_buffer(data, size, &image, "access", VIPS_ACCESS_SEQUENTIAL, "fail_on",
                                    fail_on, "n", count, "scale", 1.0 / load.shrink, nullptr);
      break;
    case ImageFormat::kTiff:
      failed = vips_tiffload_buffer(data, size, &image, "page", load.page, "access",
                                    VIPS_ACCESS_SEQUENTIAL, "fail_on", fail_on, nullptr);
      break;
    default:
      vips_error("millrace", "no loader for this format");
  }
  VipsPicture picture(failed ? nullptr : image);
  if (format == ImageFormat::kJpeg && !failed && vips_image_get_bands(image) <= 3) {
    remember_jpeg(image, {bytes, load.shrink, load.strict});
  }
  const bool whole = format == ImageFormat::kPng && load.strict && picture.get() != nullptr;
  return whole ? with_reader(std::move(picture), bytes) : std::move(picture);
}

const JpegSource* untouched_jpeg(const VipsPicture& picture) {
  return static_cast<const JpegSource*>(g_object_get_data(G_OBJECT(picture.get()), kJpegSource));
}

void share_source(const VipsPicture& picture, VipsPicture* copy) {
  if (const JpegSource* source = untouched_jpeg(picture)) remember_jpeg(copy->get(), *source);
}

ByteView vips_profile(VipsImage* image) {
  const void* data = nullptr;
  size_t size = 0;
  if (!vips_image_get_typeof(image, VIPS_META_ICC_NAME) ||
      vips_image_get_blob(image, VIPS_META_ICC_NAME, &data, &size)) {
    return {};
  }
  return {static_cast<const uint8_t*>(data), size};
}

namespace {

// What libraries say of damage, and what it means. Empty: it follows from what was said before.
constexpr std::pair<std::string_view, std::string_view> kMeanings[] = {
    {"libpng read error", "its picture data do not decode, or end too early"},
    {"unable to read pixels", "its picture data do not decode"},
    {"tiff2vips: read error", ""},
    {"unable to write to target", ""},  // of what is read while it is written
    {"no reason given", ""},
};
constexpr std::string_view kSpeakers[] = {"millrace: ", "source input: "};

std::string meaning_of(std::string said) {
  for (const std::string_view speaker : kSpeakers) {
    if (said.starts_with(speaker)) said.erase(0, speaker.size());
  }
  for (const auto& [words, meaning] : kMeanings) {
    if (said.find(words) != said.npos) return std::string(meaning);
  }
  return said;
}

// Of several complaints, each once. libpng's own, of an interlaced picture, does not reach us.
std::string explained(const std::string& text) {
  std::string out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(';', at), text.size());
    const std::string one = meaning_of(text.substr(at, end - at));
    if (!one.empty() && out.find(one) == out.npos) out += (out.empty() ? "" : "; ") + one;
    at = end + 1;
  }
  return out.empty() ? "its picture data do not decode, or are not as many as its size wants" : out;
}

}  // namespace

Problem vips_problem(ImageFormat format, const char* what) {
  const std::string text = explained(take_vips_error());
  const bool memory =
      text.find("out of memory") != text.npos || text.find("too large") != text.npos;
  return {memory ? Fault::kTooLarge : Fault::kCorrupt,
          std::string("the ") + extension_of(format) + " image cannot be " + what + ": " + text +
              (memory ? "; send a smaller image" : "; send the original again")};
}

VipsPicture map_rows(VipsPicture in, const RowShape& shape, RowFunction function) {
  return map_placed_rows(
      std::move(in), shape,
      [function = std::move(function)](const void* from, void* to, size_t pixels, int, int) {
        function(from, to, pixels);
      });
}

VipsPicture map_placed_rows(VipsPicture in, const RowShape& shape, PlacedRowFunction function) {
  VipsPicture owner(vips_image_new());
  VipsImage* image = owner.get();
  if (vips_image_pipelinev(image, VIPS_DEMAND_STYLE_THINSTRIP, in.get(), nullptr)) return {};
  auto* kept = new PlacedRowFunction(std::move(function));
  g_object_set_data_full(G_OBJECT(image), "millrace-rows", kept, delete_function);
  image->Bands = shape.bands;
  image->BandFmt = static_cast<VipsBandFormat>(shape.format);
  image->Type = static_cast<VipsInterpretation>(shape.interpretation);
  VipsImage* source = in.release();
  vips_object_local(image, source);  // lives as long as the image that reads it
  if (vips_image_generate(image, vips_start_one, generate_rows, vips_stop_one, source, kept)) {
    return {};
  }
  return owner;
}

}  // namespace millrace
