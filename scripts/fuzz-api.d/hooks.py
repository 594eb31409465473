"""Which texts are a place in our own paths: no expression says what occurs in names, so it is said here how to make some."""

import schemathesis
from hypothesis import strategies as st

LETTERS = st.characters(categories=["Ll", "Lu"], max_codepoint=0x24F)
WORD = st.text(LETTERS, min_size=2, max_size=12)
NAME = st.lists(st.lists(WORD, min_size=1, max_size=2).map(" ".join), min_size=1, max_size=3).map(",".join)


def degrees(most):
    return st.floats(-most, most).map(lambda number: f"{number:.4f}")


PLACE = st.one_of(
    NAME,
    st.tuples(degrees(90), degrees(180)).map(",".join),
    st.integers(1, 10**9).map(lambda number: f"id:{number}"),
    st.tuples(st.integers(10000, 99999), st.sampled_from(["US", "DE", "FR"])).map(lambda code: f"zip:{code[0]},{code[1]}"),
)

schemathesis.openapi.format("location", PLACE)
