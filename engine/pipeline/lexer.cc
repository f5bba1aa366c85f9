#include "engine/pipeline/lexer.h"

#include <charconv>

#include "engine/base/errors.h"
#include "engine/base/time.h"
#include "engine/pipeline/text.h"

namespace millrace {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

Type plain(Type::Kind kind) {
  Type type;
  type.kind = kind;
  return type;
}

void append_utf8(uint32_t code, std::string* out) {
  const auto put = [&](uint32_t byte) { *out += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

class Lexer {
 public:
  Lexer(std::string_view text, SyntaxProblem* problem) : text_(text), problem_(problem) {}

  std::vector<Token> read() {
    for (;;) {
      while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' ||
                                    text_[at_] == '\r')) {
        at_++;
      }
      Token token;
      token.at = {at_, 1};
      if (at_ == text_.size()) {
        tokens_.push_back(std::move(token));
        return std::move(tokens_);
      }
      if (!read_one(&token)) return {};
      token.at.length = at_ - token.at.offset;
      tokens_.push_back(std::move(token));
    }
  }

 private:
  bool read_one(Token* token) {
    const char c = text_[at_];
    if (is_digit(c)) return read_number(token);
    if (c == '"' || c == '\'') return read_string(token);
    if (is_letter(c)) {
      const size_t first = at_;
      while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) at_++;
      token->kind = Token::Kind::kName;
      token->text = text_.substr(first, at_ - first);
      return read_word(token);
    }
    return read_symbol(token);
  }

  bool read_word(Token* token) {
    const bool member = !tokens_.empty() && tokens_.back().text == ".";
    if (member) return true;
    if (token->text == "true" || token->text == "false") {
      literal(token, Value(token->text == "true"), Type::Kind::kBool);
    } else if (token->text == "null") {
      literal(token, Value(), Type::Kind::kJson);
    }
    return true;
  }

  bool read_symbol(Token* token) {
    constexpr std::string_view kSymbols[] = {"&&", "||", "??", "==", "!=", "<=", ">=", "<", ">",
                                             "+",  "-",  "*",  "/",  "%",  "!",  "?",  ":", ".",
                                             ",",  "(",  ")",  "[",  "]",  "{",  "}"};
    for (const std::string_view symbol : kSymbols) {
      if (!text_.substr(at_).starts_with(symbol)) continue;
      token->kind = Token::Kind::kSymbol;
      token->text = text_.substr(at_, symbol.size());
      at_ += symbol.size();
      return true;
    }
    std::string hint;
    const char c = text_[at_];
    if (c == '$') hint = "write the expression bare here, without ${{ }}";
    if (c == '=') hint = "compare with '=='";
    if (c == '&') hint = "'and' is '&&'";
    if (c == '|') hint = "'or' is '||'";
    const size_t length = std::max<size_t>(1, utf8_first());
    return fail(at_, length,
                fmt::format("'{}' has no meaning in an expression", text_.substr(at_, length)),
                std::move(hint));
  }

  size_t utf8_first() const {
    size_t end = at_ + 1;
    while (end < text_.size() && (static_cast<uint8_t>(text_[end]) & 0xc0) == 0x80) end++;
    return end - at_;
  }

  // 10, 0x1F, 0.5, 1e3, and with a unit 30s or 64KiB.
  bool read_number(Token* token) {
    const size_t first = at_;
    if (text_.substr(at_).starts_with("0x")) {
      at_ += 2;
      return read_hex(token, first);
    }
    while (at_ < text_.size() && is_digit(text_[at_])) at_++;
    bool real = false;
    if (at_ + 1 < text_.size() && text_[at_] == '.' && is_digit(text_[at_ + 1])) {
      real = true;
      at_++;
      while (at_ < text_.size() && is_digit(text_[at_])) at_++;
    }
    if (at_ < text_.size() && (text_[at_] == 'e' || text_[at_] == 'E')) {
      size_t digit = at_ + 1;
      if (digit < text_.size() && (text_[digit] == '+' || text_[digit] == '-')) digit++;
      if (digit < text_.size() && is_digit(text_[digit])) {
        real = true;
        at_ = digit;
        while (at_ < text_.size() && is_digit(text_[at_])) at_++;
      }
    }
    const size_t number_end = at_;
    while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) at_++;
    const std::string_view word = text_.substr(first, at_ - first);
    if (at_ > number_end) return read_unit(token, first, word);
    if (real) {
      const auto number = parse_json_number(word);
      if (!number) return fail(first, word.size(), fmt::format("'{}' is no number", word));
      return literal(token, Value(*number), Type::Kind::kFloat);
    }
    if (word.size() > 1 && word[0] == '0') {
      return fail(first, word.size(), fmt::format("'{}' begins with a zero", word),
                  "write it without leading zeros, or in quotes as text");
    }
    // The sign is an operator of its own, so the smallest int64 is read one too far and negated
    // there.
    uint64_t number = 0;
    const auto result = std::from_chars(word.data(), word.data() + word.size(), number);
    if (result.ec != std::errc() || number > uint64_t{1} << 63) {
      return fail(first, word.size(), fmt::format("{} is beyond 64 bits", word));
    }
    if (number == uint64_t{1} << 63) {
      if (tokens_.empty() || tokens_.back().text != "-") {
        return fail(first, word.size(), fmt::format("{} is beyond 64 bits", word));
      }
      // Negating the smallest int64 overflows; as an operand it stands for itself.
      tokens_.pop_back();
      token->at.offset = first;
      return literal(token, Value(INT64_MIN), Type::Kind::kInt);
    }
    return literal(token, Value(static_cast<int64_t>(number)), Type::Kind::kInt);
  }

  bool read_unit(Token* token, size_t first, std::string_view word) {
    if (const auto duration = parse_duration(word)) {
      return literal(token, Value(*duration), Type::Kind::kDuration);
    }
    if (const auto size = parse_size(word)) return literal(token, Value(*size), Type::Kind::kSize);
    return fail(first, word.size(),
                fmt::format("'{}' is neither a number, a duration nor a size", word),
                "durations are 250ms 30s 5m 2h 7d, sizes 64KiB 10MB");
  }

  bool read_hex(Token* token, size_t first) {
    const size_t digits = at_;
    while (at_ < text_.size() && (is_letter(text_[at_]) || is_digit(text_[at_]))) at_++;
    const std::string_view word = text_.substr(digits, at_ - digits);
    int64_t number = 0;
    const auto result = std::from_chars(word.data(), word.data() + word.size(), number, 16);
    if (word.empty() || result.ec != std::errc() || result.ptr != word.data() + word.size()) {
      return fail(first, at_ - first,
                  fmt::format("'0x{}' is no hexadecimal number of 64 bits", word));
    }
    return literal(token, Value(number), Type::Kind::kInt);
  }

  bool read_string(Token* token) {
    const size_t first = at_;
    const char quote = text_[at_++];
    std::string value;
    while (at_ < text_.size() && text_[at_] != quote) {
      if (text_[at_] == '\\') {
        if (!read_escape(&value)) return false;
      } else {
        value += text_[at_++];
      }
    }
    if (at_ == text_.size()) return fail(first, 1, "a quote is opened here and never closed");
    at_++;
    return literal(token, Value(std::move(value)), Type::Kind::kString);
  }

  bool read_escape(std::string* value) {
    const size_t first = at_++;
    const char code = at_ < text_.size() ? text_[at_++] : '\0';
    constexpr std::string_view kCodes = "\\\"'`?nrtabfv", kMeanings = "\\\"'`?\n\r\t\a\b\f\v";
    const size_t plain_code = kCodes.find(code);
    if (code != '\0' && plain_code != std::string_view::npos) {
      *value += kMeanings[plain_code];
      return true;
    }
    const size_t digits = code == 'x' ? 2 : code == 'u' ? 4 : code == 'U' ? 8 : 0;
    const std::string_view word = text_.substr(std::min(at_, text_.size()), digits);
    uint32_t number = 0;
    const auto result = std::from_chars(word.data(), word.data() + word.size(), number, 16);
    const bool whole = digits != 0 && word.size() == digits && result.ec == std::errc() &&
                       result.ptr == word.data() + word.size();
    if (!whole || number > 0x10ffff || (number >= 0xd800 && number < 0xe000)) {
      return fail(first, 2, "this escape has no meaning", "a backslash itself is written '\\\\'");
    }
    at_ += digits;
    append_utf8(number, value);
    return true;
  }

  bool literal(Token* token, Value value, Type::Kind kind) {
    token->kind = Token::Kind::kLiteral;
    token->text = {};
    token->value = std::move(value);
    token->type = plain(kind);
    return true;
  }

  bool fail(size_t at, size_t length, std::string message, std::string hint = {}) {
    *problem_ = {errors::kExpressionSyntax, {at, length}, std::move(message), std::move(hint)};
    return false;
  }

  const std::string_view text_;
  SyntaxProblem* const problem_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace

std::vector<Token> read_tokens(std::string_view text, SyntaxProblem* problem) {
  return Lexer(text, problem).read();
}

size_t find_expression_end(std::string_view text, size_t from) {
  int braces = 0;
  char quote = '\0';
  for (size_t i = from; i < text.size(); i++) {
    const char c = text[i];
    if (quote != '\0') {
      if (c == '\\') {
        i++;
      } else if (c == quote) {
        quote = '\0';
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '{') {
      braces++;
    } else if (c == '}') {
      if (braces > 0) {
        braces--;
      } else if (i + 1 < text.size() && text[i + 1] == '}') {
        return i;
      }
    }
  }
  return std::string_view::npos;
}

}  // namespace millrace
