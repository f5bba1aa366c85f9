// Goal: the server survives any bytes from a worker, and the areas of a slab never overlap.
// Method: every truncation and single-byte change of a real reply; allocations against a model.
#include "engine/worker/wire.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/worker/slab.h"

namespace millrace {
namespace {

CallEnd full_reply() {
  CallEnd end;
  end.message = "m";
  end.note = "n";
  end.outputs.resize(2);
  end.outputs[0].described = true;
  end.outputs[0].media_type = "image/png";
  end.outputs[0].piece.set = true;
  end.outputs[0].piece.extents = {{kSlabOutputAt, 5000}, {kSlabOutputAt + 8192, 10}};
  end.outputs[0].piece.size = 5010;
  end.outputs[1].forward = 0;
  end.results.resize(3);
  end.results[0].kind = MR_VALUE_INT;
  end.results[1].kind = MR_VALUE_STRING;
  end.results[1].piece.set = true;
  end.results[1].piece.bytes = "text";
  end.results[2].kind = MR_VALUE_FLOAT;
  return end;
}

TEST(Wire, ReplyComesBackAsItWasWritten) {
  std::string packet;
  write_reply(7, full_reply(), &packet);
  FrameCutter cutter(packet.data(), packet.size());
  Frame frame;
  ASSERT_TRUE(cutter.next(&frame));
  EXPECT_EQ(frame.ticket, 7u);
  CallEnd end;
  ASSERT_TRUE(read_reply(frame.reader(), 2, 3, &end));
  EXPECT_EQ(end.outputs[0].media_type, "image/png");
  EXPECT_EQ(end.outputs[0].piece.extents[1].size, 10u);
  EXPECT_EQ(end.outputs[1].forward, 0);
  EXPECT_EQ(end.results[1].piece.bytes, "text");
  EXPECT_FALSE(cutter.next(&frame));
  EXPECT_FALSE(cutter.malformed());
}

TEST(Wire, DamagedRepliesAreReadWithinTheirBounds) {
  std::string packet;
  write_reply(7, full_reply(), &packet);
  const auto read = [](const std::string& bytes) {
    // Exactly as long as the bytes, so that a sanitizer sees a read beyond them.
    const std::vector<char> copy(bytes.begin(), bytes.end());
    FrameCutter cutter(copy.data(), copy.size());
    CallEnd end;
    for (Frame frame; cutter.next(&frame);) read_reply(frame.reader(), 2, 3, &end);
  };
  for (size_t size = 0; size < packet.size(); size++) read(packet.substr(0, size));
  for (size_t i = 0; i < packet.size(); i++) {
    for (const int change : {0x01, 0x80, 0xff}) {
      std::string damaged = packet;
      damaged[i] = static_cast<char>(damaged[i] ^ change);
      read(damaged);
    }
  }
}

TEST(Wire, ReplyOfAnotherShapeIsRefused) {
  std::string packet;
  write_reply(7, full_reply(), &packet);
  FrameCutter cutter(packet.data(), packet.size());
  Frame frame;
  ASSERT_TRUE(cutter.next(&frame));
  CallEnd end;
  EXPECT_FALSE(read_reply(frame.reader(), 1, 3, &end));
  EXPECT_FALSE(read_reply(frame.reader(), 2, 2, &end));
}

TEST(Regions, NeverOverlapAndAllComeBack) {
  constexpr uint64_t kBegin = 65536, kSize = 1 << 20;
  RegionAllocator regions(kBegin, kSize);
  std::map<uint64_t, uint64_t> model;
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; round++) {
    if (random() % 2 == 0) {
      const uint64_t size = random() % 50'000;
      const uint64_t offset = regions.allocate(size);
      if (offset == 0) continue;
      const uint64_t end = offset + RegionAllocator::rounded(std::max<uint64_t>(size, 1));
      ASSERT_GE(offset, kBegin);
      ASSERT_LE(end, kBegin + kSize);
      auto next = model.lower_bound(offset);
      ASSERT_TRUE(next == model.end() || end <= next->first);
      if (next != model.begin()) {
        --next;
        ASSERT_LE(next->first + RegionAllocator::rounded(next->second), offset);
      }
      model[offset] = std::max<uint64_t>(size, 1);
    } else if (!model.empty()) {
      auto it = std::next(model.begin(), static_cast<ptrdiff_t>(random() % model.size()));
      const uint64_t more = it->second + random() % 20'000;
      if (random() % 2 == 0 && regions.extend(it->first, it->second, more)) {
        it->second = more;
        continue;
      }
      regions.release(it->first, it->second);
      model.erase(it);
    }
  }
  for (const auto& [offset, size] : model) regions.release(offset, size);
  EXPECT_TRUE(regions.all_free());
  EXPECT_EQ(regions.allocate(kSize), kBegin);
  EXPECT_EQ(regions.allocate(1), 0u);
}

}  // namespace
}  // namespace millrace
