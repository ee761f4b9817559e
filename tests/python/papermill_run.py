"""Runs notebooks with parameters in the installed kernel `spatialkit` through papermill, which
learns Rust from kernel/papermill, and through nbconvert. Prints one line per check. Its argument is
the kernel's executable, whose own runner must inject the same cell."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

KERNEL = sys.argv[1]
PACKAGE = Path(__file__).resolve().parents[2] / "kernel/papermill"
FOLDER = tempfile.TemporaryDirectory()
HERE = Path(FOLDER.name)

DEFAULTS = """let text: &str = "";
let mut count: usize = 7; // how many
let rate: f64 = 0.5;
let flag = false;
let offset = 1;
let limit: Option<u8> = None;
let owned: String = String::new();"""
VALUES = {
    "text": 'a "quoted" \\ line\n\tünï 日本',
    "count": 3,
    "rate": 1e-5,
    "flag": True,
    "offset": -2,
    "limit": 9,
    "owned": "x",
}
SHOW = 'println!("{text:?} {count} {rate:?} {flag} {offset} {limit:?} {owned}");'
SHOWN = '"a \\"quoted\\" \\\\ line\\n\\tünï 日本" 3 1e-5 true -2 Some(9) x'
TYPES = "count += 1;\nlet typed: (&str, usize, f64, bool, i32, Option<u8>, String) =\n" \
    "    (text, count, rate, flag, offset, limit, owned.clone());\ntyped.1"


def install():
    """The package as pip installs it, in a folder of its own; without the network."""
    source, target = HERE / "source", HERE / "packages"
    shutil.copytree(PACKAGE, source)  # pip builds where the source lies
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", target, source], check=True)
    sys.path.insert(0, str(target))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(target), *([before] if before else [])])


def notebook(name, *codes):
    cells = [new_code_cell(DEFAULTS, metadata={"tags": ["parameters"]})]
    cells += [new_code_cell(code) for code in codes]
    spec = {"name": "spatialkit", "display_name": "Rust (spatialkit)", "language": "rust"}
    path = HERE / name
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": spec}), path)
    return path


def run(*command):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, cwd=HERE)
    return done.returncode, done.stdout + done.stderr


def outcome(path):
    """The injected cell and what the cells printed; the file must be valid."""
    made = nbformat.read(path, as_version=4)
    nbformat.validate(made)
    assert (made.nbformat, made.nbformat_minor) >= (4, 5), made.nbformat_minor
    injected = [c.source for c in made.cells if "injected-parameters" in c.metadata.get("tags", [])]
    outputs = [o for c in made.cells for o in c.get("outputs", [])]
    printed = "".join(o.text for o in outputs if o.output_type == "stream" and o.name == "stdout")
    values = [o.data["text/plain"] for o in outputs if o.output_type == "execute_result"]
    assert len(injected) == 1, injected
    return injected[0], printed.strip(), values


def values_arrive(papermill):
    path, out = notebook("in.ipynb", SHOW, TYPES), HERE / "out.ipynb"
    papermill.execute_notebook(path, out, VALUES, kernel_name="spatialkit", progress_bar=False)
    injected, printed, values = outcome(out)
    assert printed == SHOWN, printed
    assert values == ["4"], values
    print("ok: values reach the cells with the types that the notebook gives them")

    native = HERE / "native.ipynb"
    flags = [f for k, v in VALUES.items() for f in ("-p", f"{k}={v}")]
    code, said = run(KERNEL, "exec", path, "-o", native, *flags)
    assert code == 0, said
    assert outcome(native) == (injected, printed, values), (outcome(native), injected)
    print("ok: the kernel's own runner injects the same cell")
    return path


def command_line(path):
    flags = ["-p", "count", "3", "-p", "rate", "2", "-p", "flag", "True", "-r", "text", "12"]
    papermill = [sys.executable, "-m", "papermill", "--no-progress-bar"]
    out = HERE / "cli.ipynb"
    code, said = run(*papermill, path, out, "-k", "spatialkit", "--engine", "spatialkit", *flags)
    assert code == 0, said
    _, printed, _ = outcome(out)
    assert printed == '"12" 3 2.0 true 1 None', printed
    print("ok: the command line")
    code, said = run(*papermill, "--help-notebook", path)
    assert code == 0 and "count: usize (default 7)" in said and "how many" in said, said
    print("ok: --help-notebook lists the parameters")


def refusals(papermill, path):
    from papermill.exceptions import PapermillException

    for given, word in [
        ({"count": -1}, "whole number from 0"),
        ({"count": 1.5}, "whole number"),
        ({"limit": 256}, "from 0 to 255"),
        ({"text": 5}, "must be text"),
        ({"flag": "perhaps"}, "true or false"),
        ({"rate": None}, "NoneType"),
        ({"more": {"a": 1}}, "dict"),
        ({"more": [1, "a"]}, "one type"),
    ]:
        try:
            papermill.execute_notebook(path, HERE / "refused.ipynb", given, prepare_only=True)
        except PapermillException as error:
            assert next(iter(given)) in str(error) and word in str(error), error
        else:
            raise AssertionError(f"{given} was not refused")
    papermill.execute_notebook(path, HERE / "more.ipynb", {"more": [1.0, 0.5]}, prepare_only=True)
    assert outcome(HERE / "more.ipynb")[0] == "// Parameters\nlet more: Vec<f64> = vec![1.0, 0.5];"
    print("ok: what cannot be written in Rust is refused by name")


def failing_cell(papermill):
    path = notebook("failing.ipynb", 'let number: i32 = text.parse()?;', "let late = 1;")
    out = HERE / "failed.ipynb"
    try:
        papermill.execute_notebook(path, out, {"text": "x"}, progress_bar=False)
    except papermill.PapermillExecutionError as error:
        assert "invalid digit" in str(error) and "invalid digit" in error.evalue, error
        assert error.source.startswith("let number"), error.source
    else:
        raise AssertionError("a failing cell did not raise")
    outcome(out)
    last = nbformat.read(out, as_version=4).cells[-1]
    assert last.execution_count is None, last
    print("ok: a failing cell raises, and the notebook is written up to it")


def nbconvert(path):
    executed = HERE / "converted.ipynb"
    convert = [sys.executable, "-m", "nbconvert", "--execute", "--output-dir", HERE]
    code, said = run(*convert, path, "--to", "notebook", "--output", executed.name)
    assert code == 0, said
    made = nbformat.read(executed, as_version=4)
    nbformat.validate(made)
    assert '"" 7 0.5 false 1 None' in made.cells[1].outputs[0].text, made.cells[1].outputs
    # Colours the code as the language that the notebook notes, which the first run has done.
    code, said = run(*convert, executed, "--to", "html", "--output", "converted.html")
    assert code == 0, said
    page = (HERE / "converted.html").read_text(encoding="utf-8")
    assert "0.5 false 1 None" in page and 'class="highlight hl-rust"' in page
    print("ok: nbconvert executes notebooks and makes pages of them")


install()
import papermill  # noqa: E402: it looks for the package when it is imported

path = values_arrive(papermill)
command_line(path)
refusals(papermill, path)
failing_cell(papermill)
nbconvert(path)
