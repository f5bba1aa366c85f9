// AV1 by dav1d.
#include <dav1d/dav1d.h>
#include <fmt/core.h>

#include <cerrno>

#include "steps/common/heif/heif_planes.h"

namespace millrace {
namespace {

void leave(const uint8_t*, void*) {}  // the bytes are the file's

class Av1Decoder {
 public:
  explicit Av1Decoder(uint32_t pixels_max) {
    Dav1dSettings settings;
    dav1d_default_settings(&settings);
    settings.n_threads = 1;  // this one
    settings.max_frame_delay = 1;
    settings.all_layers = 0;
    settings.frame_size_limit = pixels_max;
    settings.logger.callback = nullptr;
    if (dav1d_open(&context_, &settings) < 0) context_ = nullptr;
  }
  Av1Decoder(const Av1Decoder&) = delete;
  Av1Decoder& operator=(const Av1Decoder&) = delete;
  ~Av1Decoder() {
    if (data_.sz > 0) dav1d_data_unref(&data_);
    if (taken_) dav1d_picture_unref(&picture_);
    if (context_ != nullptr) dav1d_close(&context_);
  }
  bool open() const { return context_ != nullptr; }

  // The first picture that the bytes show; null and `failure()` when there is none.
  const Dav1dPicture* decode(ByteView bytes) {
    failure_ = dav1d_data_wrap(&data_, bytes.data, bytes.size, leave, nullptr);
    bool drained = false;
    while (failure_ >= 0) {
      const int sent = data_.sz > 0 ? dav1d_send_data(context_, &data_) : 0;
      if (sent < 0 && sent != DAV1D_ERR(EAGAIN)) failure_ = sent;
      const int got = failure_ < 0 ? 0 : dav1d_get_picture(context_, &picture_);
      if (failure_ < 0) break;
      if (got == 0) {
        taken_ = true;
        return &picture_;
      }
      if (got != DAV1D_ERR(EAGAIN) || drained) failure_ = got;
      drained = data_.sz == 0;
    }
    return nullptr;
  }
  int failure() const { return failure_; }

 private:
  Dav1dContext* context_ = nullptr;
  Dav1dData data_ = {};
  Dav1dPicture picture_ = {};
  bool taken_ = false;
  int failure_ = 0;
};

std::string said(int failure) {
  if (failure == DAV1D_ERR(ENOMEM)) return "AV1: out of memory";
  if (failure == DAV1D_ERR(ERANGE)) return "AV1: its stream holds a larger picture than its header";
  return "AV1: its stream does not decode";
}

}  // namespace

std::string decode_av1(ByteView config, ByteView data, uint32_t pixels_max, const TakeFrame& take) {
  constexpr uint64_t kConfigHeader = 4;
  Av1Decoder decoder(pixels_max);
  if (!decoder.open()) return "AV1: out of memory";
  if (data.size == 0) return "AV1: its stream is empty";
  // The sequence header may stand in the configuration alone; mostly it stands in both.
  std::string whole;
  if (config.size > kConfigHeader) {
    whole.assign(reinterpret_cast<const char*>(config.data) + kConfigHeader,
                 config.size - kConfigHeader);
    whole.append(reinterpret_cast<const char*>(data.data), data.size);
    data = view_of(whole);
  }
  const Dav1dPicture* picture = decoder.decode(data);
  if (picture == nullptr) return said(decoder.failure());
  CodedFrame frame;
  frame.width = static_cast<uint32_t>(picture->p.w);
  frame.height = static_cast<uint32_t>(picture->p.h);
  frame.bits = picture->p.bpc;
  frame.chroma = picture->p.layout == DAV1D_PIXEL_LAYOUT_I400   ? 0
                 : picture->p.layout == DAV1D_PIXEL_LAYOUT_I420 ? 1
                 : picture->p.layout == DAV1D_PIXEL_LAYOUT_I422 ? 2
                                                                : 3;
  for (int i = 0; i < 3; ++i) {
    frame.plane[i] = static_cast<const uint8_t*>(picture->data[i]);
    frame.stride[i] = picture->stride[i > 0 ? 1 : 0];
  }
  frame.colour = {picture->seq_hdr->pri, picture->seq_hdr->trc, picture->seq_hdr->mtrx,
                  picture->seq_hdr->color_range != 0};
  take(frame);
  return "";
}

}  // namespace millrace
