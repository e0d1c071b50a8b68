"""Random formulas, as hypothesis strategies of text that Python would read the same way."""

from hypothesis import strategies as st

from sgdfit.formula.functions import FUNCTIONS

NAMES = ("a", "b", "x", "x1", "β", "lambda", "S", "E", "I", "N", "in", "Q", "_", "gamma")
INFIX = ("+", "-", "*", "/", "**")
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")

whole = st.integers(0, 12).map(str)
decimal = st.floats(1e-3, 1e3).map(lambda value: repr(round(value, 4)))
leaves = st.one_of(st.sampled_from(NAMES), st.sampled_from(NAMES), whole, decimal, st.just("pi"))


def _calls(part):
    unary = [name for name, form in FUNCTIONS.items() if form.arity == 1]
    binary = [name for name, form in FUNCTIONS.items() if form.arity == 2]
    return st.one_of(
        st.builds("{}({})".format, st.sampled_from(unary), part),
        st.builds("{}({}, {})".format, st.sampled_from(binary), part, part),
    )


def conditions(part):
    """Comparisons of ``part``, alone or joined."""
    simple = st.builds("{} {} {}".format, part, st.sampled_from(COMPARISONS), part)
    return st.one_of(
        simple,
        st.builds("not ({})".format, simple),
        st.builds("({}) {} ({})".format, simple, st.sampled_from(["and", "or"]), simple),
    )


def _grown(part):
    return st.one_of(
        st.builds("({} {} {})".format, part, st.sampled_from(INFIX), part),
        st.builds("({} {} {})".format, part, st.sampled_from(INFIX), part),
        st.builds("(-{})".format, part),
        _calls(part),
        st.builds("where({}, {}, {})".format, conditions(part), part, part),
    )


expressions = st.recursive(leaves, _grown, max_leaves=12)
