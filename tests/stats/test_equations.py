import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.stats.crossproducts import Effect, cross
from ablate.stats.equations import Absorbed, Grouped

KINDS = ["crossed", "slopes", "directions", "groups", "plain"]


def example(kind, seed):
    """A small design, the rows' matrices G in the order of θ, and a θ."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(14, 30))
    x = np.column_stack([np.ones(n), rng.normal(size=n)])
    a, b = rng.integers(0, 4, n), rng.integers(0, 5, n)
    groups = np.arange(n) % 2
    covariate, directions = rng.normal(size=n), rng.normal(size=(n, 2))
    effects = {
        "crossed": [Effect(a), Effect(b), Effect(np.arange(n) // 3)],
        "slopes": [Effect(b, np.column_stack([np.ones(n), covariate]), unstructured=True), Effect(a)],
        "directions": [Effect(a, directions), Effect(b, covariate)],
        "groups": [Effect(a, groups * 1.0), Effect(b, directions, unstructured=True)],
        "plain": [],
    }[kind]
    theta = list(rng.uniform(0.2, 2, len(effects)))
    if kind == "crossed":
        theta[int(rng.integers(3))] = 0.0
    if kind in ("slopes", "groups"):
        place = 0 if kind == "slopes" else 1
        theta[place : place + 1] = [1.3, 0.4, 0.7]
    matrices = [g for effect in effects for g in spelt_out(effect)]
    matrices += [np.diag(groups == g) * 1.0 for g in range(2)] if kind == "groups" else [np.eye(n)]
    theta += [0.8, 1.5] if kind == "groups" else [0.9]
    return x, rng.normal(size=n), effects, groups if kind == "groups" else None, matrices, np.array(theta)


def spelt_out(effect):
    same = np.equal.outer(np.asarray(effect.codes), np.asarray(effect.codes))
    basis = effect.columns
    if not effect.unstructured:
        return [same * (basis @ basis.T)]
    pairs = [(0, 0), (1, 0), (1, 1)]
    outer = [np.outer(basis[:, r], basis[:, s]) for r, s in pairs]
    return [same * (g if r == s else g + g.T) for g, (r, s) in zip(outer, pairs, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 2**32 - 1))
def test_every_piece_equals_its_formula_with_whole_matrices(kind, seed):
    x, y, effects, groups, matrices, theta = example(kind, seed)
    found = (Absorbed if groups is None else Grouped)(cross(y, x, effects, groups), theta)
    n, p = x.shape
    v = np.einsum("i,iab->ab", theta, matrices)
    inverse = np.linalg.inv(v)
    c = np.linalg.inv(x.T @ inverse @ x)
    projector = inverse - inverse @ x @ c @ x.T @ inverse
    r = projector @ y
    logs = np.linalg.slogdet(v)[1] + np.linalg.slogdet(np.linalg.inv(c))[1] + y @ r + (n - p) * np.log(2 * np.pi)
    assert found.log_likelihood == pytest.approx(-logs / 2, rel=1e-9, abs=1e-9)
    assert found.beta == pytest.approx(c @ x.T @ inverse @ y, rel=1e-7, abs=1e-9)
    assert found.covariance == pytest.approx(c, rel=1e-8, abs=1e-10)
    products = [projector @ g for g in matrices]
    assert found.traces == pytest.approx([np.trace(a) for a in products], rel=1e-7, abs=1e-8)
    assert found.squares == pytest.approx([r @ g @ r for g in matrices], rel=1e-7, abs=1e-8)
    expected = [[0.5 * np.sum(a * b.T) for b in products] for a in products]
    assert found.information == pytest.approx(np.array(expected), rel=1e-7, abs=1e-8)
    average = np.array([[0.5 * r @ g @ projector @ h @ r for h in matrices] for g in matrices])
    assert found.average == pytest.approx(average, rel=1e-7, abs=1e-8)
    to = np.array([[1.0, 0.5], [0.0, 2.0]])
    side = inverse @ x @ c @ to
    first, second = found.slopes(to)
    assert first == pytest.approx(np.array([side.T @ g @ side for g in matrices]), rel=1e-7, abs=1e-8)
    expected = np.array([[side.T @ g @ projector @ h @ side for h in matrices] for g in matrices])
    assert second == pytest.approx(expected, rel=1e-7, abs=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_and_hessian_are_the_derivatives(kind):
    x, y, effects, groups, _, theta = example(kind, 1)
    design = cross(y, x, effects, groups)
    build = Absorbed if groups is None else Grouped
    here, step = build(design, theta), 1e-5
    for i in np.flatnonzero(theta > 0):
        shift = step * (np.arange(len(theta)) == i)
        up, down = build(design, theta + shift), build(design, theta - shift)
        slope = (up.log_likelihood - down.log_likelihood) / (2 * step)
        assert here.gradient[i] == pytest.approx(slope, rel=1e-6, abs=1e-6)
        curve = -(up.gradient - down.gradient) / (2 * step)
        assert here.hessian[i] == pytest.approx(curve, rel=1e-6, abs=1e-6)


def test_a_covariance_that_is_not_positive_definite_is_refused():
    x, y, effects, groups, _, theta = example("slopes", 2)
    theta[1] = 5.0
    with pytest.raises(np.linalg.LinAlgError):
        Absorbed(cross(y, x, effects, groups), theta)
