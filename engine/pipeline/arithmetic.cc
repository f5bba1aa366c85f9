#include "engine/pipeline/arithmetic.h"

#include <cmath>

namespace millrace {
namespace {

using Kind = Value::Kind;

bool is_number(const Value& value) {
  return value.kind() == Kind::kInt || value.kind() == Kind::kDouble;
}

double as_number(const Value& value) {
  return value.kind() == Kind::kInt ? static_cast<double>(value.as_int()) : value.as_double();
}

std::string mismatch(char op, const Value& a, const Value& b) {
  return fmt::format("'{}' does not take {} and {}", op, kind_text(a), kind_text(b));
}

std::string overflow(char op, const Value& a, const Value& b) {
  return fmt::format("{} {} {} is beyond 64 bits", a.as_int(), op, b.as_int());
}

std::string finite(double number, Value* out) {
  if (!std::isfinite(number)) return "the result is not a finite number";
  *out = Value(number);
  return {};
}

// -1, 0 or 1, exact even where an int has no double of its value.
int compare_numbers(const Value& a, const Value& b) {
  if (a.kind() == Kind::kInt && b.kind() == Kind::kInt) {
    return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
  }
  if (a.kind() == Kind::kDouble && b.kind() == Kind::kDouble) {
    return a.as_double() < b.as_double() ? -1 : a.as_double() > b.as_double() ? 1 : 0;
  }
  if (a.kind() == Kind::kDouble) return -compare_numbers(b, a);
  const int64_t whole = a.as_int();
  const double real = b.as_double();
  if (real >= 9223372036854775808.0) return -1;
  if (real < -9223372036854775808.0) return 1;
  const double floor = std::floor(real);
  const auto cut = static_cast<int64_t>(floor);
  if (whole != cut) return whole < cut ? -1 : 1;
  return floor < real ? -1 : 0;
}

}  // namespace

std::string_view kind_text(const Value& value) {
  constexpr std::string_view kTexts[] = {"null", "a boolean", "a whole number", "a number",
                                         "text", "a list",    "a map",          "a blob"};
  return kTexts[static_cast<int>(value.kind())];
}

std::string add_values(char op, const Value& a, const Value& b, Value* out) {
  if (a.kind() == Kind::kInt && b.kind() == Kind::kInt) {
    int64_t result = 0;
    const bool failed = op == '+' ? __builtin_add_overflow(a.as_int(), b.as_int(), &result)
                                  : __builtin_sub_overflow(a.as_int(), b.as_int(), &result);
    if (failed) return overflow(op, a, b);
    *out = Value(result);
    return {};
  }
  if (is_number(a) && is_number(b)) {
    return finite(op == '+' ? as_number(a) + as_number(b) : as_number(a) - as_number(b), out);
  }
  if (op == '+' && a.kind() == Kind::kString && b.kind() == Kind::kString) {
    *out = Value(a.as_string() + b.as_string());
    return {};
  }
  if (op == '+' && a.kind() == Kind::kList && b.kind() == Kind::kList) {
    Value::List list = a.as_list();
    list.insert(list.end(), b.as_list().begin(), b.as_list().end());
    *out = Value(std::move(list));
    return {};
  }
  return mismatch(op, a, b);
}

std::string multiply_values(char op, const Value& a, const Value& b, Value* out) {
  if (!is_number(a) || !is_number(b)) return mismatch(op, a, b);
  if (a.kind() != Kind::kInt || b.kind() != Kind::kInt) {
    if (op == '%') return "'%' takes whole numbers only";
    if (op == '*') return finite(as_number(a) * as_number(b), out);
    return as_number(b) == 0 ? "division by zero" : finite(as_number(a) / as_number(b), out);
  }
  const int64_t x = a.as_int(), y = b.as_int();
  int64_t result = 0;
  if (op == '*') {
    if (__builtin_mul_overflow(x, y, &result)) return overflow(op, a, b);
  } else {
    if (y == 0) return op == '/' ? "division by zero" : "remainder of a division by zero";
    if (x == INT64_MIN && y == -1) return overflow(op, a, b);
    result = op == '/' ? x / y : x % y;
  }
  *out = Value(result);
  return {};
}

std::string compare_values(char op, const Value& a, const Value& b, bool* out) {
  int order = 0;
  if (is_number(a) && is_number(b)) {
    order = compare_numbers(a, b);
  } else if (a.kind() == Kind::kString && b.kind() == Kind::kString) {
    order =
        a.as_string().compare(b.as_string());  // byte order of UTF-8 is the order of code points
  } else if (a.kind() == Kind::kBool && b.kind() == Kind::kBool) {
    order = static_cast<int>(a.as_bool()) - static_cast<int>(b.as_bool());
  } else {
    return fmt::format("{} and {} have no order", kind_text(a), kind_text(b));
  }
  *out = op == '<' ? order < 0 : op == '>' ? order > 0 : op == 'l' ? order <= 0 : order >= 0;
  return {};
}

// Recursion follows the values' nesting, which parse_json bounds (kJsonDepthMax).
bool equal_values(const Value& a, const Value& b) {
  if (is_number(a) && is_number(b)) return compare_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  if (a.kind() == Kind::kList) {
    const auto &x = a.as_list(), &y = b.as_list();
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), equal_values);
  }
  if (a.kind() == Kind::kMap) {
    const auto &x = a.as_map(), &y = b.as_map();
    return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const auto& m, const auto& n) {
      return m.first == n.first && equal_values(m.second, n.second);
    });
  }
  return a == b;
}

}  // namespace millrace
