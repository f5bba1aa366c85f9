// Goal: the graph says when steps run, what they are passed, and who they are, and nothing that
// does not matter changes the last of these. Method: small pipelines parsed against the fake
// catalogue; masks, values and digests compared.
#include "engine/base/errors.h"
#include "engine/base/limits.h"
#include "engine/pipeline/diagnostics.h"
#include "engine/pipeline/render.h"
#include "engine/pipeline/schema.h"
#include "tests/pipeline/fake_catalogue.h"

namespace millrace {
namespace {

constexpr const char* kEdges = R"yaml(pipeline: edges
inputs: { on: bool, maybe: "int?" }
steps:
  a: { use: probe }
  b: { use: probe, if: inputs.on }
  reads: { use: probe, with: { text: "${{ steps.a.text }}" } }
  falls_back: { use: probe, with: { text: "${{ steps.b.text ?? 'x' }}" } }
  asks: { use: probe, if: "has(steps.b.text)", with: { text: "${{ steps.b.text }}" } }
  chooses: { use: probe, with: { text: "${{ has(steps.b.text) ? steps.b.text : 'x' }}" } }
  needs: { use: probe, needs: [a, b], with: { count: "${{ inputs.maybe }}" } }
  ends: { use: probe, needs: { a: done, b: succeeded } }
outputs:
  sure: ${{ steps.a.text }}
  perhaps: ${{ steps.b.text }}
  far: ${{ steps.needs.text }}
  covered: ${{ steps.falls_back.text }}
  both: ${{ steps.a.text }} and ${{ steps.b.text }}
)yaml";

TEST(Graph, EdgesSayWhoIsWaitedForAndWhoIsRequired) {
  const auto graph = graph_of(kEdges);
  const auto edges = [&](const char* id) {
    const StepNode& step = graph->steps[static_cast<size_t>(graph->step_index(id))];
    return std::pair<StepSet, StepSet>(step.after, step.require);
  };
  using Pair = std::pair<StepSet, StepSet>;
  EXPECT_EQ(edges("reads"), Pair(1, 1));
  EXPECT_EQ(edges("falls_back"), Pair(2, 0));
  EXPECT_EQ(edges("asks"), Pair(2, 0));
  EXPECT_EQ(edges("chooses"), Pair(2, 0));
  EXPECT_EQ(edges("needs"), Pair(3, 3));
  EXPECT_EQ(edges("ends"), Pair(3, 2));
}

TEST(Graph, AnOutputIsOptionalWhenAStepItReadsMayBeSkipped) {
  const auto graph = graph_of(kEdges);
  const auto optional = [&](const char* name) {
    return graph->outputs[static_cast<size_t>(graph->output_index(name))].type.optional;
  };
  EXPECT_FALSE(optional("sure"));
  EXPECT_TRUE(optional("perhaps"));
  EXPECT_TRUE(optional("far"));
  EXPECT_FALSE(optional("covered"));
  EXPECT_TRUE(optional("both"));
  FakeScope scope(graph);
  scope.set_output("a", "text", "x");
  EXPECT_TRUE(resolve_output(*graph, graph->output_index("both"), scope).value().is_null());
  scope.set_output("b", "text", "y");
  EXPECT_EQ(resolve_output(*graph, graph->output_index("both"), scope).value(), Value("x and y"));
}

TEST(Graph, AFullSetOfStepsIsAMask) {
  std::string yaml = "pipeline: full\nsteps:\n";
  for (int i = 0; i < kStepsMax; i++) yaml += fmt::format("  s{}: {{ use: noop }}\n", i);
  EXPECT_EQ(graph_of(yaml)->all_steps(), ~StepSet{0});
  EXPECT_EQ(graph_of(kEdges)->all_steps(), StepSet{0xff});
}

constexpr const char* kBase = R"(pipeline: same
inputs: { image: image, quality: { type: "int?", min: 1, max: 100 } }
steps:
  gray:
    use: grayscale
    with: { image: "${{ inputs.image }}", quality: "${{ inputs.quality }}" }
    timeout: 60s
outputs: { image: "${{ steps.gray.image }}", kind: "${{ steps.gray.media_type }}" }
)";

TEST(Identity, SpellingDoesNotCount) {
  const Digest digest = graph_of(kBase)->digest;
  EXPECT_EQ(graph_of(R"(# A comment.
outputs:
  kind: ${{steps.gray.media_type}}
  image: ${{   steps.gray.image   }}
steps:
  gray:
    timeout: 1m
    with:
      quality: ${{ (inputs.quality) }}
      image: ${{ inputs.image }}
    retry: { max: 1, jitter: full }   # the defaults
    use: grayscale
inputs:
  quality:
    max: 100
    min: 1
    type: int?
    description: how good
  image: { type: image }
description: the same again
pipeline: same
)")
                ->digest,
            digest);
}

TEST(Identity, WhatDecidesAJobCounts) {
  const std::string base = kBase;
  const Digest digest = graph_of(base)->digest;
  const auto changed = [&](std::string_view from, std::string_view to) {
    std::string yaml = base;
    yaml.replace(yaml.find(from), from.size(), to);
    return graph_of(yaml)->digest;
  };
  EXPECT_NE(changed("same", "other"), digest);
  EXPECT_NE(changed("60s", "61s"), digest);
  EXPECT_NE(changed("max: 100", "max: 99"), digest);
  EXPECT_NE(changed("timeout: 60s", "retry: { max: 2 }"), digest);
  EXPECT_NE(changed("inputs.quality }}", "inputs.quality ?? 5 }}"), digest);
  EXPECT_NE(changed("image: image", "image: { type: image, max: 1MiB }"), digest);
  EXPECT_NE(changed("kind: \"", "sort: \""), digest);
  // Records count steps by position, so their order is part of what a definition is.
  EXPECT_NE(graph_of("pipeline: o\nsteps: { a: { use: noop }, b: { use: noop } }\n")->digest,
            graph_of("pipeline: o\nsteps: { b: { use: noop }, a: { use: noop } }\n")->digest);
}

// A changed form makes every stored job's definition unusable: it must never change by accident.
TEST(Identity, IsStableAcrossVersions) {
  EXPECT_EQ(graph_of(kBase)->digest.text(),
            "sha256:72b15f29fcb0d7d1d455cc714eeafcf7ca63621037033d1fdf3bc9c2aaad5e01");
}

TEST(Resolve, DefaultsFillWhatIsAbsentOrUnset) {
  const auto graph = graph_of(kBase);
  FakeScope scope(graph);
  scope.set_input("image", blob_value("image/png", 1));
  auto with = resolve_with(*graph, 0, scope).value();
  EXPECT_EQ(with[1], Value("luma"));
  EXPECT_TRUE(with[2].is_null());
  scope.set_input("quality", 101);
  const auto refused = resolve_with(*graph, 0, scope);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().number(), errors::kExpressionFailed);
  EXPECT_EQ(refused.status().message(),
            "'quality' of step 'gray' of pipeline 'same': 101 is outside 1 to 100");
}

TEST(Resolve, ValuesBecomeWhatTheirPortWants) {
  const auto graph = graph_of(R"(pipeline: convert
inputs: { n: int, wait: duration, host: string, waits: list<duration> }
steps:
  p:
    use: probe
    with:
      ratio: ${{ inputs.n }}
      doc: { wait: "${{ inputs.wait }}", waits: "${{ inputs.waits }}", on: on, octal: 010, n: 1.50, t: "true" }
      link: https://${{ inputs.host }}/x
      text: ${{ inputs.wait }} ${{ inputs.n }}
      names: [a, "${{ inputs.host }}"]
      wait: 90s
)");
  FakeScope scope(graph);
  scope.set_input("n", 3)
      .set_input("wait", 90'000)
      .set_input("host", "h.org")
      .set_input("waits", Value::List{1000});
  const auto with = resolve_with(*graph, 0, scope).value();
  const auto port = [&](const char* name) {
    return canonical_json(with[static_cast<size_t>(graph->steps[0].decl->with_port(name))]);
  };
  EXPECT_EQ(with[static_cast<size_t>(graph->steps[0].decl->with_port("ratio"))], Value(3.0));
  EXPECT_EQ(port("doc"),
            R"({"n":1.5,"octal":"010","on":"on","t":"true","wait":"90s","waits":["1s"]})");
  EXPECT_EQ(port("link"), "\"https://h.org/x\"");
  EXPECT_EQ(port("text"), "\"90s 3\"");
  EXPECT_EQ(port("names"), R"(["a","h.org"])");
  EXPECT_EQ(port("wait"), "90000");
  EXPECT_EQ(port("mode"), "\"fast\"");
  scope.set_input("host", "h org");
  EXPECT_FALSE(resolve_with(*graph, 0, scope).ok());
}

TEST(Bind, SaysEveryProblemAtOnce) {
  const auto graph = graph_of(R"(pipeline: bind
inputs:
  image: { type: image, media: [image/jpeg], max: 1KiB }
  n: { type: int, min: 1, max: 5 }
  wait: { type: duration, default: 5s }
  link: "url?"
  doc: json?
steps:
  p: { use: noop, with: { value: ["${{ inputs.n }}", "${{ inputs.wait }}", "${{ inputs.link ?? '' }}", "${{ inputs.doc ?? 1 }}"] } }
  u: { use: upload, with: { image: "${{ inputs.image }}" } }
)");
  const auto bind = [&](Value::Map given) {
    std::vector<InputProblem> problems;
    const auto bound = bind_inputs(*graph, given, &problems);
    std::string text;
    for (const InputProblem& p : problems)
      text += fmt::format("{} {}: {}\n", error_code(p.number), p.input, p.message);
    if (problems.empty()) {
      for (size_t i = 1; i < bound.size(); i++) text += canonical_json(bound[i]) + " ";
    }
    return text;
  };
  const Value good = blob_value("image/jpeg", 1000);
  EXPECT_EQ(bind({{"image", good}, {"n", 3}}), "3 5000 null null ");
  EXPECT_EQ(bind({{"image", good},
                  {"n", 3},
                  {"wait", "2m"},
                  {"doc", Value::Map{{"a", 1}}},
                  {"link", "http://x.org"}}),
            "3 120000 \"http://x.org\" {\"a\":1} ");
  EXPECT_EQ(bind({{"image", blob_value("image/jpeg", 2000)}, {"n", 9}, {"wat", 1}}),
            "E017 image: upload is 2000 bytes, input 'image' of pipeline 'bind' takes at most "
            "1024 (1KiB)\n"
            "E011 n: input 'n' of pipeline 'bind': 9 is more than 5\n"
            "E009 wat: pipeline 'bind' has no input 'wat'; did you mean 'wait'?\n");
  EXPECT_EQ(
      bind({{"image", blob_value("image/png", 1)}, {"n", "3"}, {"link", "/path"}}),
      "E018 image: input 'image' of pipeline 'bind' takes image/jpeg, these bytes are image/png\n"
      "E011 n: input 'n' of pipeline 'bind' (int): text where int is wanted\n"
      "E011 link: input 'link' of pipeline 'bind': '/path' is no absolute address; write "
      "https://HOST/…\n");
  EXPECT_EQ(bind({{"image", blob_value("application/pdf", 1)}, {"n", Value()}}),
            "E018 image: input 'image' of pipeline 'bind' takes an image, these bytes are "
            "application/pdf\n"
            "E010 n: pipeline 'bind' needs the input 'n' (int)\n");
}

TEST(Types, TextFormIsExactAndAssignmentIsNarrow) {
  for (const char* text : {"int", "string?", "list<int>", "map<list<url>>?", "enum<a,b-c>",
                           "secret<string>", "image"}) {
    EXPECT_EQ(parse_type(text).value().text(), text);
  }
  for (const char* text :
       {"", "Int", "list", "list<int?>", "int??", "enum<>", "enum<a,a>", "list<int>>",
        "list<list<list<list<list<list<list<list<list<list<int>>>>>>>>>>"}) {
    EXPECT_FALSE(parse_type(text).ok()) << text;
  }
  const auto fits = [](const char* to, const char* from) {
    return assignable(parse_type(to).value(), parse_type(from).value());
  };
  EXPECT_TRUE(fits("int?", "int") && fits("blob", "image") && fits("float", "int") &&
              fits("string", "url"));
  EXPECT_TRUE(fits("string", "enum<a>") && fits("enum<a,b>", "enum<b>") &&
              fits("json", "list<duration>"));
  EXPECT_FALSE(fits("int", "int?") || fits("image", "blob") || fits("int", "float") ||
               fits("url", "string"));
  EXPECT_FALSE(fits("enum<a>", "enum<a,b>") || fits("json", "blob") || fits("int", "json") ||
               fits("int", "duration"));
}

TEST(Types, TextIsReadByTypeAndNeverGuessed) {
  const auto read = [](const char* type, const char* text) {
    const auto value = value_from_text(parse_type(type).value(), text);
    return value.ok() ? canonical_json(*value) : "refused";
  };
  EXPECT_EQ(read("string", "010"), "\"010\"");
  EXPECT_EQ(read("string", "on"), "\"on\"");
  EXPECT_EQ(read("string", ""), "\"\"");
  EXPECT_EQ(read("int", "010"), "refused");
  EXPECT_EQ(read("int", "9223372036854775807"), "9223372036854775807");
  EXPECT_EQ(read("int", "9223372036854775808"), "refused");
  EXPECT_EQ(read("int", "-0"), "0");
  EXPECT_EQ(read("int", "1.0"), "refused");
  EXPECT_EQ(read("float", "1e400"), "refused");
  EXPECT_EQ(read("float", "nan"), "refused");
  EXPECT_EQ(read("bool", "yes"), "refused");
  EXPECT_EQ(read("duration", "5"), "refused");
  EXPECT_EQ(read("size", "64KiB"), "65536");
  EXPECT_EQ(read("url", "ftp://x"), "refused");
  EXPECT_EQ(read("url", "https://x.org/a b"), "refused");
  EXPECT_EQ(read("list<int>", "[1,2]"), "[1,2]");
  EXPECT_EQ(read("list<int>", "[1,\"2\"]"), "refused");
  EXPECT_EQ(read("string", "\xff"), "refused");
  const Type waits = parse_type("map<duration>").value();
  EXPECT_EQ(canonical_json(value_for_view(waits, value_from_text(waits, R"({"a":"90s"})").value())),
            R"({"a":"90s"})");
}

TEST(Render, PicturesNameStepsAndEscapeText) {
  const auto graph = graph_of(R"yaml(pipeline: picture
inputs: { n: int }
steps:
  end: { use: probe }
  next: { use: probe, if: "inputs.n < 3 && 'ab' != '&'", with: { text: "${{ steps.end.text }}" } }
  last: { use: noop_keyed, needs: { next: done } }
)yaml");
  EXPECT_EQ(graph_dot(*graph), R"dot(digraph "picture" {
  rankdir=LR;
  node [shape=box, style=rounded];
  "end" [label="end\nprobe (pure)"];
  "next" [label="next\nprobe (pure)\nif inputs.n < 3 && \"ab\" != \"&\"", style="rounded,dashed"];
  "last" [label="last\nnoop_keyed (keyed)"];
  "end" -> "next";
  "next" -> "last" [style=dashed];
}
)dot");
  EXPECT_EQ(graph_mermaid(*graph), R"mermaid(flowchart LR
  s_end["end<br/>probe (pure)"]
  s_next["next<br/>probe (pure)<br/>if inputs.n #60; 3 #38;#38; #34;ab#34; != #34;#38;#34;"]
  s_last["last<br/>noop_keyed (keyed)"]
  s_end --> s_next
  s_next -.-> s_last
)mermaid");
  const std::string svg = graph_svg(*graph);
  EXPECT_TRUE(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
  EXPECT_NE(svg.find("inputs.n &lt; 3 &amp;&amp;"), std::string::npos);
}

TEST(Schema, KnowsEveryStepsPorts) {
  const std::string schema = canonical_json(pipeline_json_schema(*fake_catalogue()));
  for (const char* part :
       {"draft/2020-12", "\"luminance\"", "\"maximum\":100", "\"required\":[\"image\"]",
        "\"const\":\"noop_keyed\"", "\"worker_died\""}) {
    EXPECT_NE(schema.find(part), std::string::npos) << part;
  }
}

TEST(Diagnostics, ForMachines) {
  const std::string yaml = "pipeline: m\nsteps:\n  a: { use: nop } # é\n";
  const ParsedPipeline parsed = parse_pipeline(yaml, fake_catalogue());
  const std::vector<FileDiagnostics> files = {{"m.yaml", parsed.diagnostics, yaml}};
  EXPECT_EQ(
      diagnostics_json(files),
      R"({"files":[{"diagnostics":[{"code":"E039","column":13,"hint":"did you mean 'noop'?","line":3,)"
      R"("message":"step 'a' uses 'nop', no plugin offers such a step","severity":"error"}],"file":"m.yaml"}]})");
  const auto sarif = parse_json(diagnostics_sarif(files, "1.0")).value();
  EXPECT_EQ(*sarif.find("version"), Value("2.1.0"));
  const Value& result = sarif.find("runs")->as_list()[0].find("results")->as_list()[0];
  EXPECT_EQ(*result.find("ruleId"), Value("E039"));
  EXPECT_EQ(canonical_json(
                *result.find("locations")->as_list()[0].find("physicalLocation")->find("region")),
            R"({"endColumn":16,"startColumn":13,"startLine":3})");
}

TEST(Diagnostics, LinesMayEndAsOnWindows) {
  EXPECT_EQ(problems_of("pipeline: crlf\r\nsteps:\r\n  a:\r\n    use: nop\r\n    with:\r\n      "
                        "value: ${{ steps.bcd.value }}\r\n"),
            "4:10 E039 step 'a' uses 'nop', no plugin offers such a step [did you mean 'noop'?]\n"
            "6:24 E031 step 'a' reads 'bcd.value', no step is named 'bcd'\n");
}

TEST(Diagnostics, LongLinesAreCutAroundTheProblem) {
  const std::string yaml = "pipeline: long\nsteps:\n  a: { use: noop, with: { value: \"" +
                           std::string(500, 'x') + " ${{ nope }} " + std::string(500, 'y') +
                           "\" } }\n";
  const ParsedPipeline parsed = parse_pipeline(yaml, fake_catalogue());
  ASSERT_EQ(parsed.diagnostics.size(), 1u);
  const std::string text = format_diagnostic("f", yaml, parsed.diagnostics[0]);
  EXPECT_LT(text.size(), 600u);
  const size_t line = text.find('\n') + 1, caret_line = text.find('\n', line) + 1;
  const size_t caret = text.find('^') - caret_line;
  EXPECT_EQ(text.substr(line).substr(caret + 2, 4),
            "nope");  // the ellipsis has 3 bytes and 1 column
}

// Hostile files end in a diagnostic, soon: no crash, no deep recursion, no growth.
TEST(Hostile, FilesEndInADiagnostic) {
  const auto repeated = [](std::string_view text, size_t times) {
    std::string out;
    for (size_t i = 0; i < times; i++) out += text;
    return out;
  };
  const std::string head = "pipeline: h\nsteps:\n  a:\n    use: noop\n    with:\n      value: ";
  for (const std::string& yaml : {repeated("[", 100'000),
                                  repeated("{a: ", 50'000),
                                  repeated("- ", 100'000),
                                  repeated("? ", 100'000),
                                  repeated("&a ", 10'000),
                                  repeated("!", 10'000),
                                  std::string(1'000'000, 'a'),
                                  std::string(1, '\0'),
                                  head + std::string(40, 'x') + std::string(500, '\x80'),
                                  std::string(500, '\x80') + head,
                                  head + repeated("[", 40),
                                  head + "${{ " + repeated("(", 2000) + " }}",
                                  head + "${{ " + repeated("!", 4000) + "true }}",
                                  head + "${{ " + repeated("-", 4000) + "1 }}",
                                  head + "${{ 1" + repeated(".a", 2000) + " }}",
                                  head + "${{ 1" + repeated("[0]", 1300) + " }}",
                                  head + "${{ " + repeated("[", 3000) + " }}",
                                  head + "${{ " + repeated("true ? 1 : ", 300) + "1 }}",
                                  head + "${{ " + repeated("1+", 3000) + " }}",
                                  head + "\"" + repeated("${{ ", 10'000),
                                  head + "\"" + repeated("${{ x }}", 10'000) + "\"",
                                  "pipeline: k\n" + repeated("a: 1\n", 20'000),
                                  "pipeline: \"" + repeated("\\u0000", 10) + "\"\nsteps: {}"}) {
    const ParsedPipeline parsed = parse_pipeline(yaml, fake_catalogue());
    EXPECT_EQ(parsed.graph, nullptr) << yaml.substr(0, 80);
    ASSERT_FALSE(parsed.diagnostics.empty()) << yaml.substr(0, 80);
    EXPECT_LE(parsed.diagnostics.size(), static_cast<size_t>(kDiagnosticsMax) + 1);
    for (const Diagnostic& d : parsed.diagnostics)
      EXPECT_FALSE(format_diagnostic("f", yaml, d).empty());
  }
}

TEST(Hostile, LongChainsAreNoDeepTrees) {
  std::string sum = "1";
  for (int i = 0; i < 900; i++) sum += " + 1";
  const auto graph = graph_of(fmt::format(
      "pipeline: c\nsteps: {{ a: {{ use: noop }} }}\noutputs: {{ o: \"${{{{ {} }}}}\" }}\n", sum));
  EXPECT_EQ(resolve_output(*graph, 0, FakeScope(graph)).value(), Value(901));
}

}  // namespace
}  // namespace millrace
