"""How often seeds until decided claim wrongly, and what they save, by simulation: the tables of methods/stopping.md.

    python docs/stopping.py [--replicates N] [--check]

A study has a baseline and m variants, every variant compared with the baseline within seeds (family `simple`, Holm).
Run means are normal, a seed's common part cancels, and the contrast of one block has standard deviation 1. What is
simulated is the procedure itself, for many studies at once: Student's p at every look, the spending rule, Holm over all
contrasts at their own looks, equivalence, futility, and cells that close. A test holds it against `stopping.stand`,
look by look. `--check` computes a small sample and compares it with the page within Monte Carlo error.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.progress import track
from scipy import special

from ablate.analyses import Analysis, Target
from ablate.stats.corrections import spend
from ablate.stats.crossed import Components, Crossed
from ablate.stats.eprocesses import EProcess
from ablate.stats.inquiries import FAST
from ablate.stats.stopping import conditional_power

PAGE = Path(__file__).parent / "methods" / "stopping.md"
BATCH = 3_000_000  # scores drawn at once
Array = NDArray[np.float64]
Counts = NDArray[np.int_]


@dataclass(frozen=True)
class Rule:
    """How a study stops.

    Attributes:
        looks: seeds at each look, all seeds last; one look is a fixed design.
        stopping: as in `Analysis`, or `peeking`: at every look as if it were the only one.
        spending, futility, target: as in `Analysis`.
        margin: as in `Plan`.
        alpha: family-wise.
    """

    looks: tuple[int, ...]
    stopping: Literal["sequential", "e_process", "peeking"] = "sequential"
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"
    futility: float | None = None
    margin: float | None = None
    target: Target = "these_domains"
    alpha: float = 0.05

    @property
    def process(self) -> EProcess:
        """The e-process, if it is one."""
        return EProcess.at(FAST * self.looks[-1], self.alpha)


@dataclass(frozen=True)
class Outcome:
    """What many studies found, per study and contrast.

    Attributes:
        differs, equivalent: whether it was claimed.
        seeds: how many its variant had; the baseline had the most of any.
    """

    differs: NDArray[np.bool_]
    equivalent: NDArray[np.bool_]
    seeds: Counts

    @property
    def trials(self) -> Counts:
        """Per study."""
        return np.asarray(self.seeds.sum(1) + self.seeds.max(1))


def run_studies(rule: Rule, scores: Array) -> Outcome:
    """Many studies at once: scores of studies × cells × seeds × domains, the baseline first."""
    n, cells = scores.shape[:2]
    m = cells - 1
    differences = scores[:, 1:] - scores[:, :1]  # studies × contrasts × seeds × domains
    steps = {key: np.zeros((n, m), int) for key in CLAIMS}  # Holm's step at which each would be shown
    is_open, above, seeds = np.ones((n, m), bool), np.zeros((n, m), bool), np.zeros((n, m), int)
    for look, size in enumerate(rule.looks):
        seeds[is_open] = size
        found = Crossed(blocked=True)(differences[:, :, None, :size], np.ones(1))
        above = np.where(is_open, found.estimate > 0, above)
        for key, reached in _judge(rule, found, differences[:, :, :size], look, m).items():
            steps[key] = np.where(is_open, np.maximum(steps[key], reached), steps[key])
        differs = holm_steps(np.where(above, steps["above"], steps["below"]))  # a claim has the side of the estimate
        equivalent = holm_steps(steps["equivalent"])
        is_open &= ~(differs | equivalent)
        if rule.futility is not None and size < rule.looks[-1]:
            tests = np.maximum(m - (differs | equivalent).sum(1), 1)
            is_open &= _chance(rule, found, tests) >= rule.futility
    return Outcome(differs & ~equivalent, equivalent, seeds)


def holm_steps(steps: Counts) -> NDArray[np.bool_]:
    """Holm's rejections, where each test would be rejected at alpha over any number up to its step."""
    m = steps.shape[1]
    order = np.argsort(-steps, axis=1, kind="stable")
    passed = np.logical_and.accumulate(np.take_along_axis(steps, order, 1) >= m - np.arange(m), axis=1)
    rejected = np.zeros_like(passed)
    np.put_along_axis(rejected, order, passed, axis=1)
    return rejected


def _judge(rule: Rule, found: Components, values: Array, look: int, m: int) -> dict[str, Counts]:
    """Per claim, the largest i such that alpha / i is enough for it at this look (e-process: or at any before)."""
    if rule.stopping == "e_process":
        return _judge_at_any_time(rule, values.mean(-1), m)
    bars = nominal(rule, look, m)
    variance, df = found.variance(rule.target)
    se = np.sqrt(variance)
    t = found.estimate / se
    p = {"above": 2 * special.stdtr(df, -t), "below": 2 * special.stdtr(df, t)}
    if rule.margin is not None:
        p["equivalent"] = 2 * special.stdtr(df, -(rule.margin - np.abs(found.estimate)) / se)
    return {key: (value[..., None] < bars).sum(-1) for key, value in p.items()}


def nominal(rule: Rule, look: int, m: int) -> Array:
    """The p at or below which a look rejects at alpha, alpha / 2, ... alpha / m."""
    shares = rule.alpha / np.arange(1, m + 1)
    if len(rule.looks) == 1 or rule.stopping == "peeking":
        return shares
    analyses = [Analysis(alpha=float(share), looks=rule.looks, spending=rule.spending) for share in shares]
    return np.array([spend(analysis).nominal(look) for analysis in analyses])


def _judge_at_any_time(rule: Rule, values: Array, m: int) -> dict[str, Counts]:
    bars, n = np.log(np.arange(1, m + 1) / rule.alpha), np.arange(1, values.shape[-1] + 1)
    mean, margin = (np.cumsum(values, -1) / n)[..., 1:], rule.margin

    def show(truth: float, side: int) -> Array:
        """The largest log E so far against a truth, among the looks with the mean on one side of it."""
        evidence = rule.process.log_e(values - truth)
        return np.asarray(np.where(side * (mean - truth) > 0, evidence, 0.0).max(-1))

    evidence = {"above": show(0.0, 1), "below": show(0.0, -1)}
    if margin is not None:
        evidence["equivalent"] = np.minimum(show(-margin, 1), show(margin, -1))
    return {key: (value[..., None] > bars).sum(-1) for key, value in evidence.items()}


def _chance(rule: Rule, found: Components, tests: Counts) -> Array:
    """Conditional power of every contrast, with so many tests left in each study."""
    last, most, margin = rule.looks[-1], int(tests.max()), float(rule.margin or 0)
    if rule.stopping == "e_process":
        widths = [EProcess(rule.alpha / i, rule.process.g).half_width(1.0, last) for i in range(1, most + 1)]
        half = np.array(widths)[tests - 1][:, None] * np.sqrt(found.run * found.seeds)
    else:
        variance, df = found.scaled(last, found.domains).variance(rule.target)
        bars = nominal(rule, len(rule.looks) - 1, most)[tests - 1]
        half = -special.stdtrit(df, bars[:, None] / 2) * np.sqrt(variance)
    return np.asarray(conditional_power(found.estimate, found.run, found.seeds, last, half, margin))


# --- studies ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """What is true: the effect of every variant, in standard deviations of a block's contrast, and the domains.

    Attributes:
        effects: one for each variant; on new domains their mean.
        domains: how many.
        tau: standard deviation of a contrast over domains.
    """

    effects: tuple[float, ...] = (0.0,)
    domains: int = 1
    tau: float = 0.0

    def draw(self, rng: np.random.Generator, n: int, seeds: int) -> Array:
        """Scores: studies × cells × seeds × domains. With several domains, half of a run's variance is its own."""
        m, d = len(self.effects), self.domains
        runs = rng.normal(size=(n, m + 1, seeds, 1)) / 2**0.5
        if d > 1:
            runs = (runs + rng.normal(size=(n, m + 1, seeds, d)) * (d / 2) ** 0.5) / 2**0.5
        effects = np.array(self.effects)[:, None, None] + self.tau * rng.normal(size=(n, m, 1, d))
        return np.concatenate([runs[:, :1], runs[:, 1:] + effects], axis=1)


def simulate(rule: Rule, world: World, replicates: int, seed: int = 0) -> Outcome:
    """So many studies, in batches that fit the memory."""
    rng = np.random.default_rng([seed, len(world.effects), rule.looks[-1]])
    size = max(1, BATCH // ((len(world.effects) + 1) * rule.looks[-1] * world.domains))
    parts = [
        run_studies(rule, world.draw(rng, min(size, replicates - start), rule.looks[-1]))
        for start in range(0, replicates, size)
    ]
    return Outcome(*(np.concatenate([getattr(part, name) for part in parts]) for name in OUTCOME))


CLAIMS = ("above", "below", "equivalent")
OUTCOME = ("differs", "equivalent", "seeds")
EVERY = tuple(range(3, 31))
SCHEDULES = {
    "5, 10, 15, 20, O'Brien-Fleming": Rule((5, 10, 15, 20)),
    "5, 10, 15, 20, Pocock": Rule((5, 10, 15, 20), spending="pocock"),
    "3, 5, 10, 20, 30, O'Brien-Fleming": Rule((3, 5, 10, 20, 30)),
    "3, 5, 10, 20, 30, Pocock": Rule((3, 5, 10, 20, 30), spending="pocock"),
    "5, 8, ... 29, Pocock": Rule(tuple(range(5, 30, 3)), spending="pocock"),
    "3, 4, ... 30, e-process": Rule(EVERY, "e_process"),
    "3, 4, ... 30, no rule": Rule(EVERY, "peeking"),
}
SIZES = (1, 5, 17)


MARGIN = 0.92  # standard deviations of a block's contrast: found by 20 seeds, or found equivalent, with power .95
TAUS = (0.0, 0.5, 2.0)


@dataclass(frozen=True)
class Error:
    """A share of studies that claimed wrongly."""

    rule: str
    case: str
    share: float
    replicates: int


@dataclass(frozen=True)
class Case:
    """A true state of the world, and what must rarely be claimed in it.

    Attributes:
        name: in the table.
        world: what is true.
        ending: whether equivalence and futility end contrasts too.
        claim: `differs`, where there is no effect; or `equivalent`.
        target: what is asked about.
    """

    name: str
    world: World
    ending: bool = True
    claim: Literal["differs", "equivalent"] = "differs"
    target: Target = "these_domains"


@dataclass(frozen=True)
class Design:
    """A fixed number of seeds, the margin, and a rule that finds as much; studies have each effect, in margins.

    One variant: a study for each effect. More: one study of them all.
    """

    name: str
    fixed: int
    margin: float
    rule: Rule
    effects: tuple[int, ...] = (0, 1, 2)


CASES = (
    *(Case(f"no effect, {m} test{'s' * (m > 1)}", World((0.0,) * m), ending=False) for m in SIZES),
    *(Case(f"the same, equivalence and futility end it, {m}", World((0.0,) * m)) for m in SIZES),
    Case("two effects among five tests", World((0.0, 0.0, 0.0, MARGIN, 2 * MARGIN))),
    *(Case(f"called equivalent at the margin, {m}", World((MARGIN,) * m), claim="equivalent") for m in SIZES),
    *(Case(f"new domains, 5 tests, τ {t:g}", World((0.0,) * 5, 8, t), False, target="new_domains") for t in TAUS),
)


def find_errors(replicates: int, cases: Sequence[Case] = CASES) -> Iterator[Error]:
    """The family-wise errors of every schedule in some cases."""
    for case in cases:
        for name, rule in SCHEDULES.items():
            if case.target == "new_domains" and rule.stopping != "sequential":
                continue
            margin, futility = (MARGIN, 0.1) if case.ending else (None, None)
            ended = replace(rule, target=case.target, margin=margin, futility=futility)
            found = simulate(ended, case.world, replicates)
            nil = found.differs[:, [effect == 0 for effect in case.world.effects]]
            claimed = found.equivalent if case.claim == "equivalent" else nil
            yield Error(name, case.name, float(claimed.any(1).mean()), replicates)


MANY, SIX = tuple(range(5, 30, 3)), (0, 0, 1, 1, 2, 2)
DESIGNS = (
    Design("one variant, power .95", 20, 0.92, Rule(MANY, spending="pocock", futility=0.1)),
    Design("the same, five looks", 20, 0.92, Rule((5, 10, 15, 20, 25), spending="pocock", futility=0.1)),
    Design("the same, O'Brien-Fleming", 20, 0.92, Rule((5, 8, 11, 14, 17, 20), futility=0.1)),
    Design("the same, e-process", 20, 0.92, Rule(EVERY, "e_process", futility=0.1)),
    Design("one variant, power .9", 20, 0.85, Rule(MANY, spending="pocock", futility=0.1)),
    Design("one variant, power .8", 20, 0.66, Rule(MANY, spending="pocock", futility=0.1)),
    Design("six variants, power .97", 30, 0.92, Rule(tuple(range(5, 42, 3)), spending="pocock", futility=0.1), SIX),
    Design("six variants, power .93", 26, 0.92, Rule(tuple(range(5, 36, 3)), spending="pocock", futility=0.1), SIX),
)


@dataclass(frozen=True)
class Saving:
    """What a design finds and spends with its rule, for effects of 0, 1 and 2 margins.

    Attributes:
        design: its name.
        fixed, found: shares of right claims, with all seeds and with the rule.
        seeds: of the variants, as shares of the fixed design's.
        trials: of all cells, pooled, as a share of the fixed design's.
    """

    design: str
    fixed: tuple[float, ...]
    found: tuple[float, ...]
    seeds: tuple[float, ...]
    trials: float


def find_savings(replicates: int) -> Iterator[Saving]:
    """What every design saves."""
    for design in DESIGNS:
        true = tuple(effect * design.margin for effect in design.effects)
        worlds = [World((effect,)) for effect in true] if len(true) == 3 else [World(true)]
        rules = Rule((design.fixed,), margin=design.margin), replace(design.rule, margin=design.margin)
        fixed, ended = ([simulate(rule, world, replicates) for world in worlds] for rule in rules)
        seeds = _per_effect([o.seeds.mean(0) / design.fixed for o in ended], design.effects)
        cost = [sum(float(o.trials.mean()) for o in group) for group in (fixed, ended)]
        right = [_right(group, design.effects) for group in (fixed, ended)]
        yield Saving(design.name, right[0], right[1], seeds, cost[1] / cost[0])


def _right(outcomes: Sequence[Outcome], effects: Sequence[int]) -> tuple[float, ...]:
    """The shares of right claims: of no effect that it is equivalent, of an effect that it differs."""
    differs, equivalent = (_per_effect([getattr(o, c).mean(0) for o in outcomes], effects) for c in OUTCOME[:2])
    return equivalent[0], *differs[1:]


def _per_effect(parts: Sequence[Array], effects: Sequence[int]) -> tuple[float, ...]:
    """The mean over the variants of each effect, of what stands for all variants in their order."""
    values = np.concatenate(parts)
    return tuple(float(values[np.array(effects) == effect].mean()) for effect in (0, 1, 2))


# --- command ----------------------------------------------------------------------------------------------------------


def tell(share: float, digits: int = 3) -> str:
    """`.049`"""
    return f"{share:.{digits}f}".removeprefix("0") if share < 1 else f"{share:.{digits}f}"


def write_errors(errors: Sequence[Error]) -> str:
    """A row per case, a column per schedule."""
    lines = [["a wrong claim, where there is", *SCHEDULES], ["---", *["---:"] * len(SCHEDULES)]]
    for case in CASES:
        shares = {e.rule: tell(e.share) for e in errors if e.case == case.name}
        lines.append([case.name, *(shares.get(name, "") for name in SCHEDULES)])
    return _table(lines)


def write_savings(savings: Sequence[Saving]) -> str:
    """A row per design."""
    lines = [["design", "all seeds find 0, 1, 2", "the rule finds", "seeds at 0, 1, 2", "trials"]]
    lines.append(["---", *["---:"] * 4])
    for s in savings:
        found, ended = (", ".join(map(tell, shares)) for shares in (s.fixed, s.found))
        seeds = ", ".join(f"{100 * share:.0f}" for share in s.seeds)
        lines.append([s.design, found, ended, f"{seeds} %", f"{100 * s.trials:.0f} %"])
    return _table(lines)


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def write_page(text: str, tables: dict[str, str]) -> str:
    """The page with these tables."""
    for name, table in tables.items():
        text = re.sub(rf"(<!-- begin: {name} -->\n).*?(<!-- end -->)", rf"\g<1>\n{table}\n\g<2>", text, flags=re.DOTALL)
    return text


def read_numbers(text: str, name: str) -> list[float]:
    """The shares of a table of the page, row by row."""
    found = re.search(rf"<!-- begin: {name} -->\n(.*?)<!-- end -->", text, flags=re.DOTALL)
    rows = found[1].strip().split("\n")[2:] if found else []
    cells = [cell.strip() for row in rows for cell in row.split("|")[2:-1]]
    return [
        float(c.removesuffix(" %")) / (100 if c.endswith("%") else 1) for c in cells if re.fullmatch(r"[\d.]+( %)?", c)
    ]


def compare(errors: Sequence[Error], page: Sequence[float]) -> list[str]:
    """Where a small sample of the errors and the page differ by more than chance (4.5 standard errors)."""
    apart = []
    for e, told in zip(errors, page, strict=True):
        se = max(told * (1 - told), 0.002) ** 0.5 * e.replicates**-0.5
        if abs(e.share - told) > 4.5 * se + 0.002:
            apart.append(f"{e.rule}, {e.case}: {e.share}, not {told}")
    return apart


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables of the page, or compare them with a sample."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--replicates", type=int, default=20_000)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    errors = list(track(find_errors(given.replicates), "errors", total=None, disable=given.check))
    if given.check:
        apart = compare(errors, read_numbers(text, "errors"))
        print("\n".join(apart) or f"{PAGE.name} holds on {given.replicates} studies a figure")
        return len(apart) > 0
    savings = list(track(find_savings(given.replicates), "savings", total=None))
    PAGE.write_text(
        write_page(text, {"errors": write_errors(errors), "savings": write_savings(savings)}), encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
