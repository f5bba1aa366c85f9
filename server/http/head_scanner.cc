#include "server/http/head_scanner.h"

namespace millrace {

size_t HeadScanner::feed(const char* data, size_t size) {
  size_t i = 0;
  while (i < size && !done_ && error_ == nullptr) {
    step(data[i]);
    i++;
  }
  total_bytes_ += i;
  return i;
}

bool HeadScanner::end_of_line() {
  if (at_ == At::kName && !first_line_) {
    error_ = "a header line has no colon";
    return false;
  }
  if (line_empty_) done_ = true;
  first_line_ = false;
  line_empty_ = true;
  at_ = At::kLineStart;
  return true;
}

bool HeadScanner::step(char c) {
  if (at_ == At::kCarriageReturn) {
    if (c != '\n') {
      error_ = "a carriage return stands without a line feed";
      return false;
    }
    at_ = At::kValue;
    return end_of_line();
  }
  if (c == '\n') {
    error_ = "a line ends without a carriage return";
    return false;
  }
  if (c == '\0') {
    error_ = "the head holds a NUL byte";
    return false;
  }
  if (c == '\r') {
    if (at_ == At::kName) {
      error_ = "a header line has no colon";
      return false;
    }
    at_ = At::kCarriageReturn;
    return true;
  }
  line_empty_ = false;
  switch (at_) {
    case At::kLineStart:
      if (c == ' ' || c == '\t') {
        error_ = "a header line is folded, which HTTP/1.1 no longer allows";
        return false;
      }
      if (c == ':') {
        error_ = "a header line has no name";
        return false;
      }
      at_ = At::kName;
      break;
    case At::kName:
      if (c == ':') {
        if (last_ == ' ' || last_ == '\t') {
          error_ = "white space stands between a header's name and its colon";
          return false;
        }
        at_ = At::kValue;
      }
      break;
    case At::kRequestLine:
      if (c == ' ' && last_ == ' ') {
        error_ = "the request line has two spaces in a row";
        return false;
      }
      break;
    default:
      break;
  }
  last_ = c;
  return true;
}

}  // namespace millrace
