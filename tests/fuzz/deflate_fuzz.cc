// Fuzzes the deflater of PNGs: any bytes, added in any pieces at any effort, are inflated by zlib
// to themselves. The first three bytes say how; the rest is repeated with changes, as rows are, so
// that matches of all distances come up.
#include <zlib.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "engine/base/check.h"
#include "steps/common/png/deflate.h"

namespace millrace {
namespace {

using Bytes = std::vector<uint8_t>;

Bytes rows_of(const uint8_t* data, size_t size, size_t repetitions) {
  Bytes rows;
  for (size_t i = 0; i < repetitions; ++i) {
    rows.insert(rows.end(), data, data + size);
    if (size > 0) rows[rows.size() - 1 - (i * 7919) % size] ^= static_cast<uint8_t>(i);
  }
  return rows;
}

Bytes deflated(const Bytes& bytes, int effort, size_t piece) {
  Deflater deflater(effort);
  for (size_t at = 0; at < bytes.size(); at += piece) {
    deflater.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
  }
  deflater.finish();
  return deflater.output();
}

void check_inflates(const Bytes& stream, const Bytes& bytes) {
  Bytes out(bytes.size() + 1);
  uLongf out_size = out.size();
  uLong in_size = stream.size();
  CHECK(uncompress2(out.data(), &out_size, stream.data(), &in_size) == Z_OK);
  CHECK(in_size == stream.size() && out_size == bytes.size());
  CHECK(std::equal(bytes.begin(), bytes.end(), out.begin()));
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace millrace;
  constexpr size_t kBytesMax = size_t{1} << 20;
  if (size < 3) return 0;
  const int effort = data[0] % 10;
  const size_t piece = data[1] < 250 ? size_t{data[1]} * 1031 + 1 : Deflater::kBlockBytes;
  const size_t row = size - 3;
  const size_t repetitions = row == 0 ? 0 : std::min<size_t>(1 + data[2], kBytesMax / row);
  const Bytes bytes = rows_of(data + 3, row, repetitions);
  check_inflates(deflated(bytes, effort, piece), bytes);
  return 0;
}
