// HeadScanner: finds where a request's head ends, and refuses what llhttp would let pass.
//
// llhttp 8 accepts obsolete line folding, white space before a colon and bare carriage returns in
// some places; each is a way to make two parsers disagree (request smuggling). This scanner looks
// at the same bytes first and is strict. It knows nothing of what the lines mean.
#pragma once

#include <cstddef>
#include <cstdint>

namespace millrace {

class HeadScanner {
 public:
  void reset() { *this = HeadScanner(); }
  // Looks at more bytes; returns how many belong to the head (all, unless the head ends among them
  // or error() says why not).
  size_t feed(const char* data, size_t size);
  bool done() const { return done_; }
  const char* error() const { return error_; }  // null: none; else a sentence for the client
  size_t total_bytes() const { return total_bytes_; }

 private:
  bool step(char c);
  bool end_of_line();

  enum class At : uint8_t { kLineStart, kName, kValue, kRequestLine, kCarriageReturn };
  At at_ = At::kRequestLine;
  bool first_line_ = true;
  bool line_empty_ = true;
  char last_ = '\0';
  bool done_ = false;
  const char* error_ = nullptr;
  size_t total_bytes_ = 0;
};

}  // namespace millrace
