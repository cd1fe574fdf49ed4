import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.stats.crossproducts import Effect, cross


def test_a_random_effect_has_a_column_for_every_level_and_draw():
    effect = Effect([1, 0, 1], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert effect.design().toarray().tolist() == [[0, 0, 1, 2], [3, 4, 0, 0], [0, 0, 5, 6]]
    assert Effect([1, 0, 1]).design().toarray().tolist() == [[0, 1], [1, 0], [0, 1]]
    assert len(effect.mixes) == 1
    assert len(Effect([0, 1], np.eye(2), unstructured=True).mixes) == 3


@given(st.integers(0, 2**32 - 1), st.booleans())
def test_cross_products_are_those_of_the_written_out_columns(seed, grouped):
    rng = np.random.default_rng(seed)
    n = 12
    x, y = rng.normal(size=(n, 2)), rng.normal(size=n)
    effects = [Effect(rng.permutation(n) % 3, rng.normal(size=n)), Effect(rng.permutation(n) % 6)]
    groups = np.arange(n) % 2 if grouped else None
    found = cross(y, x, effects, groups)
    z, own = (effect.design().toarray() for effect in effects)
    f = np.column_stack([x, y, z, own] if grouped else [x, y, z])
    for g, gram in enumerate(found.grams):
        rows = np.ones(n, bool) if groups is None else groups == g
        assert gram == pytest.approx(f[rows].T @ f[rows])
    if not grouped:  # the effect with the most levels stands apart
        assert found.absorbed == pytest.approx(own.T @ f)
        assert found.diagonal == pytest.approx((own**2).sum(0))
