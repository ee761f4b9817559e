"""Runs notebooks through nbclient, the client behind nbconvert and papermill, in the installed
kernel `spatialkit`, and checks what a Jupyter user relies on. Prints one line per check."""

import sys

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook

SETUP = """
use spatialkit::prelude::*;
let slide = datasets::synthetic(&Synthetic::default())?;
"""


def client(notebook):
    return NotebookClient(notebook, kernel_name="spatialkit", timeout=300)


def outputs(cell):
    return [(o.output_type, sorted(o.get("data", {}))) for o in cell.outputs]


def several_outputs_and_errors():
    cells = [
        SETUP,
        "notebook::display(&pl::spatial(&slide, \"layer\"))?;\n"
        "println!(\"between\");\n"
        "notebook::display(&pl::spatial(&slide, \"array_row\"))?;",
        "let kept = 41;",
        "panic!(\"on purpose\");",
    ]
    notebook = new_notebook(cells=[new_code_cell(c) for c in cells])
    try:
        client(notebook).execute()
    except CellExecutionError as error:
        assert "on purpose" in str(error), error
        print("ok: a cell that panics raises")
    else:
        raise AssertionError("a cell that panics did not raise")
    kinds = outputs(notebook.cells[1])
    assert [k for k, _ in kinds] == ["display_data", "stream", "display_data"], kinds
    assert all("image/png" in mimes for kind, mimes in kinds if kind == "display_data"), kinds
    print("ok: two figures are two outputs, with the text between them")
    nbformat.validate(notebook)


def early_return_and_survival():
    cells = [
        "let kept = 41;",
        "let n: i32 = \"x\".parse()?;",
        "let broken: i32 = \"a\";",
        "std::panic::panic_any(\"p\");",
        "kept + 1",
    ]
    notebook = new_notebook(cells=[new_code_cell(c) for c in cells])
    runner = NotebookClient(notebook, kernel_name="spatialkit", timeout=300, allow_errors=True)
    runner.execute()
    for cell, word in zip(notebook.cells[1:4], ["invalid digit", "mismatched types", "p"]):
        errors = [o for o in cell.outputs if o.output_type == "error"]
        assert len(errors) == 1, cell.outputs
        shown = errors[0].evalue + "\n".join(errors[0].traceback)
        assert word in shown, (word, shown)
    assert "42" in str(notebook.cells[4].outputs), notebook.cells[4].outputs
    print("ok: `?`, compile error and panic are errors; earlier variables survive them")


def tutorial(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source = cell.source.replace("epochs: usize = 200", "epochs: usize = 20")
    client(notebook).execute()
    nbformat.validate(notebook)
    figures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    results = [o for c in notebook.cells for o in c.get("outputs", []) if "application/json" in o.get("data", {})]
    assert len(figures) >= 3, len(figures)
    assert results[-1].data["application/json"]["method"] == "stamgc"
    print("ok: the tutorial runs")


several_outputs_and_errors()
early_return_and_survival()
tutorial(sys.argv[1])
