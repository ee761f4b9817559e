"""Jupyter's own conformance suite, jupyter_kernel_test, on the installed kernel `spatialkit`. Prints
one line per test; a test that fails, or that the suite skips although it applies, is an error."""

import sys
import unittest

import jupyter_kernel_test
from jupyter_kernel_test.msgspec_v5 import validate_message

# The suite has no other test that cannot apply.
NOT_OFFERED = {"test_pager": "the kernel has no pager"}

# Seconds for a cell; the suite's 15 are short for a compiler on a busy machine.
PATIENCE = 120

FIGURE = """use spatialkit::prelude::*;
let slide = datasets::synthetic(&Synthetic::default())?;
notebook::display(&pl::spatial(&slide, "layer"))?;"""

ERRORS = [
    'panic!("on purpose");',
    'std::panic::panic_any("on purpose");',
    'let number: i32 = "x".parse()?;',
    'let number: i32 = "x";',
    "no_such_name",
    "let unfinished = ;",
    "[1, 2][\"x\".len() + 1];",
]

INSPECTED = [
    "String::from",
    "let text = String::new(); text.is_empty",
    "let words = \"日本\".chars",
    "Vec::<u8>::with_capacity",
    "kept_spots",
    "spatialkit::datasets::synthetic",
]


class Conformance(jupyter_kernel_test.KernelTests):
    kernel_name = "spatialkit"
    language_name = "rust"
    file_extension = ".rs"

    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("a warning");'
    code_clear_output = """println!("gone");
spatialkit::notebook::clear_output(false);"""

    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": 'format!("{}-{}", 1, "ü")', "result": '"1-ü"'},
        {"code": "let spots = vec![1, 2, 3];\nspots.clone()", "result": "[1, 2, 3]"},
        {"code": "(1.5, Some('x'))", "result": "(1.5, Some('x'))"},
    ]
    code_display_data = [
        {"code": FIGURE, "mime": "image/png"},
        {"code": FIGURE.replace('notebook::display(&pl::spatial(&slide, "layer"))?;', "slide"),
         "mime": "text/html"},
        {"code": 'spatialkit::notebook::html("<b>bold</b>");', "mime": "text/html"},
        {"code": 'spatialkit::notebook::markdown("**bold**");', "mime": "text/markdown"},
    ]
    code_generate_error = ERRORS[0]

    completion_samples = [
        {"text": "std::collections::HashM", "matches": {"HashMap"}},
        {"text": "let text = String::new(); text.is_emp", "matches": {"is_empty()"}},
        {"text": 'let é = "日本"; é.is_char_b', "matches": {"is_char_boundary(index)"}},
        {"text": "kept_sp", "matches": {"kept_spots"}},
        {"text": "spatialkit::datasets::Synth", "matches": {"Synthetic"}},
        {"text": "let nothing = 1; nothing.no_such_metho", "matches": set()},
    ]
    complete_code_samples = [
        "",
        "1 + 1",
        "// a remark",
        "let n = 1;",
        "let n = 1; n",
        "use std::fmt;",
        "fn one() -> u8 {\n    1\n}",
        "struct Spot;",
        "let open = '{'; let quote = '\"';",
        'let text = r#"{"#;',
        "fn first<'a>(text: &'a str) -> &'a str { text }",
        "for i in 0..3 {\n    println!(\"{i}\");\n}",
        'println!("{");',
        "let add = |a, b| a + b;",
    ]
    incomplete_code_samples = [
        "fn one() {",
        "let n =",
        "let n: u8 =",
        "1 +",
        "let numbers = vec![1,",
        'println!("a"',
        '"abc',
        'r#"abc"',
        "/* a remark",
        "if true {\n    1",
        "match 1 {\n    1 => 2,",
        "struct Spot {",
        "#[derive(Debug)]",
        "impl Clone for",
        "fn one() ->",
    ]
    invalid_code_samples = [
        "fn one() }",
        ")",
        "let n = (1];",
        "let = 1;",
        "let n = ;",
        "fn 1one() {}",
        "1 +* ;",
        "struct struct;",
    ]

    code_inspect_sample = INSPECTED[0]
    code_history_pattern = "6 ? 7"
    supported_history_operations = ("tail", "range", "search")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.kc.execute_interactive("let kept_spots = 3;", timeout=PATIENCE)

    def execute_helper(self, code, timeout=PATIENCE, **more):
        return super().execute_helper(code, timeout, **more)

    def get_non_kernel_info_reply(self, timeout=PATIENCE):
        return super().get_non_kernel_info_reply(timeout)

    # The suite tries one sample of each.

    def test_error(self):
        for code in ERRORS:
            with self.subTest(code=code):
                self.code_generate_error = code
                super().test_error()

    def test_inspect(self):
        for code in INSPECTED:
            with self.subTest(code=code):
                self.code_inspect_sample = code
                super().test_inspect()

    def check_is_complete(self, sample, status):
        with self.subTest(code=sample):
            super().check_is_complete(sample, status)

    # What the suite leaves out.

    def test_input(self):
        self.flush_channels()
        code = 'let name = spatialkit::notebook::input("name? ")?; name'
        request = self.kc.execute(code, allow_stdin=True)
        question = self.kc.get_stdin_msg(timeout=PATIENCE)
        self.kc.input("Zoë")
        # Not the suite's scheme: its `password` is a number, the protocol's a bool.
        self.assertEqual(question["msg_type"], "input_request")
        self.assertEqual(question["parent_header"]["msg_id"], request)
        self.assertEqual(question["content"], {"prompt": "name? ", "password": False})
        reply = self.get_non_kernel_info_reply(timeout=PATIENCE)
        validate_message(reply, "execute_reply", request)
        self.assertEqual(reply["content"]["status"], "ok")
        results = []
        while (message := self.kc.get_iopub_msg(timeout=1))["content"] != {"execution_state": "idle"}:
            if message["msg_type"] == "execute_result":
                results.append(message["content"]["data"]["text/plain"])
        self.assertEqual(results, ['"Zoë"'])

    def test_user_expressions(self):
        self.flush_channels()
        expressions = {"sum": "kept_spots + 1", "wrong": "no_such_name"}
        request = self.kc.execute("let one = 1;", user_expressions=expressions)
        reply = self.get_non_kernel_info_reply(timeout=PATIENCE)
        validate_message(reply, "execute_reply", request)
        found = reply["content"]["user_expressions"]
        self.assertEqual(found["sum"]["status"], "ok")
        self.assertEqual(found["sum"]["data"]["text/plain"], "4")
        self.assertEqual(found["wrong"]["status"], "error")


class Result(unittest.TestResult):
    """One line per test, and each failed sample of it."""

    def startTest(self, test):
        super().startTest(test)
        self.bad = []

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.note(err, subtest._subDescription())
        super().addSubTest(test, subtest, err)

    def addFailure(self, test, err):
        self.note(err)
        super().addFailure(test, err)

    def addError(self, test, err):
        self.note(err)
        super().addError(test, err)

    def addSkip(self, test, reason):
        name = getattr(test, "test_case", test)._testMethodName
        if name in NOT_OFFERED:
            self.bad = None
            print(f"skipped: {name}: {NOT_OFFERED[name]}", flush=True)
        else:
            self.bad.append(f"skipped: {reason}")
            self.unexpectedSuccesses.append(test)
        super().addSkip(test, reason)

    def note(self, err, sample=""):
        self.bad.append(f"{sample} {err[0].__name__}: {err[1]}".strip())

    def stopTest(self, test):
        if self.bad is not None:
            verdict = "FAILED" if self.bad else "ok"
            print(f"{verdict}: {test._testMethodName}", *self.bad, sep="\n  ", flush=True)
        super().stopTest(test)


result = Result()
unittest.defaultTestLoader.loadTestsFromTestCase(Conformance).run(result)
for _, trace in result.errors + result.failures:
    print(trace, file=sys.stderr)
sys.exit(not result.wasSuccessful())
