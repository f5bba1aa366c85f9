#include "engine/worker/wire.h"

#include <sys/socket.h>

#include <cerrno>

#include "engine/base/limits.h"

namespace millrace {
namespace {

constexpr size_t kHeaderBytes = 16;
constexpr size_t kExtentsMax = 4096;

}  // namespace

void FrameWriter::begin(FrameKind kind, uint64_t ticket) {
  start_ = out_->size();
  u32(0);
  u32(static_cast<uint32_t>(kind));
  u64(ticket);
}

void FrameWriter::end() {
  const auto size = static_cast<uint32_t>(frame_bytes());
  memcpy(out_->data() + start_, &size, sizeof size);
}

void FrameWriter::text(std::string_view v) {
  u32(static_cast<uint32_t>(v.size()));
  raw(v.data(), v.size());
  u8(0);
}

void FrameWriter::inline_piece(std::string_view bytes) {
  u8(static_cast<uint8_t>(PieceWhere::kInline));
  text(bytes);
}

void FrameWriter::slab_piece(uint64_t size, const std::vector<Extent>& extents) {
  u8(static_cast<uint8_t>(PieceWhere::kSlab));
  u64(size);
  u32(static_cast<uint32_t>(extents.size()));
  for (const Extent& extent : extents) {
    u64(extent.offset);
    u64(extent.size);
  }
}

std::string_view FrameReader::text() {
  const uint32_t size = u32();
  if (!ok_ || left_ < size_t{size} + 1 || at_[size] != 0) {
    ok_ = false;
    return {};
  }
  const std::string_view view(reinterpret_cast<const char*>(at_), size);
  at_ += size + 1;
  left_ -= size + 1;
  return view;
}

bool FrameCutter::next(Frame* frame) {
  if (left_ == 0 || malformed_) return false;
  FrameReader header(at_, left_);
  const uint32_t size = header.u32();
  const uint32_t kind = header.u32();
  frame->ticket = header.u64();
  if (!header.ok() || size < kHeaderBytes || size > left_ || kind == 0 ||
      kind > static_cast<uint32_t>(FrameKind::kKill)) {
    malformed_ = true;
    return false;
  }
  frame->kind = static_cast<FrameKind>(kind);
  frame->payload = at_ + kHeaderBytes;
  frame->payload_bytes = size - kHeaderBytes;
  at_ += size;
  left_ -= size;
  return true;
}

bool read_piece(FrameReader* reader, size_t extents_max, WirePiece* piece) {
  const uint8_t where = reader->u8();
  if (!reader->ok() || where > static_cast<uint8_t>(PieceWhere::kPath)) return false;
  piece->where = static_cast<PieceWhere>(where);
  switch (piece->where) {
    case PieceWhere::kAbsent:
      return true;
    case PieceWhere::kInline:
      piece->text = reader->text();
      piece->size = piece->text.size();
      return reader->ok();
    case PieceWhere::kPath:
      piece->size = reader->u64();
      piece->text = reader->text();
      return reader->ok();
    case PieceWhere::kSlab:
      break;
  }
  piece->size = reader->u64();
  const uint32_t count = reader->u32();
  if (!reader->ok() || count > extents_max || count > reader->left() / 16) return false;
  piece->extents.resize(count);
  for (Extent& extent : piece->extents) {
    extent.offset = reader->u64();
    extent.size = reader->u64();
  }
  return reader->ok();
}

namespace {

void write_end_piece(FrameWriter* frame, const Piece& piece) {
  if (!piece.set) {
    frame->u8(static_cast<uint8_t>(PieceWhere::kAbsent));
  } else if (piece.extents.empty()) {
    frame->inline_piece(piece.bytes);
  } else {
    frame->slab_piece(piece.size, piece.extents);
  }
}

bool read_end_piece(FrameReader* reader, Piece* piece) {
  WirePiece wire;
  if (!read_piece(reader, kExtentsMax, &wire) || wire.where == PieceWhere::kPath) return false;
  piece->set = wire.where != PieceWhere::kAbsent;
  piece->bytes = wire.text;
  piece->extents = std::move(wire.extents);
  piece->size = wire.size;
  return true;
}

}  // namespace

void write_reply(uint64_t ticket, const CallEnd& end, std::string* packet) {
  FrameWriter frame(packet);
  frame.begin(FrameKind::kReply, ticket);
  frame.u8(static_cast<uint8_t>(end.status));
  frame.u8(end.invalid ? 1 : 0);
  frame.i64(end.run_us);
  frame.i64(end.retry_after_ms);
  frame.text(end.reason);
  frame.text(std::string_view(end.message).substr(0, kErrorMessageBytesMax));
  frame.text(end.note);
  if (end.status == MR_OK) {
    for (const CallOutput& output : end.outputs) {
      frame.i32(output.forward);
      frame.u8(output.described ? 1 : 0);
      if (output.described) {
        frame.text(output.media_type);
        frame.u32(output.width);
        frame.u32(output.height);
        frame.u64(output.pixels);
      }
      write_end_piece(&frame, output.piece);
    }
    for (const CallResult& result : end.results) {
      frame.u8(static_cast<uint8_t>(result.kind));
      switch (result.kind) {
        case MR_VALUE_BOOL:
        case MR_VALUE_INT:
          frame.i64(result.i);
          break;
        case MR_VALUE_FLOAT:
          frame.f64(result.d);
          break;
        case MR_VALUE_STRING:
        case MR_VALUE_JSON:
          write_end_piece(&frame, result.piece);
          break;
        default:
          break;
      }
    }
  }
  frame.end();
}

bool read_reply(FrameReader reader, size_t outputs, size_t results, CallEnd* end) {
  end->status = reader.u8();
  end->invalid = reader.u8() != 0;
  end->run_us = reader.i64();
  end->retry_after_ms = reader.i64();
  end->reason = reader.text();
  end->message = reader.text();
  end->note = reader.text();
  if (end->status != MR_OK) return reader.at_end();
  end->outputs.resize(outputs);
  for (CallOutput& output : end->outputs) {
    output.forward = reader.i32();
    output.described = reader.u8() != 0;
    if (output.described) {
      output.media_type = reader.text();
      output.width = reader.u32();
      output.height = reader.u32();
      output.pixels = reader.u64();
    }
    if (!read_end_piece(&reader, &output.piece)) return false;
  }
  end->results.resize(results);
  for (CallResult& result : end->results) {
    result.kind = reader.u8();
    switch (result.kind) {
      case MR_VALUE_ABSENT:
        break;
      case MR_VALUE_BOOL:
      case MR_VALUE_INT:
        result.i = reader.i64();
        break;
      case MR_VALUE_FLOAT:
        result.d = reader.f64();
        break;
      case MR_VALUE_STRING:
      case MR_VALUE_JSON:
        if (!read_end_piece(&reader, &result.piece)) return false;
        break;
      default:
        return false;
    }
  }
  return reader.at_end();
}

bool send_packet(int socket, std::string_view packet, const int* descriptors, int count) {
  iovec part{const_cast<char*>(packet.data()), packet.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(static_cast<size_t>(count) * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(static_cast<size_t>(count) * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, static_cast<size_t>(count) * sizeof(int));
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

int64_t receive_packet(int socket, void* buffer, size_t size, int* descriptors, int* count) {
  iovec part{buffer, size};
  alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  *count = 0;
  if (got < 0) return -errno;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t bytes = header->cmsg_len - CMSG_LEN(0);
    *count = static_cast<int>(bytes / sizeof(int));
    memcpy(descriptors, CMSG_DATA(header), static_cast<size_t>(*count) * sizeof(int));
  }
  return got;
}

}  // namespace millrace
