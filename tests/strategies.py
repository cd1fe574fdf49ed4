"""What hypothesis draws: factors, and the awkward names that levels may have."""

from hypothesis import strategies as st

from ablate.factors import Factor, level_name

# Names that a CSV reader, a YAML parser or a spreadsheet would like to make something else of.
AWKWARD = [
    "null",
    "NA",
    "nan",
    "None",
    "1e3",
    "1.0",
    "true",
    "-inf",
    "a,b",
    'say "x"',
    "é",
    "=1+1",
    "007",
    " a",
    "∅",
]
KEYS = ["data", "objective", "size", "model.depth", "optim@head"]

level_text = st.one_of(
    st.sampled_from(AWKWARD),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(str.strip),
)
level = st.one_of(
    level_text,
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
)


@st.composite
def factor_lists(draw: st.DrawFn, max_factors: int = 3, max_levels: int = 4, levels: st.SearchStrategy = level):
    """One to three factors, each with two to four levels and any of them the baseline."""
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=max_factors, unique=True))
    factors = []
    for key in keys:
        values = draw(st.lists(levels, min_size=2, max_size=max_levels, unique_by=level_name))
        factors.append(Factor(key, tuple(values), baseline=draw(st.sampled_from(values))))
    return factors
