"""What a formula may not say: refused at once, the caret in place, and nothing ever executed."""

import contextlib
import math
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz
import sgdfit
from sgdfit.errors import FormulaError, SgdfitError
from sgdfit.formula.parsing import parse, parse_condition
from sgdfit.formula.reading import as_formula
from sgdfit.model.loss import as_loss
from sgdfit.model.parameters import declare

ALLOWED_SECONDS = 3.0  # of this thread alone; nothing here takes one


# The text, the sentence, and the text from the place where the caret stands.
REFUSED = [
    ("", "is empty", ""),
    ("y =", "right side of '=' is empty", ""),
    ("= x", "left side of '=' is empty", "= x"),
    ("y = a = b", "one '='", "= b"),
    ("y = a*x +", "cannot be read at the end", ""),
    ("y = a + * b", r"cannot be read at '\*'", "* b"),
    ("y = a if x > 0", "cannot be read at the end", ""),
    ("y = 2x", r"between '2' and 'x'; to multiply, write 2\*x", "x"),
    ("y = 2(x + 1)", r"before '\('", "(x + 1)"),
    ("y = a(x+1)", r"no function 'a'. To multiply, write a\*\(…\)", "a(x+1)"),
    ("y = a*exo(-b*t)", "no function 'exo'. Did you mean 'exp'", "exo(-b*t)"),
    ("exp()", "exp takes 1 argument, not 0", "exp()"),
    ("1 + max(a, b, c)", "max takes 2 arguments, not 3", "max(a, b, c)"),
    ("(a, b)", "cannot be read at ','", ", b)"),
    ("a*(b + (c)", "never closed", "(b + (c)"),
    ("a) + (b", "closes nothing", ") + (b"),
    ("`a + b", "backtick is never closed", "`a + b"),
    ("1_000*x", "plain decimals, such as 1000", "_000*x"),
    ("1e400", "too large", "1e400"),
    ("07*x", "cannot be read at '07'", "07*x"),
    ("a//b", r"write floor\(x/m\)", "//b"),
    ("a%b", r"write x - m\*floor\(x/m\)", "%b"),
    ("a!", "write not", "!"),
    ("np.exp(x)", r"write exp without the module", ".exp(x)"),
    ("a[]", "these brackets are empty", "a[]"),
    ("{x", "curly brackets", "{x"),
    ("f'{x}'", "holds no text", "'{x}'"),
    ("x; y", "one expression", "; y"),
    ("a + #comment", "has no place here", "#comment"),
    ("x\x00", r"U\+0000", "\x00"),
    ("١٢*x", "has no place here", "١٢*x"),
    ("1/0", "no finite real value", "1/0"),
    ("exp(exp(exp(exp(9))))", "no finite real value", "exp(exp(9))))"),
    ("9**9**9**9", "exponent 387420489 is beyond 1,000", "9**9**9"),
    ("10**200*10**200", "too large", "10**200*10**200"),
    ("x*(1e-300*1e-300)", "too small", "1e-300*1e-300)"),
    ("(2*x)**(10**9)", "beyond 1,000", "(2*x)**(10**9)"),
    ("x and y", "a condition such as x > 0", "x and y"),
    ("x > 0 & y > 0", r"stands in brackets, as in \(x > 0\)", "0 & y > 0"),
    ("where(x, 1, 2)", "a condition such as x > 0", "x, 1, 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sentence", "rest"), REFUSED)
def test_the_sentence_and_the_caret(text, sentence, rest):
    with pytest.raises(FormulaError, match=sentence) as caught:
        parse(text)
    if rest is not None:
        assert text[caught.value.position :] == rest
        line, caret = str(caught.value).splitlines()[-2:]
        assert len(caret) - 1 <= len(line)
        assert caret.strip() == "^"


HUGE = {
    "a megabyte": "x" * 1_000_000,
    "a long sum": "+".join(["x"] * 5_000),
    "5,000 brackets": "(" * 5_000 + "x" + ")" * 5_000,
    "nested calls": "exp(" * 100 + "x" + ")" * 100,
    "powers": "**".join(["a"] * 1_000),
    "not": "not " * 2_000 + "x > 0",
    "if else": "a if b > 0 else " * 500 + "c",
    "factors of huge powers": "*".join(["10**299"] * 500),
    "nested powers": "(" * 22 + "2*x" + ")**1000" * 22,
    "hostile fractions": "+".join(f"1/{p}" for p in range(3, 1400, 2)),
    "conditions": " and ".join(f"(x > {i})" for i in range(250)),
    "a chain of comparisons": "<".join(f"k{i}" for i in range(700)),
    "roots": "sqrt(" * 24 + "2" + ")" * 24,
    "absolute values": "abs(a - " * 24 + "x" + ")" * 24,
    "a comparison of powers": "where(" + "(" * 22 + "a - b" + ")**2*x - c" * 22 + " < a, 1, 2)",
    "an undecided zero": "sign(sin(1)**2 + cos(1)**2 - 1)*floor(10**250*pi)",
}


BEYOND = {"a megabyte", "a long sum", "5,000 brackets", "nested calls", "powers", "not",
          "factors of huge powers", "nested powers"}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_it_is_read_or_refused_at_once(name):
    began = time.thread_time()
    with pytest.raises(FormulaError) if name in BEYOND else contextlib.suppress(FormulaError):
        assert parse(HUGE[name]) is not None
    assert time.thread_time() - began < ALLOWED_SECONDS


PAYLOADS = [
    "__import__('os').system('touch {}')",
    "().__class__.__base__.__subclasses__()",
    "eval('1')", "exec('1')", "open('{}', 'w')", "breakpoint()", "exit()", "input()",
    "globals()", "__builtins__", "print(1)", "getattr(x, y)", "compile(x, y, z)", "vars(x)",
    "%(x)s", "$(touch {})", "`touch {}`(1)", "x if exit() else y",
    "[c for c in ().__class__.__bases__]", "lambda: 0", "(lambda x: x)(1)", "sympify(x)",
    "S.One", "Symbol(x)", "Integer(1)", "Function(f)(x)", "_0", "_1(x)", "numpy.load(x)",
]  # fmt: skip
READERS = {
    "parse": parse,
    "parse_condition": parse_condition,
    "response": lambda text: as_formula("a*x", response=text),
    "loss": as_loss,
    "start": lambda text: declare(parse("y = a*x"), ["a"], start=text),
    "start of": lambda text: declare(parse("y = a*x"), ["a"], start={"a": text}),
    "bounds": lambda text: declare(parse("y = a*x"), ["a"], bounds=text),
    "fixed": lambda text: declare(parse("y = a*x"), ["a"], fixed=text),
    "tied": lambda text: declare(parse("y = a*x"), ["a"], tied=text),
    "tied to": lambda text: declare(parse("y = a*x"), ["a"], tied={"a": text}),
}
HARMLESS = {"__builtins__", "_0", "`touch {}`(1)"}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_is_executed(payload, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("system", "popen", "_exit"):
        monkeypatch.setattr(os, name, lambda *a: pytest.fail("a formula was executed"))
    for name, read in READERS.items():
        harmless = payload in HARMLESS and name in ("parse", "response")
        with contextlib.suppress(FormulaError) if harmless else pytest.raises(SgdfitError):
            read(payload.replace("{}", str(tmp_path / "trap")))
    assert list(tmp_path.iterdir()) == []


CONSTANTS = [
    "exp2(10**12)*x", "expm1(xlogy(10**300, sqrt(2)))", "ceil(3**exp(-10**300))", "log10(2)",
    "log2(3)", "10**log10(3)", "tan(exp(2))", "asin(cos(10**300))", "atan(tan(10**300))",
    "floor(10**250*pi)", "floor(10**300*sqrt(2))", "sin(exp(600))", "ceil(exp(690))",
    "logaddexp(10**300, 1)", "hypot(arctan2(b, 1e-300), x*(a > a**x))",
]  # fmt: skip


@pytest.mark.parametrize("part", [*CONSTANTS, "sqrt(-x**2 - 1)", "sqrt(-exp(x))"])
def test_what_has_no_real_value_is_said_to(part):
    assert fuzz.fault_of(f"y = a*x + {part}") is None


def test_constants_have_the_value_of_math():
    formula = "log10(2) + log2(3) + tan(exp(2)) + asin(cos(10**300))"
    expected = math.log10(2) + math.log2(3) + math.tan(math.exp(2)) + math.asin(math.cos(1e300))
    result = sgdfit.fit(f"y = a + {formula}", {"y": [5.0, 5.0, 5.0]}, constant=True)
    assert result.estimates["a"].value == pytest.approx(5.0 - expected, rel=1e-14)


def test_random_texts_are_read_or_refused_at_once():
    found = {text: fuzz.fault_of(text, paper=False) for text in map(fuzz.written, range(400))}
    assert not {text: fault for text, fault in found.items() if fault}


PIECES = st.sampled_from(
    ["a", "x", "2", "1e9", "0", "+", "-", "*", "/", "**", "^", "(", ")", ",", "=", "==", "<", ">",
     "~", "&", "|", "not ", "and ", "or ", "if ", "else ", "exp(", "where(", "max(", "log(", "pi",
     "`", "'", ".", "[", "]", "²", "−", "\n", "\t", " ", "lambda ", "__class__", ":", "%", "//"]
)  # fmt: skip
texts = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=30).map("".join))


@settings(max_examples=800)
@given(text=texts, reader=st.sampled_from([*READERS]))
def test_only_our_own_errors_escape(reader, text):
    began = time.thread_time()
    with contextlib.suppress(FormulaError if reader.startswith("parse") else SgdfitError):
        READERS[reader](text)
    assert time.thread_time() - began < ALLOWED_SECONDS
