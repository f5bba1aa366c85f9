#include "engine/worker/call_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "engine/base/limits.h"

namespace millrace {
namespace {

class Writer {
 public:
  Writer(const StepCall& call, Slab* slab, RegionAllocator* allocator, std::string* packet,
         std::vector<Extent>* regions)
      : call_(call), slab_(slab), allocator_(allocator), regions_(regions), frame_(packet) {}

  CallWritten write(const CallPlace& place) {
    const StepDecl& decl = *call_.decl;
    frame_.begin(FrameKind::kCall, call_.ticket);
    frame_.u32(place.step_index);
    frame_.u32(place.slot);
    frame_.u32(place.sequence);
    frame_.u32(call_.attempt);
    frame_.u32(call_.place);
    frame_.u32(call_.deaths);
    frame_.i64(call_.timeout_ms - stop_margin_us(call_) / 1000);
    frame_.text(call_.job);
    frame_.text(call_.step);
    frame_.text(call_.effect_key);
    for (size_t i = 0; i < decl.inputs.size(); i++) input(i);
    for (size_t i = 0; i < decl.params.size(); i++) {
      param(decl.params[i].type, call_.with[decl.inputs.size() + i]);
    }
    frame_.end();
    return written_;
  }

 private:
  bool goes_inline(uint64_t size) const {
    return size <= kInlineBlobBytesMax && frame_.frame_bytes() + size <= kInlineFrameBytesMax;
  }

  // Room for `size` bytes and a zero behind them; null when there is none.
  uint8_t* place(uint64_t size) {
    if (size >= kSlabInputBytes) {
      written_ = CallWritten::kTooLarge;
      return nullptr;
    }
    const uint64_t offset = allocator_->allocate(size + 1);
    if (offset == 0) {
      written_ = CallWritten::kNoRoom;
      return nullptr;
    }
    regions_->push_back({offset, size + 1});
    frame_.slab_piece(size, {{offset, size}});
    uint8_t* to = slab_->at(offset);
    to[size] = 0;
    return to;
  }

  void bytes(std::string_view data) {
    if (goes_inline(data.size())) return frame_.inline_piece(data);
    if (uint8_t* to = place(data.size())) memcpy(to, data.data(), data.size());
  }

  // Blobs that are in a file only, for a lane that has no files.
  void file(const std::string& path, uint64_t size) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
      written_ = CallWritten::kUnreadable;
      return;
    }
    uint8_t* to = place(size);
    for (uint64_t at = 0; to != nullptr && at < size;) {
      const ssize_t got = pread(descriptor, to + at, size - at, static_cast<off_t>(at));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) {
        written_ = CallWritten::kUnreadable;
        break;
      }
      at += static_cast<uint64_t>(got);
    }
    close(descriptor);
  }

  void input(size_t i) {
    const Value& value = call_.with[i];
    if (value.is_null()) return frame_.u8(static_cast<uint8_t>(PieceWhere::kAbsent));
    const BlobRef& blob = value.as_blob();
    const BlobContent& content = *blob.content;
    static const std::string none;
    const std::string& path = i < call_.paths.size() ? call_.paths[i] : none;
    if (!path.empty() && call_.decl->lane == Lane::kIo) {
      frame_.u8(static_cast<uint8_t>(PieceWhere::kPath));
      frame_.u64(content.size_bytes);
      frame_.text(path);
    } else if (content.bytes.present()) {
      bytes(content.bytes.view());
    } else if (!path.empty()) {
      file(path, content.size_bytes);
    } else {
      written_ = CallWritten::kUnreadable;
    }
    if (written_ != CallWritten::kYes) return;
    frame_.text(blob.media_type);
    frame_.text(content.digest ? content.digest->text() : std::string());
    frame_.u32(blob.width);
    frame_.u32(blob.height);
  }

  void param(const Type& type, const Value& value) {
    if (value.is_null()) return frame_.u8(MR_VALUE_ABSENT);
    switch (type.kind) {
      case Type::Kind::kBool:
        frame_.u8(MR_VALUE_BOOL);
        return frame_.i64(value.as_bool() ? 1 : 0);
      case Type::Kind::kInt:
      case Type::Kind::kDuration:
      case Type::Kind::kSize:
        frame_.u8(MR_VALUE_INT);
        return frame_.i64(value.as_int());
      case Type::Kind::kFloat:
        frame_.u8(MR_VALUE_FLOAT);
        return frame_.f64(value.kind() == Value::Kind::kInt ? static_cast<double>(value.as_int())
                                                            : value.as_double());
      case Type::Kind::kString:
      case Type::Kind::kUrl:
      case Type::Kind::kEnum:
        frame_.u8(MR_VALUE_STRING);
        return bytes(value.as_string());
      case Type::Kind::kSecret:
        return param(*type.element, value);  // one level: a secret holds no secret
      default:
        frame_.u8(MR_VALUE_JSON);
        return bytes(canonical_json(value));
    }
  }

  const StepCall& call_;
  Slab* slab_;
  RegionAllocator* allocator_;
  std::vector<Extent>* regions_;
  FrameWriter frame_;
  CallWritten written_ = CallWritten::kYes;
};

}  // namespace

CallWritten write_call(const StepCall& call, const CallPlace& place, Slab* slab,
                       RegionAllocator* allocator, std::string* packet,
                       std::vector<Extent>* regions) {
  CHECK(call.with.size() == static_cast<size_t>(call.decl->with_count()));
  const size_t before = packet->size();
  const CallWritten written = Writer(call, slab, allocator, packet, regions).write(place);
  if (written == CallWritten::kYes) return written;
  packet->resize(before);
  for (const Extent& region : *regions) allocator->release(region.offset, region.size);
  regions->clear();
  if (written == CallWritten::kNoRoom && allocator->all_free()) return CallWritten::kTooLarge;
  return written;
}

}  // namespace millrace
