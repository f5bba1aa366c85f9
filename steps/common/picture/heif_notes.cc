#include "steps/common/picture/heif_notes.h"

#include <algorithm>

#include "steps/common/heif_file.h"

namespace millrace {
namespace {

// Writes over the span: `text` or, where that is too long, `otherwise`; then `padding`.
void overwrite(std::string* file, Span span, std::string_view text, std::string_view otherwise,
               char padding) {
  if (!view_of(*file).has(span.at, span.size)) return;
  std::string bytes(text.size() <= span.size ? text : otherwise);
  if (bytes.size() > span.size) bytes.clear();
  bytes.resize(span.size, padding);
  file->replace(span.at, span.size, bytes);
}

}  // namespace

std::string find_heif_xmp(ByteView file) {
  HeifPicture picture;
  if (read_heif(file, &picture) || picture.xmp.empty()) return "";
  const ByteView packet = file.sub(picture.xmp[0]);
  return {reinterpret_cast<const char*>(packet.data), packet.size};
}

std::string replace_heif(std::string_view file, const Extras& extras) {
  constexpr std::string_view kNoExif("MM\0*\0\0\0\x08\0\0\0\0\0\0", 14);
  constexpr std::string_view kNoXmp = "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\"/>";
  HeifPicture picture;
  std::string out(file);
  if (read_heif(view_of(file), &picture)) return out;
  for (size_t i = 0; i < picture.exif.size(); ++i) {
    const bool put = i == 0 && !extras.exif.empty();
    overwrite(&out, picture.exif[i], put ? std::string_view(extras.exif) : kNoExif, kNoExif, 0);
  }
  for (size_t i = 0; i < picture.xmp.size(); ++i) {
    const bool put = i == 0 && !extras.xmp.empty();
    overwrite(&out, picture.xmp[i], put ? std::string_view(extras.xmp) : kNoXmp, kNoXmp, ' ');
  }
  for (const Span& span : picture.notes) overwrite(&out, span, "", "", 0);
  for (const HeifBox& box : picture.free_text) {
    out.replace(box.whole.at + 4, 4, "free");
    overwrite(&out, box.data, "", "", 0);
  }
  out.resize(std::min<size_t>(out.size(), picture.end));
  return out;
}

}  // namespace millrace
