// Goal: expressions mean what CEL says they mean, with every failure an error and none a surprise.
// Method: each row is an expression over fixed inputs, evaluated as an output; the result is
// canonical JSON or "error: …".
#include "engine/base/limits.h"
#include "engine/pipeline/identity.h"
#include "engine/pipeline/render.h"
#include "tests/pipeline/fake_catalogue.h"

namespace millrace {
namespace {

std::string json_quoted(std::string_view text) {
  std::string out;
  append_json_string(text, &out);
  return out;
}

std::string pipeline_of(std::string_view expression) {
  return fmt::format(R"(pipeline: e
inputs:
  seven: int
  half: float
  text: string
  maybe: "int?"
  wait: duration
  limit: size
  names: list<string>
  numbers: list<int>
  table: map<int>
  doc: json
  mode: "enum<fast,slow>"
  link: "url?"
vars: {{ three: 3, word: abc, list: [1, 2] }}
steps:
  p: {{ use: probe }}
outputs:
  result: {}
)",
                     json_quoted(fmt::format("${{{{ {} }}}}", expression)));
}

// The canonical JSON of what `expression` comes to.
std::string value_of(std::string_view expression) {
  const ParsedPipeline parsed = parse_pipeline(pipeline_of(expression), fake_catalogue());
  for (const Diagnostic& d : parsed.diagnostics) {
    if (d.severity == Diagnostic::Severity::kError) return fmt::format("refused: {}", d.message);
  }
  FakeScope scope(parsed.graph);
  scope.set_input("seven", 7)
      .set_input("half", 0.5)
      .set_input("text", "héllo")
      .set_input("wait", 90'000);
  scope.set_input("limit", 65536).set_input("mode", "fast");
  scope.set_input("names", Value::List{"a", "b"}).set_input("numbers", Value::List{1, 2, 3});
  scope.set_input("table", Value::Map{{"x", 1}});
  scope.set_input(
      "doc", parse_json(R"({"n":1,"r":1.5,"s":"t","z":null,"l":[1,2],"m":{"k":true}})").value());
  scope.set_job(JobField::kLabels, Value::Map{{"team", "red"}}).set_job(JobField::kId, "id1");
  scope.set_output("p", "text", "out");
  const auto value = resolve_output(*parsed.graph, 0, scope);
  return value.ok() ? canonical_json(*value) : fmt::format("error: {}", value.status().message());
}

struct Row {
  const char* expression;
  const char* result;
};

void check(const std::vector<Row>& rows) {
  for (const Row& row : rows) EXPECT_EQ(value_of(row.expression), row.result) << row.expression;
}

std::string failing(std::string_view why) {
  return fmt::format("error: output 'result' of pipeline 'e': {}", why);
}

TEST(Expression, Arithmetic) {
  check({{"1 + 2 * 3 - 4", "3"},
         {"(1 + 2) * 3", "9"},
         {"-7 / 2", "-3"},
         {"-7 % 3", "-1"},
         {"inputs.seven / 2", "3"},
         {"inputs.seven * inputs.half", "3.5"},
         {"inputs.seven - 0x0A", "-3"},
         {"1.0 + 1.0", "2"},
         {"1e3", "1000"},
         {"-9223372036854775808", "-9223372036854775808"},
         {"--5", "5"},
         {"'a' + \"b\" + inputs.text", R"("abhéllo")"},
         {"inputs.numbers + [4]", "[1,2,3,4]"},
         {"vars.three * 2", "6"}});
}

TEST(Expression, FailuresAreErrors) {
  EXPECT_EQ(value_of("inputs.seven / (inputs.seven - 7)"), failing("division by zero"));
  EXPECT_EQ(value_of("inputs.seven % (inputs.seven - 7)"),
            failing("remainder of a division by zero"));
  EXPECT_EQ(value_of("inputs.half / (inputs.half - 0.5)"), failing("division by zero"));
  EXPECT_EQ(value_of("inputs.seven + 9223372036854775807"),
            failing("7 + 9223372036854775807 is beyond 64 bits"));
  EXPECT_EQ(value_of("inputs.half * 1e308 * 1e308"), failing("the result is not a finite number"));
  EXPECT_EQ(value_of("inputs.numbers[3]"), failing("index 3 is outside a list of 3"));
  EXPECT_EQ(value_of("inputs.numbers[-1]"), failing("index -1 is outside a list of 3"));
  EXPECT_EQ(value_of("inputs.table.y"), failing("there is no member 'y'"));
  EXPECT_EQ(value_of("inputs.doc.s + 1"), failing("'+' does not take text and a whole number"));
  EXPECT_EQ(value_of("inputs.doc.n ? 1 : 2"),
            failing("a whole number stands where true or false is wanted"));
}

TEST(Expression, Comparison) {
  check({{"1 == 1.0", "true"},
         {"inputs.seven > inputs.half", "true"},
         {"9007199254740993 > 9007199254740992.0", "true"},
         {"'a' < 'b' && 'Z' < 'a'", "true"},
         {"'\\uFFFD' < '\\U0001F600'", "true"},  // code points, not UTF-16 units
         {"inputs.mode == 'fast'", "true"},
         {"'slow' != inputs.mode", "true"},
         {"inputs.wait > 1m && inputs.wait <= 90s", "true"},
         {"inputs.wait == '90s'", "true"},
         {"inputs.limit == 64KiB", "true"},
         {"inputs.names == ['a', 'b']", "true"},
         {"inputs.doc.n == 1", "true"},
         {"inputs.doc.z == null", "true"},
         {"'a' in inputs.names", "true"},
         {"'y' in inputs.table", "false"},
         {"inputs.mode in ['fast']", "true"},
         {"2 in inputs.doc.l", "true"},
         {"false < true", "true"}});
}

TEST(Expression, Logic) {
  check(
      {{"true || inputs.seven / 0 == 1", "true"},
       {"inputs.numbers[9] == 1 || true", "true"},  // as in CEL, what decides wins over what fails
       {"inputs.numbers[9] == 1 && false", "false"},
       {"!(true && false)", "true"},
       {"inputs.seven > 5 ? 'big' : 'small'", "\"big\""},
       {"false ? 1 : true ? 2 : 3", "2"}});
  EXPECT_EQ(value_of("inputs.numbers[9] == 1 || false"), failing("index 9 is outside a list of 3"));
}

TEST(Expression, Absence) {
  check({{"inputs.maybe ?\?  5", "5"},
         {"inputs.maybe ?\? inputs.seven", "7"},
         {"inputs.maybe ?\? 2 + 3", "5"},
         {"(inputs.maybe ?\? 0) == 0", "true"},
         {"inputs.maybe ?\? 0 == 0", "true"},  // binds tighter than comparison
         {"has(inputs.maybe)", "false"},
         {"has(inputs.maybe) ? inputs.maybe + 1 : 0", "0"},
         {"!has(inputs.maybe) || inputs.maybe > 1", "true"},
         {"has(inputs.maybe) && inputs.maybe > 1", "false"},
         {"has(inputs.doc.n)", "true"},
         {"has(inputs.doc.z)", "false"},
         {"has(inputs.doc.q.r.s)", "false"},
         {"inputs.doc.q.r ?\? 'none'", "\"none\""},
         {"inputs.numbers[9] ?\? 4", "4"},
         {"inputs.table.y ?\? 4", "4"},
         {"job.labels.team ?\? 'x'", "\"red\""},
         {"job.labels['other'] ?\? 'x'", "\"x\""},
         {"steps.p.count ?\? 1", "1"},
         {"has(steps.p.text) ? steps.p.text : 'n'", "\"out\""},
         {"steps.p.maybe ?\? inputs.maybe ?\? 3", "3"},
         {"inputs.maybe", "null"},
         {"inputs.link ?\? 'none'", "\"none\""},
         {"steps.p.count", "null"}});
}

TEST(Expression, TextAndLists) {
  check({{"size(inputs.text)", "5"},  // code points
         {"inputs.names.size()", "2"},
         {"size(inputs.table)", "1"},
         {"inputs.text.startsWith('h') && inputs.text.endsWith('lo')", "true"},
         {"inputs.text.contains('él')", "true"},
         {"inputs.text.matches('^h.llo$')", "true"},
         {"inputs.text.matches('ell')", "false"},
         {"'a.b'.matches(inputs.names[0] + '[.]')", "true"},
         {"inputs.numbers.map(x, x * x)", "[1,4,9]"},
         {"inputs.numbers.filter(x, x > 1)", "[2,3]"},
         {"inputs.numbers.all(x, x > 0)", "true"},
         {"inputs.numbers.exists(x, x > 2)", "true"},
         {"[1, 2].map(x, [x, x].map(y, x + y))", "[[2,2],[4,4]]"},
         {"inputs.doc.l.map(x, x + 1)", "[2,3]"},
         {"[1, 2.5]", "[1,2.5]"},
         {"[]", "[]"},
         {"{'a': 1, 'b': 'x'}", R"({"a":1,"b":"x"})"},
         {"{'a': 1}.a", "1"},
         {"inputs.doc['m']['k']", "true"},
         {"'\\u00e9\\n'", R"("é\n")"},
         {"vars.list[1]", "2"}});
}

TEST(Expression, DurationsAndSizes) {
  check({{"inputs.wait + 30s == 2m", "true"},
         {"inputs.wait * 2 == 3m", "true"},
         {"inputs.wait / 30s", "3"},
         {"inputs.limit / 2 == 32KiB", "true"},
         {"[inputs.wait].map(x, {'w': x})", R"([{"w":90000}])"},
         {"{'w': inputs.wait, 'n': 1}",
          R"({"n":1,"w":"90s"})"}});  // inside json they are text with a unit
  EXPECT_EQ(value_of("inputs.wait + inputs.limit"), "refused: '+' does not take duration and size");
  EXPECT_EQ(value_of("inputs.wait * inputs.wait"),
            "refused: '*' does not take duration and duration");
}

TEST(Expression, ListsBeyondTheCapFailTheStep) {
  const auto graph = graph_of(pipeline_of("inputs.numbers.all(x, x == 1)"));
  FakeScope scope(graph);
  scope.set_input("numbers", Value::List(static_cast<size_t>(kExpressionListMax) + 1, Value(1)));
  const auto value = resolve_output(*graph, 0, scope);
  ASSERT_FALSE(value.ok());
  EXPECT_EQ(
      value.status().message(),
      "output 'result' of pipeline 'e': a list of 1001 elements; an expression walks at most 1000");
}

TEST(Expression, TextThatGrowsTooLargeFailsTheStep) {
  const auto graph = graph_of(pipeline_of("inputs.text + inputs.text"));
  FakeScope scope(graph);
  scope.set_input("text", std::string(kExpressionResultBytesMax, 'x'));
  EXPECT_FALSE(resolve_output(*graph, 0, scope).ok());
}

// What is written anew from the checked tree reads as the same tree.
TEST(Expression, NormalTextIsAFixedPoint) {
  for (const char* expression : {"(1+2)*3-inputs.seven%2",
                                 "((inputs.seven))",
                                 "a_b",
                                 "!(has(inputs.maybe)&&true)||false",
                                 "-(-inputs.seven)",
                                 "inputs.maybe ?\? (1+2)",
                                 "(inputs.maybe ?\? 1)+2",
                                 "inputs.seven-(1-2)",
                                 "(inputs.seven>1?'a':'b')+\"c\"",
                                 "true?1:false?2:3",
                                 "(true?true:false)?1:2",
                                 "inputs.numbers.map(x,x+1)[0]",
                                 "inputs.doc['a b'].c ?\? 0",
                                 "{'a':[1,2]}.a[0]",
                                 "30s*2==1m",
                                 "(-1).size",
                                 "inputs.text.matches('a\\\\.b')",
                                 "inputs.wait/1500ms",
                                 "1.0+2.50",
                                 "'it\\'s \"x\"'",
                                 "inputs.half ?\? 1",
                                 "(1<2)==(2<3)",
                                 "[1,2.5]"}) {
    const ParsedPipeline first = parse_pipeline(pipeline_of(expression), fake_catalogue());
    if (first.graph == nullptr) continue;  // some rows only show that nothing breaks
    std::string text = template_text(*first.graph, first.graph->outputs[0].source);
    ASSERT_TRUE(text.starts_with("${{ ") && text.ends_with(" }}")) << text;
    text = text.substr(4, text.size() - 7);
    const ParsedPipeline second = parse_pipeline(pipeline_of(text), fake_catalogue());
    ASSERT_NE(second.graph, nullptr) << text;
    EXPECT_EQ(second.graph->digest, first.graph->digest) << expression << " -> " << text;
  }
  const auto text_of = [](const char* expression) {
    const auto graph = graph_of(pipeline_of(expression));
    return template_text(*graph, graph->outputs[0].source);
  };
  EXPECT_EQ(text_of("(1+2)*3-inputs.seven%2"), "${{ (1 + 2) * 3 - inputs.seven % 2 }}");
  EXPECT_EQ(text_of("(inputs.maybe??1)+0.50"), "${{ (inputs.maybe ?\? 1) + 0.5 }}");
  EXPECT_EQ(text_of("60s+inputs.wait"), "${{ 1m + inputs.wait }}");
}

}  // namespace
}  // namespace millrace
