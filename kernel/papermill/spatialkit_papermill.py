"""Teaches papermill to write parameters in Rust.

papermill imports this module with its engines. The cell it then injects is the one that
`spatialkit-kernel exec -p` injects: each value as the type that the cell tagged `parameters` gives
it. Beyond that, lists are written for `Vec<T>` and `&[T]`, and a parameter which that cell lacks,
of which papermill only warns, gets the type that its value suggests.
"""

import math
import re
import unicodedata
from contextvars import ContextVar

from papermill.engines import NBClientEngine
from papermill.exceptions import PapermillException
from papermill.models import Parameter
from papermill.translators import Translator, papermill_translators

LET = re.compile(
    r"\s*let\s+(?P<mut>mut\s+)?(?P<name>\w+)\s*(?::(?P<type>[^=]+))?="
    r"\s*(?P<value>.*?)\s*(?:;\s*(?://\s*(?P<help>.*))?)?$"
)
INTEGERS = {f"{sign}{bits}": (sign, bits) for sign in "iu" for bits in (8, 16, 32, 64)}
INTEGERS |= {"isize": ("i", 64), "usize": ("u", 64)}
STRINGS = {
    "&str": "{}",
    "&'staticstr": "{}",
    "String": "String::from({})",
    "std::string::String": "String::from({})",
    "PathBuf": "std::path::PathBuf::from({})",
    "std::path::PathBuf": "std::path::PathBuf::from({})",
}
ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}

# The parameters of the notebook at hand: papermill inspects it right before it writes the values,
# and hands over the values alone.
declared = ContextVar("declared", default={})


class RustEngine(NBClientEngine):
    """papermill's own engine, as `--engine spatialkit`."""


class RustTranslator(Translator):
    @classmethod
    def comment(cls, text):
        return f"// {text}".strip()

    @classmethod
    def inspect(cls, parameters_cell):
        found = [m for m in map(LET.match, parameters_cell["source"].splitlines()) if m]
        kinds = {m["name"]: (m["mut"], kind_of(m)) for m in found}
        declared.set(kinds)
        return [
            Parameter(m["name"], str(kinds[m["name"]][1]), m["value"], m["help"] or "")
            for m in found
        ]

    @classmethod
    def codify(cls, parameters, comment="Parameters"):
        known = declared.get()
        declared.set({})
        lines = [cls.comment(comment)]
        for name, value in parameters.items():
            if not name.isidentifier():
                raise PapermillException(f"`{name}` is not a name in Rust")
            mutable, kind = known.get(name, (None, None))
            try:
                kind = kind or suggested(value)
                text = literal(kind, value)
            except ValueError as error:
                of = f" the type of `{name}` is {kind};" if kind else ""
                raise PapermillException(f"parameter {name} = {value!r}:{of} {error}") from None
            lines.append(f"let {'mut ' if mutable else ''}{name}: {kind} = {text};")
        return "\n".join(lines)

    @classmethod
    def translate(cls, val):
        return literal(suggested(val), val)


def kind_of(found):
    """The type of a parameter; None if neither it nor the default says."""
    if found["type"]:
        return found["type"].strip()
    value = found["value"]
    if value.startswith(('"', 'r"', "r#")):
        return "&str"
    if value in ("true", "false"):
        return "bool"
    number = re.fullmatch(r"-?\d[\d_]*(\.[\d_]*)?(e[+-]?\d+)?_?([iuf]\w+)?", value)
    if not number:
        return None
    return number[3] or ("f64" if number[1] or number[2] else "i32")


def suggested(value):
    """A type for a value of a parameter that has none."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        fits = (kind for kind in ("i32", "i64", "u64") if value in range_of(kind))
        return next(fits, "i64")
    if isinstance(value, float):
        return "f64"
    if isinstance(value, str):
        return "&str"
    if isinstance(value, list):
        kinds = {suggested(v) for v in value}
        if len(kinds) == 1:
            return f"Vec<{kinds.pop()}>"
        raise ValueError("what a list holds must be of one type; declare it in the notebook")
    raise ValueError(
        "declare the parameter as an Option in the notebook" if value is None
        else f"a {type(value).__name__} cannot be written in Rust"
    )


def range_of(kind):
    sign, bits = INTEGERS[kind]
    return range(-(1 << bits - 1), 1 << bits - 1) if sign == "i" else range(1 << bits)


def literal(kind, value):
    """A value in Rust. Text is read as the type, as on a command line."""
    compact = re.sub(r"\s", "", kind)
    if option := re.fullmatch("Option<(.+)>", compact):
        if value is None or isinstance(value, str) and value.lower() in ("", "none"):
            return "None"
        return f"Some({literal(option[1], value)})"
    if items := re.fullmatch(r"Vec<(.+)>|&\[(.+)\]", compact):
        if not isinstance(value, list):
            raise ValueError("it must be a list")
        inner = ", ".join(literal(items[1] or items[2], v) for v in value)
        return f"vec![{inner}]" if items[1] else f"&[{inner}]"
    if value is None or not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"a {type(value).__name__} cannot be written as it")
    if compact in STRINGS:
        if not isinstance(value, str):
            raise ValueError("it must be text (on the command line: -r instead of -p)")
        return STRINGS[compact].format(quoted(value))
    text = str(value).strip()
    if compact == "bool":
        if text.lower() in ("true", "1", "yes"):
            return "true"
        if text.lower() in ("false", "0", "no"):
            return "false"
        raise ValueError("it must be true or false")
    if compact in INTEGERS:
        bounds = range_of(compact)
        whole = re.fullmatch(r"[+-]?[0-9_]*[0-9][0-9_]*", text)
        if not whole or int(text.replace("_", "")) not in bounds:
            raise ValueError(f"it must be a whole number from {bounds[0]} to {bounds[-1]}")
        return str(int(text.replace("_", "")))
    if compact in ("f32", "f64"):
        try:
            return decimal(compact, float(text))
        except ValueError:
            raise ValueError("it must be a number") from None
    raise ValueError("values of this type cannot be given")


def decimal(kind, number):
    if math.isnan(number):
        return f"{kind}::NAN"
    if math.isinf(number):
        return f"{kind}::{'NEG_' if number < 0 else ''}INFINITY"
    digits, e, exponent = repr(number).partition("e")
    return f"{digits}e{int(exponent)}" if e else digits


def quoted(text):
    """A string as Rust's `{:?}` writes it."""
    def escaped(c):
        if "\ud800" <= c <= "\udfff":
            raise ValueError("it is not valid Unicode")
        shown = c.isprintable() and unicodedata.category(c) not in ("Mn", "Me")
        return ESCAPES.get(c) or (c if shown else f"\\u{{{ord(c):x}}}")

    return f'"{"".join(map(escaped, text))}"'


papermill_translators.register("rust", RustTranslator)
