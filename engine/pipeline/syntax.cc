#include "engine/pipeline/syntax.h"

#include <utility>

#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/lexer.h"

namespace millrace {
namespace {

using Kind = Syntax::Kind;

// Recursive descent; every recursion passes through ternary() or unary(), which count the depth.
class Parser {
 public:
  Parser(std::vector<Token> tokens, SyntaxProblem* problem)
      : tokens_(std::move(tokens)), problem_(problem) {}

  SyntaxPtr read() {
    SyntaxPtr root = ternary();
    if (root != nullptr && peek().kind != Token::Kind::kEnd) {
      return fail(peek().at, fmt::format("{} is not expected here", name_of(peek())),
                  peek().text == "=" ? "compare with '=='" : "");
    }
    return root;
  }

 private:
  // ---- precedence, loosest first
  SyntaxPtr ternary() {
    const Deeper deeper(this);
    if (too_deep()) return nullptr;
    SyntaxPtr condition = chain(0);
    if (condition == nullptr || !is("?")) return condition;
    SyntaxPtr node = make(Kind::kTernary, condition->at, next().at);
    SyntaxPtr yes = ternary();
    if (yes == nullptr || !expect(":", "a ternary is written 'condition ? a : b'")) return nullptr;
    SyntaxPtr no = ternary();
    if (no == nullptr) return nullptr;
    node->args.push_back(std::move(condition));
    node->args.push_back(std::move(yes));
    node->args.push_back(std::move(no));
    return close(std::move(node));
  }

  struct Level {
    Kind kind;
    const char* symbols[3];
    const char* codes;
  };
  static constexpr int kLevels = 6, kCompareLevel = 2;
  static const Level& level(int number) {
    static constexpr Level kTable[kLevels] = {{Kind::kOr, {"||", nullptr, nullptr}, "|"},
                                              {Kind::kAnd, {"&&", nullptr, nullptr}, "&"},
                                              {Kind::kCompare, {nullptr, nullptr, nullptr}, ""},
                                              {Kind::kFallback,
                                               {"?"
                                                "?",
                                                nullptr, nullptr},
                                               "?"},
                                              {Kind::kSum, {"+", "-", nullptr}, "+-"},
                                              {Kind::kProduct, {"*", "/", "%"}, "*/%"}};
    return kTable[number];
  }

  SyntaxPtr chain(int number) {
    if (number == kLevels) return unary();
    if (number == kCompareLevel) return comparison();
    SyntaxPtr first = chain(number + 1);
    if (first == nullptr) return nullptr;
    const Level& here = level(number);
    SyntaxPtr node;
    for (;;) {
      size_t which = 0;
      while (which < 3 && here.symbols[which] != nullptr && !is(here.symbols[which])) which++;
      if (which == 3 || here.symbols[which] == nullptr) break;
      const Span at = next().at;
      if (node == nullptr) {
        node = make(here.kind, first->at, at);
        node->args.push_back(std::exchange(first, nullptr));
      }
      SyntaxPtr operand = chain(number + 1);
      if (operand == nullptr) return nullptr;
      node->operators += here.codes[which];
      node->args.push_back(std::move(operand));
    }
    return node == nullptr ? std::move(first) : close(std::move(node));
  }

  SyntaxPtr comparison() {
    constexpr std::pair<const char*, char> kOperators[] = {
        {"==", '='}, {"!=", '!'}, {"<=", 'l'}, {">=", 'g'}, {"<", '<'}, {">", '>'}, {"in", 'i'}};
    SyntaxPtr left = chain(kCompareLevel + 1);
    if (left == nullptr) return nullptr;
    for (const auto& [symbol, code] : kOperators) {
      if (!is(symbol)) continue;
      SyntaxPtr node = make(Kind::kCompare, left->at, next().at);
      SyntaxPtr right = chain(kCompareLevel + 1);
      if (right == nullptr) return nullptr;
      node->operators += code;
      node->args.push_back(std::move(left));
      node->args.push_back(std::move(right));
      for (const auto& [again, unused] : kOperators) {
        if (is(again))
          return fail(peek().at, "comparisons do not chain", "use parentheses or '&&'");
      }
      return close(std::move(node));
    }
    return left;
  }

  SyntaxPtr unary() {
    const Deeper deeper(this);
    if (too_deep()) return nullptr;
    if (!is("!") && !is("-")) return postfix();
    const Token& sign = next();
    SyntaxPtr node = make(sign.text == "!" ? Kind::kNot : Kind::kNegate, sign.at, sign.at);
    SyntaxPtr operand = unary();
    if (operand == nullptr) return nullptr;
    node->args.push_back(std::move(operand));
    return close(std::move(node));
  }

  SyntaxPtr postfix() {
    SyntaxPtr node = primary();
    const int before = depth_;
    while (node != nullptr && (is(".") || is("["))) {
      depth_++;  // a chain of members nests in the tree
      if (too_deep()) return nullptr;
      node = next().text == "." ? member(std::move(node)) : index(std::move(node));
    }
    depth_ = before;
    return node;
  }

  SyntaxPtr member(SyntaxPtr base) {
    if (peek().kind != Token::Kind::kName) return fail(peek().at, "a name must follow the '.'");
    const Token& name = next();
    SyntaxPtr node = make(is("(") ? Kind::kMethod : Kind::kMember, base->at, name.at);
    node->name = name.text;
    node->args.push_back(std::move(base));
    if (node->kind == Kind::kMethod) {
      next();
      if (!list_until(")", node.get())) return nullptr;
    }
    return close(std::move(node));
  }

  SyntaxPtr index(SyntaxPtr base) {
    SyntaxPtr node = make(Kind::kIndex, base->at, base->at);
    SyntaxPtr position = ternary();
    if (position == nullptr || !expect("]", "")) return nullptr;
    node->name_at = position->at;
    node->args.push_back(std::move(base));
    node->args.push_back(std::move(position));
    return close(std::move(node));
  }

  SyntaxPtr primary() {
    const Token& token = peek();
    if (token.kind == Token::Kind::kLiteral) {
      SyntaxPtr node = make(Kind::kLiteral, token.at, token.at);
      node->value = token.value;
      node->type = token.type;
      next();
      return node;
    }
    if (token.kind == Token::Kind::kName && token.text != "in") {
      next();
      SyntaxPtr node = make(is("(") ? Kind::kCall : Kind::kName, token.at, token.at);
      node->name = token.text;
      if (node->kind == Kind::kName) return node;
      next();
      return list_until(")", node.get()) ? close(std::move(node)) : nullptr;
    }
    if (is("(")) {
      next();
      SyntaxPtr inner = ternary();
      return inner != nullptr && expect(")", "") ? std::move(inner) : nullptr;
    }
    if (is("[")) {
      SyntaxPtr node = make(Kind::kList, token.at, token.at);
      next();
      return list_until("]", node.get()) ? close(std::move(node)) : nullptr;
    }
    if (is("{")) return map_literal();
    if (token.kind == Token::Kind::kEnd) {
      return fail(token.at,
                  last_ == 0 ? "the expression is empty" : "the expression ends too early");
    }
    return fail(token.at, fmt::format("{} is not expected here", name_of(token)));
  }

  SyntaxPtr map_literal() {
    SyntaxPtr node = make(Kind::kMap, peek().at, peek().at);
    next();
    while (!is("}")) {
      SyntaxPtr key = ternary();
      if (key == nullptr || !expect(":", "a map is written {\"name\": value}")) return nullptr;
      SyntaxPtr value = ternary();
      if (value == nullptr) return nullptr;
      node->args.push_back(std::move(key));
      node->args.push_back(std::move(value));
      if (!is(",")) break;
      next();
    }
    return expect("}", "") ? close(std::move(node)) : nullptr;
  }

  bool list_until(const char* end, Syntax* node) {
    while (!is(end)) {
      SyntaxPtr element = ternary();
      if (element == nullptr) return false;
      node->args.push_back(std::move(element));
      if (!is(",")) break;
      next();
    }
    return expect(end, "");
  }

  // ---- tokens
  const Token& peek() const { return tokens_[position_]; }
  const Token& next() {
    const Token& token = tokens_[position_];
    last_ = token.at.offset + token.at.length;
    if (token.kind != Token::Kind::kEnd) position_++;
    return token;
  }
  bool is(std::string_view text) const {
    return (peek().kind == Token::Kind::kSymbol || peek().kind == Token::Kind::kName) &&
           peek().text == text;
  }
  bool expect(const char* symbol, const char* hint) {
    if (is(symbol)) {
      next();
      return true;
    }
    fail(peek().at, fmt::format("'{}' is expected here, not {}", symbol, name_of(peek())), hint);
    return false;
  }
  static std::string name_of(const Token& token) {
    if (token.kind == Token::Kind::kEnd) return "the end";
    if (token.kind == Token::Kind::kLiteral) return "this value";
    return fmt::format("'{}'", token.text);
  }

  // ---- nodes
  static SyntaxPtr make(Kind kind, Span begin, Span name_at) {
    auto node = std::make_unique<Syntax>();
    node->kind = kind;
    node->at = begin;
    node->name_at = name_at;
    return node;
  }
  SyntaxPtr close(SyntaxPtr node) const {
    node->at.length = last_ - node->at.offset;
    return node;
  }
  SyntaxPtr fail(Span at, std::string message, std::string hint = {}) {
    if (problem_->number == 0) {
      *problem_ = {errors::kExpressionSyntax, at, std::move(message), std::move(hint)};
    }
    return nullptr;
  }

  struct Deeper {
    explicit Deeper(Parser* parser) : parser_(parser) { parser_->depth_++; }
    ~Deeper() { parser_->depth_--; }
    Parser* const parser_;
  };
  bool too_deep() {
    if (depth_ <= 2 * kExpressionDepthMax)
      return false;  // each nesting passes ternary() and unary()
    if (problem_->number == 0) {
      *problem_ = {errors::kExpressionTooLarge,
                   peek().at,
                   fmt::format("the expression is nested more than {} deep", kExpressionDepthMax),
                   {}};
    }
    return true;
  }

  const std::vector<Token> tokens_;
  SyntaxProblem* const problem_;
  size_t position_ = 0, last_ = 0;
  int depth_ = 0;
};

}  // namespace

SyntaxPtr parse_expression(std::string_view text, SyntaxProblem* problem) {
  *problem = {};
  if (text.size() > kExpressionBytesMax) {
    *problem = {errors::kExpressionTooLarge,
                {0, text.size()},
                fmt::format("the expression has {} bytes, at most {} are allowed", text.size(),
                            kExpressionBytesMax),
                {}};
    return nullptr;
  }
  std::vector<Token> tokens = read_tokens(text, problem);
  if (tokens.empty()) return nullptr;
  return Parser(std::move(tokens), problem).read();
}

}  // namespace millrace
