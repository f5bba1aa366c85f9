// Wire: what the server and a worker say to each other, and the server and the template process.
//
// Both are SOCK_SEQPACKET sockets between processes of one binary on one machine, so numbers are in
// host order and there is no version. A packet holds one or more frames back to back; all frames
// that one turn of the loop makes for one worker travel in one packet (of at most kPacketBytesMax),
// because a packet costs ten times what a frame costs.
//
//   frame    u32 size of the whole frame · u8 kind · 3 bytes zero · u64 ticket · payload
//   text     u32 n · n bytes · one zero byte
//   piece    u8 where: 0 absent
//                      1 inline:  text
//                      2 slab:    u64 size · u32 count · count × (u64 offset, u64 size)
//                      3 path:    u64 size · text             (io lane; the worker maps the file)
//
// server -> worker
//   kSetup   u64 pixels_max · u32 count · count × (text key, text JSON) ·
//            u32 count · count × (u8 may be changed, text path)              once, first
//   kCall    u32 step · u32 slot · u32 sequence · u32 attempt · u32 place · u32 deaths · i64
//   timeout_ms · text job ·
//            text step id · text effect key (empty: none) · inputs · params
//     input  piece, and unless absent: text media type · text digest · u32 width · u32 height
//     param  u8 kind (MR_VALUE_…) · i64 | f64 | piece (its bytes are followed by a zero byte)
// worker -> server
//   kReady   once: start() of the plugins is done, the sandbox is locked
//   kRefused text message: the worker cannot start and ends
//   kReply   u8 status · u8 invalid · i64 run_us · i64 retry_after_ms · text reason · text message
//   ·
//            text note · outputs · results                  (the last two only when status is
//            MR_OK)
//     output i32 forward (-1: none) · u8 described · [text media type · u32 width · u32 height ·
//     u64 pixels] · piece result u8 kind · i64 | f64 | piece
//
// A worker runs plugins and may be taken over by the bytes they decode: the server reads every
// frame as hostile input. Garbage kills the worker and costs the attempt that ran, nothing else.
// Large bytes lie in the slab (slab.h); the server validates each extent and copies it before
// anybody looks at it.
//
// server -> template
//   kLoad    text directory · u32 count · count × (text file, text message, u32 number)   once,
//   first kFork    ticket: the server's name for the worker · u8 lane · u64 memory_bytes_max; with
//   two
//            descriptors, the worker's socket and its slab
//   kKill    ticket: the worker that is to end now; nothing when it has
// template -> server
//   kOpening text file: is about to be opened (if this is the last word, that file killed the
//   process) kLoaded  u8 last · text: a part of the declarations as JSON kForked  ticket · i32 pid
//   (negative: errno); with a pidfd kExited  ticket · i32 status as of waitpid
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "engine/plugin/call.h"

namespace millrace {

constexpr size_t kPacketBytesMax = 128 * 1024;  // packets are closed before they grow above this
constexpr size_t kInlineFrameBytesMax =
    64 * 1024;  // a frame that is larger sends its pieces by slab

enum class FrameKind : uint8_t {
  kSetup = 1,
  kCall,
  kReady,
  kRefused,
  kReply,
  kLoad,
  kFork,
  kOpening,
  kLoaded,
  kForked,
  kExited,
  kKill
};

enum class PieceWhere : uint8_t { kAbsent, kInline, kSlab, kPath };

// Appends frames to a packet. One frame at a time: begin(), members, end().
class FrameWriter {
 public:
  explicit FrameWriter(std::string* out) : out_(out) {}
  void begin(FrameKind kind, uint64_t ticket);
  void end();
  size_t frame_bytes() const { return out_->size() - start_; }

  void u8(uint8_t v) { out_->push_back(static_cast<char>(v)); }
  void u32(uint32_t v) { raw(&v, sizeof v); }
  void i32(int32_t v) { raw(&v, sizeof v); }
  void u64(uint64_t v) { raw(&v, sizeof v); }
  void i64(int64_t v) { raw(&v, sizeof v); }
  void f64(double v) { raw(&v, sizeof v); }
  void text(std::string_view v);
  void inline_piece(std::string_view bytes);
  void slab_piece(uint64_t size, const std::vector<Extent>& extents);

 private:
  void raw(const void* data, size_t size) { out_->append(static_cast<const char*>(data), size); }
  std::string* out_;
  size_t start_ = 0;
};

// Reads members of one frame's payload. Reading beyond the end gives zeros and makes ok() false for
// good; callers check once, before they act. Texts point into the packet and are NUL-terminated.
class FrameReader {
 public:
  FrameReader(const uint8_t* data, size_t size) : at_(data), left_(size) {}
  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && left_ == 0; }
  size_t left() const { return left_; }

  uint8_t u8() { return get<uint8_t>(); }
  uint32_t u32() { return get<uint32_t>(); }
  int32_t i32() { return get<int32_t>(); }
  uint64_t u64() { return get<uint64_t>(); }
  int64_t i64() { return get<int64_t>(); }
  double f64() { return get<double>(); }
  std::string_view text();

 private:
  template <typename T>
  T get() {
    T v{};
    if (!ok_ || left_ < sizeof v) {
      ok_ = false;
      return v;
    }
    memcpy(&v, at_, sizeof v);
    at_ += sizeof v;
    left_ -= sizeof v;
    return v;
  }
  const uint8_t* at_;
  size_t left_;
  bool ok_ = true;
};

struct Frame {
  FrameKind kind = FrameKind::kSetup;
  uint64_t ticket = 0;
  const uint8_t* payload = nullptr;
  size_t payload_bytes = 0;
  FrameReader reader() const { return {payload, payload_bytes}; }
};

// Cuts a packet into frames. next() is false at the end and at the first malformed frame;
// malformed() tells which.
class FrameCutter {
 public:
  FrameCutter(const void* packet, size_t size)
      : at_(static_cast<const uint8_t*>(packet)), left_(size) {}
  bool next(Frame* frame);
  bool malformed() const { return malformed_; }
  bool at_end() const { return left_ == 0; }

 private:
  const uint8_t* at_;
  size_t left_;
  bool malformed_ = false;
};

// A piece as read: `text` when inline or a path, extents when in the slab (not yet validated).
struct WirePiece {
  PieceWhere where = PieceWhere::kAbsent;
  std::string_view text;
  uint64_t size = 0;
  std::vector<Extent> extents;
};
// False: malformed. At most `extents_max` extents.
bool read_piece(FrameReader* reader, size_t extents_max, WirePiece* piece);

// The end of an attempt, both ways. read_reply reads for a step with so many outputs and results
// and keeps slab extents unvalidated in each Piece; false: malformed.
void write_reply(uint64_t ticket, const CallEnd& end, std::string* packet);
bool read_reply(FrameReader reader, size_t outputs, size_t results, CallEnd* end);

// One packet of the control socket with up to two descriptors beside it (-1: none). False: errno
// says why. Blocking or not as the socket is.
bool send_packet(int socket, std::string_view packet, const int* descriptors, int count);
// Bytes received, 0 at the end, negative errno. Received descriptors have close-on-exec; `count`
// says how many there are.
int64_t receive_packet(int socket, void* buffer, size_t size, int* descriptors, int* count);

}  // namespace millrace
