"""Spreads: planted variances are found as often as promised, identical runs have none, sources add up if they do."""

import numpy as np
import pandas as pd
import pytest

from ablate.errors import RecordsError
from ablate.noises import plan_noise
from ablate.plans import plan
from ablate.records import Records
from ablate.stats.spreads import NEW, SAME, Noise, measure_noise, measure_spread

DOMAINS = ("clean", "blur", "fog", "rain")
RUN, ERROR = 0.5, 1.0


def draw(rng, runs, run=RUN, error=ERROR):
    """Scores of runs × domains whose domains differ in level, which is no noise."""
    scores = run * rng.normal(size=(runs, 1)) + error * rng.normal(size=(runs, len(DOMAINS)))
    return scores + np.arange(len(DOMAINS))


def test_planted_variances_are_found():
    found = measure_spread(draw(np.random.default_rng(1), 4000), DOMAINS)
    assert found.run == pytest.approx(RUN**2, rel=0.15)  # the variance of a run's mean is twice it: 3 standard errors
    assert found.error == pytest.approx(ERROR**2, rel=0.04)
    assert found.whole == pytest.approx(RUN**2 + ERROR**2 / 4, rel=0.07)
    assert list(found.variances.values()) == pytest.approx([RUN**2 + ERROR**2] * 4, rel=0.07)


def test_intervals_and_standard_errors_hold_what_they_promise():
    rng, truth = np.random.default_rng(2), RUN**2 + ERROR**2 / 4
    found = [measure_spread(draw(rng, 8), DOMAINS) for _ in range(1000)]
    low, high = found[0].stretch()
    whole = np.array([each.whole for each in found])
    assert ((low**2 * whole < truth) & (truth < high**2 * whole)).mean() == pytest.approx(0.95, abs=0.02)
    assert np.mean([each.se**2 for each in found]) == pytest.approx(whole.var(), rel=0.2)


def test_names_order_and_units_change_nothing():
    rng = np.random.default_rng(3)
    scores = draw(rng, 6)
    found, runs, places = measure_spread(scores, DOMAINS), rng.permutation(6), rng.permutation(4)
    other = measure_spread(7 - 3 * scores[runs][:, places], tuple(DOMAINS[i] for i in places))
    assert other.whole == pytest.approx(9 * found.whole)
    assert other.error == pytest.approx(9 * found.error)
    assert other.variances == pytest.approx({name: 9 * value for name, value in found.variances.items()})


def test_runs_that_are_the_same_have_a_variance_of_exactly_zero():
    found = measure_spread(np.tile([0.1, 0.7, 1 / 3], (7, 1)), DOMAINS[:3])
    assert (found.whole, found.error, found.run, found.is_nil) == (0, 0, 0, True)
    single = measure_spread(np.array([[1.0], [2.0]]), ("all",))
    assert (single.error, single.run, single.whole) == (0, 0.5, 0.5)
    with pytest.raises(RecordsError, match="a spread needs two"):
        measure_spread(np.ones((1, 3)), DOMAINS[:3])


def noise_of(rng, runs, sources, together=0.0, same=0.0):
    """A noise whose sources have these deviations, and what the same seed leaves."""
    deviations = np.array([*sources.values()])

    def spread(used):
        parts = rng.normal(size=(runs, len(deviations))) * deviations * used
        extra = together * rng.normal(size=runs) * np.all(used) + same * rng.normal(size=runs)
        return measure_spread((parts.sum(1) + extra)[:, None], ("all",))

    each = {name: spread(np.arange(len(deviations)) == i) for i, name in enumerate(sources)}
    return Noise({NEW: spread(np.ones(len(deviations))), SAME: spread(np.zeros(len(deviations))), **each}, runs)


@pytest.mark.parametrize("same", [0.0, 0.4])
def test_sources_that_add_up_leave_no_rest_beyond_its_standard_error(same):
    rng = np.random.default_rng(4)
    found = [noise_of(rng, 8, {"init": 1.0, "order": 0.5}, same=same).rest for _ in range(600)]
    rest, error = np.array(found).T
    assert rest.mean() == pytest.approx(0, abs=3.5 * rest.std() / 600**0.5)
    assert (error**2).mean() == pytest.approx(rest.var(), rel=0.25)
    beyond = [noise_of(rng, 2000, {"init": 1.0, "order": 0.5}, together=1.0, same=same).rest for _ in range(2)]
    assert all(rest > 3 * error for rest, error in beyond)


def test_records_are_measured_source_by_source():
    rng = np.random.default_rng(5)
    study = plan({"data": ["raw", "clean"]}, metric="accuracy", domains={"sharp": "a", "blurred": ["a/b1", "a/b2"]})
    own = plan_noise(study, 150, ["init"])
    deviations, outcomes = {NEW: 0.3, SAME: 0.0, "init": 0.1}, {}
    for trial in own.trials:
        sd = deviations[trial.cell["source"]]
        rows = [("sharp", "none", 0.9), ("blurred", "b1", 0.6), ("blurred", "b2", 0.5)]
        made = [
            {"domain_group": group, "domain": "a", "shift": shift, "metric": metric, "value": v + sd * rng.normal()}
            for group, shift, v in rows
            for metric in ("accuracy", "nll")
        ]
        clock = {"domain_group": "all", "domain": "all", "shift": "none", "metric": "train_seconds"}
        outcomes[trial.id] = {"status": "complete", "rows": [*made, {**clock, "value": rng.random()}]}
    lost = own.trials[0]
    outcomes[lost.id] = {"status": "failed", "reason": "planted", "rows": []}
    found = measure_noise(Records.of(own, outcomes))
    assert (found.reproduces, found.apart, found.scores, found.idle) == (True, 0, 6, ())
    assert found.spreads[str(lost.cell["source"])].runs == 149
    for source, sd in deviations.items():  # two severities are one domain, and their mean has half the variance
        variances = [found.spreads[source].variances[group] for group in ("sharp", "blurred")]
        assert variances == pytest.approx([sd**2, sd**2 / 2], rel=0.35)
    swapped = Records.of(own, outcomes).frame.replace({"source": {SAME: "init", "init": SAME}})
    assert measure_noise(Records(pd.DataFrame(swapped), own)).idle == ("init",)
