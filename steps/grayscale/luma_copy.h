// luma_copy: the luma of a baseline JPEG, moved from one entropy-coded scan into another, bit by
// bit.
//
// For the commonest picture there is (baseline, Huffman, one interleaved scan) it does what
// libjpeg's coefficient transform does, in a fraction of the time: no coefficient array is filled.
// Chroma symbols are skipped, luma AC symbols are copied as the bits that they are, and only the DC
// differences, whose order changes, are coded anew.
//
// It knows entropy-coded data and the tables that it is given; markers, metadata and every other
// kind of JPEG are libjpeg's business. It never guesses: anything unusual in the data, and the
// caller takes libjpeg's way, which then says what is wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "steps/common/byte_view.h"

namespace millrace {

// A Huffman table as DHT carries it: how many codes of each length 1 to 16, and the symbols in
// order.
struct HuffmanSpec {
  const uint8_t* counts = nullptr;   // [17], [0] unused, as libjpeg's JHUFF_TBL.bits
  const uint8_t* symbols = nullptr;  // [256]
};

struct LumaScan {
  ByteView data;  // from the first byte behind SOS to the end of the file
  uint32_t width = 0, height = 0;
  uint32_t restart_interval = 0;  // in MCUs, 0: none
  struct Component {
    int h = 1, v = 1;
    HuffmanSpec dc, ac;
  };
  std::vector<Component>
      components;      // in the order of the scan; the first is luma, sampled most finely
  HuffmanSpec dc_out;  // has a code for every category from 0 to 11
};

// Appends luma's own scan (one component, no restarts, blocks in raster order, AC coded with
// components[0].ac, DC with dc_out) to `out`, without marker at its end. `more(permille)` is asked
// now and then whether to go on. False: the data is not what it should be, or the answer was no;
// `out` is then as it was.
bool copy_luma(const LumaScan& scan, std::vector<uint8_t>* out, bool (*more)(void*, uint32_t),
               void* context);

}  // namespace millrace
