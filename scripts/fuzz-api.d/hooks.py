"""What no OpenAPI document can say: which texts are a place in our own paths, of which it is said here how to make some, and
which parameters count beside others."""

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


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A wrong `lat` or `lon` is no fault of who names the place by `q`, `id` or `zip`, too: it is not looked at."""
    if type(failure).__name__ != "AcceptedNegativeData":
        return True
    data = case.meta.phase.data
    wrong = {getattr(data, "parameter", None), *(one.parameter for one in getattr(data, "mutations", None) or [])} - {None}
    named = any(str((case.query or {}).get(name) or "").strip() for name in ("q", "id", "zip"))
    return not (named and wrong and wrong <= {"lat", "lon"})
