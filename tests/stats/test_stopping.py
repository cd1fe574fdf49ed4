"""Stopping: against the vectorised rule of docs/stopping.py look by look, on planted studies, at its error rates."""

import re
import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import ablate as ab
from ablate.errors import PlanError
from ablate.stats.attribution import attribute
from ablate.stats.eprocesses import EProcess
from ablate.stats.sequential import Spending
from ablate.stats.stopping import conditional_power, stand
from tests.stats.samples import make_records

DOCS = Path(__file__).parents[2] / "docs"
simulation = runpy.run_path(str(DOCS / "stopping.py"))
Rule, run_studies = simulation["Rule"], simulation["run_studies"]


def declare(looks, levels="abcd", *, margin=None, **analysis):
    asked = {"stopping": "sequential", "families": ["main"], **analysis}
    asked["looks"] = list(looks) if asked["stopping"] == "sequential" else [looks[0]]
    factors = {"x": list(levels)}
    return ab.plan(factors, metric="accuracy", seeds=looks[0], max_seeds=looks[-1], margin=margin, analysis=asked)


def follow(plan, scores):
    """The study as an engine would run it: cells × seeds × domains of scores; the standings, and the last records."""
    cells, size = set(plan.cells), dict.fromkeys(plan.cells, 0)
    place = {cell: i for i, cell in enumerate(plan.cells)}
    standings = []
    for look in plan.looks:
        size.update(dict.fromkeys(cells, look))
        records = make_records(
            plan,
            lambda t: [
                {"domain": f"d{d}", "metric": "accuracy", "value": v}
                for d, v in enumerate(scores[place[t.cell], t.seed])
            ],
            missing=lambda t: t.seed >= size[t.cell],
        )
        standings.append(stand(records))
        cells = set(standings[-1].cells)
        if not cells:
            break
    return standings, records, size


RULES = {
    "late": Rule((4, 6, 9), margin=0.9, futility=0.2),
    "early": Rule((3, 5, 8, 12), spending="pocock", margin=0.9),
    "without margin": Rule((3, 6, 12), spending="pocock"),
    "e-process": Rule(tuple(range(3, 13)), "e_process", margin=1.2, futility=0.1),
    "new domains": Rule((4, 6, 9), spending="pocock", target="new_domains"),
}


DEFAULT = [("late", 0), ("e-process", 0), ("new domains", 3)]
MORE = [(name, seed) for name in RULES for seed in range(9) if (name, seed) not in DEFAULT]


@pytest.mark.parametrize(("name", "seed"), [*DEFAULT, *(pytest.param(*p, marks=pytest.mark.slow) for p in MORE)])
def test_the_simulated_rule_is_the_one_that_stands(name, seed):
    """Look by look; but the simulation goes on where no number of seeds would decide about new domains."""
    rule = RULES[name]
    rng = np.random.default_rng([seed, len(name)])
    domains = 5 if rule.target == "new_domains" else 1
    scores = 50 + rng.normal(size=(4, rule.looks[-1], domains)) / 2**0.5 + rng.normal(size=(1, rule.looks[-1], 1))
    scores += np.array([0, 0, 1, 2.5])[:, None, None]
    options = {"margin": rule.margin, "futility": rule.futility, "target": rule.target, "spending": rule.spending}
    plan = declare(rule.looks, stopping=rule.stopping, **options)
    standings, records, size = follow(plan, scores)
    expected = run_studies(rule, scores[None])
    hopeless = np.array([p.state == "needs domains" for p in standings[-1].positions])
    seeds, theirs = np.array(list(size.values())[1:]), expected.seeds[0]
    assert (seeds == theirs)[~hopeless].all()
    assert (seeds <= theirs)[hopeless].all()
    verdicts = attribute(records).select(target=rule.target, family="main").frame["verdict"]
    assert (verdicts == "equivalent")[~hopeless].tolist() == expected.equivalent[0][~hopeless].tolist()
    assert verdicts.isin(["better", "worse"])[~hopeless].tolist() == expected.differs[0][~hopeless].tolist()


def shifts(*effects, seeds=12, domains=1, seed=0, tau=0.0):
    """Scores of cells × seeds × domains with run noise 1 and shared blocks; the first cell is the baseline."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(len(effects), seeds, 1)) + 3 * rng.normal(size=(1, seeds, 1)) + rng.normal(size=domains)
    own = tau * rng.normal(size=(len(effects), 1, domains))
    return 20 + noise + own * (np.arange(len(effects)) > 0)[:, None, None] + np.array(effects)[:, None, None]


def states(standing):
    return {p.result.contrast.level: p.state for p in standing.positions}


def test_cells_of_settled_contrasts_close_and_the_others_go_on():
    standings, records, size = follow(declare((3, 6, 12), "abc", spending="pocock"), shifts(0, 40, 0.5))
    first = standings[0]
    assert states(first) == {"b": "decided", "c": "undecided"}
    assert [cell["x"] for cell in first.cells] == ["a", "c"]
    assert list(size.values()) == [12, 3, 12]
    assert states(standings[-1]) == {"b": "decided", "c": "ended"}
    rows = attribute(records).select(target="these_domains", family="main").frame.set_index("level")
    assert rows["n_seeds"].tolist() == [3, 12]
    assert rows["n_runs"].tolist() == [6, 24]
    assert rows["note"].tolist() == [
        "15 trials complete, 6 in blocks complete in all compared cells",
        "undecided with the most seeds that were declared (12)",
    ]
    summary, *lines = standings[0].lines()
    assert summary == "Look at 3 seeds: 1 decided, 1 undecided; 2 cells get more seeds."
    assert lines[0].startswith("main x b against a: decided at 3 seeds: better")


@pytest.mark.parametrize("blocking", ["seed", "none"])
def test_a_stopped_contrast_is_judged_on_the_seeds_that_its_cells_share(blocking):
    plan = replace(declare((3, 6, 12), "abc", spending="pocock"), blocking=blocking)
    scores = shifts(0, 90, 0.5)
    _, records, size = follow(plan, scores)
    assert list(size.values()) == [12, 3, 12]
    row = attribute(records).select(target="these_domains", family="main").frame.iloc[0]
    baseline, better = scores[0, :3, 0], scores[1, :3, 0]
    test = (
        stats.ttest_rel(better, baseline) if blocking == "seed" else stats.ttest_ind(better, baseline, equal_var=False)
    )
    assert row["statistic"] == pytest.approx(test.statistic)
    assert row["n_runs"] == 6


def test_an_omnibus_test_takes_the_seeds_that_all_its_cells_have():
    plan = declare((5, 8, 12), "abc", families=["omnibus", "main"], spending="pocock")
    scores = shifts(0, 90, 0.5)
    _, records, size = follow(plan, scores)
    assert list(size.values()) == [12, 5, 12]
    row = attribute(records).select(target="these_domains", family="omnibus").frame.iloc[0]
    assert (row["n_seeds"], row["n_runs"], row["refusal"]) == (5, 15, "")
    fixed = replace(plan, seeds=plan.seeds[:5], analysis=replace(plan.analysis, stopping="fixed", looks=()))
    alone = make_records(fixed, lambda t: scores["abc".index(t.cell["x"]), t.seed, 0])
    same = attribute(alone).select(target="these_domains", family="omnibus").frame.iloc[0]
    assert row["statistic"] == pytest.approx(same["statistic"])
    assert row["p"] == pytest.approx(Spending("pocock", 0.05, (5, 8, 12)).repeated_p(same["p"], 0))


@pytest.mark.parametrize(("later", "verdict"), [(-1.0, "better"), (-9.0, "undecided")])
def test_what_a_look_has_decided_stays_decided_on_its_side(later, verdict):
    """b is far above at first and no more later; the pairs with c keep its cells open."""
    scores = shifts(0, 0, 0, seed=2)
    scores[1, :3] = scores[0, :3] + np.array([4.9, 5, 5.1])[:, None]
    scores[1, 3:] += later
    plan = declare((3, 6, 12), "abc", families=["pairs"], spending="pocock")
    standings, records, size = follow(plan, scores)
    assert set(size.values()) == {12}
    assert standings[0].positions[0].why == "better"
    effects = attribute(records)
    row = effects.select(target="these_domains", family="pairs").frame.iloc[0]
    assert (row["estimate"] > 0, row["verdict"]) == (verdict == "better", verdict)
    assert row["p"] > stats.ttest_rel(scores[1, :3, 0], scores[0, :3, 0]).pvalue
    notes = " ".join(effects.notes)
    assert "Seeds are added until decided, 12 at most" in notes
    assert "3 at 12" in notes


def test_futility_and_equivalence_end_what_is_not_there():
    scores = shifts(0, 0, seed=3)
    plain = follow(declare((3, 6, 12), "ab", margin=4), scores)[0]
    assert plain[-1].positions[0].why == "equivalent"
    assert plain[-1].look < 12
    hopeless = follow(declare((4, 12), "ab", margin=0.3, futility=0.2), scores)[0]
    assert [states(s) for s in hopeless] == [{"b": "futile"}]
    assert "a chance of" in hopeless[0].lines()[1]


def test_no_number_of_seeds_decides_about_new_domains():
    scores = shifts(0, 0.3, domains=4, tau=10, seed=1)
    standings, _, size = follow(declare((4, 12), "ab", target="new_domains"), scores)
    assert [states(s) for s in standings] == [{"b": "needs domains"}]
    assert re.match(r"(needs domains: |at this estimate)", standings[0].positions[0].why)
    assert set(size.values()) == {4}
    here = follow(declare((4, 12), "ab"), scores)[0]
    assert states(here[0]) in ({"b": "undecided"}, {"b": "decided"})


def test_too_few_seeds_ask_for_more_and_other_refusals_do_not():
    scores = shifts(0, 0.5, 0.5)
    scores[2] = 20
    first = follow(declare((2, 5), "abc"), scores)[0][0]
    assert states(first) == {"b": "undecided", "c": "refused"}
    assert [cell["x"] for cell in first.cells] == ["a", "b"]


def test_nothing_complete_is_no_standing():
    plan = declare((3, 6), "ab")
    records = make_records(plan, lambda t: 1.0, failed=lambda t: True, missing=lambda t: t.seed >= 3)
    standing = stand(records)
    assert standing.cells == ()
    assert standing.lines() == ("Look at 0 seeds: no contrast can be judged; no cell gets more seeds.",)


def test_a_plan_without_contrasts_to_decide_is_refused():
    with pytest.raises(PlanError, match="no contrast to be decided among iqm"):
        declare((3, 6), "ab", families=["iqm"])


def test_strata_stop_apart():
    plan = ab.plan(
        {"x": ["a", "b"], "size": [1, 2]}, across=["size"], metric="accuracy", seeds=4, max_seeds=8,
        analysis={"stopping": "sequential", "families": ["main"]},
    )  # fmt: skip
    noise = np.random.default_rng(0).normal(size=(2, 2, 8))
    truth = {("b", 1): 20.0, ("b", 2): 0.3}

    def score(trial):
        x, size = trial.cell["x"], trial.cell["size"]
        return noise["ab".index(x), size - 1, trial.seed] + truth.get((x, size), 0.0)

    records = make_records(plan, lambda t: float(score(t)), missing=lambda t: t.seed >= 4)
    assert [dict(cell) for cell in stand(records).cells] == [{"x": "a", "size": 2}, {"x": "b", "size": 2}]


# --- e-processes ------------------------------------------------------------------------------------------------------


def declare_process(levels="ab", most=12, seeds=None, **given):
    return ab.plan(
        {"x": list(levels)}, metric="accuracy", seeds=seeds or 3, max_seeds=None if seeds else most, **given,
        analysis={"stopping": "e_process", "families": ["main", "domain", "best", "iqm"]},
    )  # fmt: skip


def test_an_e_process_judges_the_blocks_in_the_order_of_the_plan():
    order = [7, 3, 11, 0, 5, 9, 2]
    plan = declare_process(seeds=order)
    values = np.random.default_rng(0).normal(1.5, 1, 12)

    def score(trial):
        level = 20.0 + trial.seed % 5 + (values[trial.seed] if trial.cell["x"] == "b" else 0.0)
        return [{"domain": f"d{d}", "metric": "accuracy", "value": level + d} for d in range(3)]

    records = make_records(plan, score)
    effects = attribute(records)
    row = effects.select(target="these_domains", family="main").frame.iloc[0]
    process = EProcess.at(3.5)
    assert row["p"] == pytest.approx(process.p(values[order]))
    assert (row["low"], row["high"]) == pytest.approx(process.interval(values[order]))
    assert row["method"] == "E1 crossed, blocked by seed, e-process"
    refused = effects.frame[effects.frame["refusal"] == "R08"]
    assert set(refused["target"]) == {"these_domains", "new_domains"}
    assert {"best", "iqm"} <= set(refused["family"])
    assert any("A look after every seed from 3 on" in note for note in effects.notes)


def test_an_undecided_e_process_says_which_look_would_decide():
    scores = shifts(0, 1.2, seed=4)
    plan = declare_process(most=12)
    records = make_records(plan, lambda t: scores[int(t.cell["x"] == "b"), t.seed, 0], missing=lambda t: t.seed >= 5)
    row = attribute(records).select(target="these_domains", family="main").frame.iloc[0]
    assert row["verdict"] == "undecided"
    assert "look" in row["note"]
    with pytest.raises(PlanError, match="e-process is of t"):
        attribute(records, test="sign_flip")


# --- the chance to be decided -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimate", "margin", "one_sided"),
    [(0.4, 0.8, False), (-0.1, 0.9, False), (0.5, 0.3, False), (-0.6, 0.1, False), (0.2, 0.5, True)],
)
def test_conditional_power_is_the_share_of_studies_that_end_decided(estimate, margin, one_sided):
    """The rest of the schedule drawn many times, with the variance known."""
    n, last, half = 6, 15, 0.55
    rng = np.random.default_rng(0)

    def share(effect, decides):
        later = effect + rng.normal(size=(200_000, last - n)).mean(1)
        return decides((n * estimate + (last - n) * later) / last).mean()

    if one_sided:
        expected = share(0.0, lambda x: x + margin > half)
    else:
        expected = max(
            share(np.copysign(max(margin, abs(estimate)), estimate), lambda x: abs(x) > half),
            share(0.0, lambda x: abs(x) + half < margin),
        )
    found = conditional_power(estimate, 1 / n, n, last, half, margin, one_sided=one_sided)
    assert float(found) == pytest.approx(expected, abs=0.005)


# --- error rates ------------------------------------------------------------------------------------------------------


def test_the_page_holds_on_a_small_sample():
    text = (DOCS / "methods" / "stopping.md").read_text(encoding="utf-8")
    numbers = simulation["read_numbers"](text, "errors")
    assert len(numbers) == 10 * 7 + 3 * 5
    ours = [x for i, x in enumerate(numbers[:70]) if i % 7 != 6] + numbers[70:]
    assert max(ours) <= 0.055
    cases = [c for c in simulation["CASES"] if c.name in ("no effect, 1 test", "new domains, 5 tests, τ 0.5")]
    errors = list(simulation["find_errors"](300, cases))
    every = list(simulation["CASES"])
    told = [x for case in cases for x in _row(numbers, every.index(case))]
    assert simulation["compare"](errors, told) == []
    assert simulation["compare"](errors, [x + 0.1 for x in told]) != []


def _row(numbers, place):
    return numbers[7 * place : 7 * place + 7] if place < 10 else numbers[70 + 5 * (place - 10) : 75 + 5 * (place - 10)]


@pytest.mark.slow
def test_the_page_holds(capsys):
    assert simulation["main"](["--check", "--replicates", "2000"]) == 0, capsys.readouterr().out


@pytest.mark.slow
def test_trials_are_saved_at_the_same_power():
    best, *_ = simulation["find_savings"](4000)
    assert best.trials <= 0.6
    for fixed, found in zip(best.fixed, best.found, strict=True):
        assert found >= fixed - 0.01
