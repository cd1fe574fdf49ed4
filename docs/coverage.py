"""How often intervals hold the truth, ours and those of common practice, by simulation: coverage.csv, .md and .svg.

    python docs/coverage.py [parts] [--replicates N] [--check]

The model is score = cell + domain + effect of the switch in that domain + run + error, with standard deviations 3 of
domains, tau of the effect over domains, run_sd of runs and 1 of errors; two cells, or a baseline and variants. On
average over all domains the effect is zero. Every interval is at 95 %. `parts` computes some parts anew and keeps the
others; `--check` computes a small sample of everything and compares it with the table within Monte Carlo error.
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import track
from scipy import special

from ablate.stats.corrections import dunnett_level
from ablate.stats.crossed import Crossed
from ablate.stats.predictions import prediction_variance
from ablate.stats.unbalanced import Unbalanced

HERE = Path(__file__).parent
Array = NDArray[np.float64]
Interval = tuple[Array, Array]
DOMAIN_SD, BATCH, RESAMPLES = 3.0, 400_000, 1000
DIFFERENCE = np.array([-1.0, 1.0])
SLOW = 10  # a mixed model is fitted to one study in so many
TARGETS = ("these_domains", "new_domains", "a_new_domain")


@dataclass(frozen=True)
class Setting:
    """A true state of the world and a study in it."""

    seeds: int
    domains: int
    tau: float
    run_sd: float
    tails: str = "normal"  # or t3: of domain effects, runs and errors, with the same standard deviations
    failed: float = 0.0  # share of runs that fail, whatever they would have scored
    missing: float = 0.0  # share of scores that are missing
    tests: int = 1

    @property
    def code(self) -> list[int]:
        """What tells it apart, as a seed."""
        numbers = (self.seeds, self.domains, self.tau, self.run_sd, self.failed, self.missing, self.tests)
        return [round(100 * x) for x in (*numbers, self.tails == "t3")]


GRID = [Setting(*values) for values in product((3, 5, 10), (6, 20), (0, 1), (0, 0.7))]
HARD = [Setting(seeds, domains, 1, 0.7) for seeds, domains in product((3, 5, 10), (6, 20))]


@dataclass(frozen=True)
class Studies:
    """Replicates of a study: scores (replicates × cells × runs × domains) and the truth each interval is to hold."""

    scores: Array
    truth: dict[str, Array]


def draw(rng: np.random.Generator, n: int, setting: Setting) -> Studies:
    """n replicates; failed runs and missing scores are NaN. The truths are of the last cell against the first."""
    s, d, cells = setting.seeds, setting.domains, setting.tests + 1

    def noise(*shape: int) -> Array:
        return rng.standard_t(3, shape) / 3**0.5 if setting.tails == "t3" else rng.normal(size=shape)

    effects = setting.tau * noise(n, cells, 1, d + 1)
    effects[:, 0] = 0
    here = effects[..., :d]
    scores = here + setting.run_sd * noise(n, cells, s, 1) + noise(n, cells, s, d)
    scores += DOMAIN_SD * rng.normal(size=(n, 1, 1, d))
    scores[np.broadcast_to(rng.random((n, cells, s, 1)) < setting.failed, scores.shape)] = np.nan
    scores[rng.random(scores.shape) < setting.missing] = np.nan
    mean = here.mean((-1, -2))
    truths = (mean, np.zeros_like(mean), effects[..., 0, d])
    return Studies(scores, dict(zip(TARGETS, truths, strict=True)))


# --- our intervals ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ours:
    """Engine E1 for a target."""

    target: str
    blocked: bool = False

    def __call__(self, scores: Array, rng: np.random.Generator) -> Interval:
        """Intervals of the difference of two cells."""
        found = Crossed(self.blocked)(scores, DIFFERENCE)
        predicted = self.target == "a_new_domain"
        variance, df = prediction_variance(found) if predicted else found.variance(self.target)  # type: ignore[arg-type]
        return _student(found.estimate, variance, df)


@dataclass(frozen=True)
class Mixed:
    """Engine E3 for a target, one study after another; NaN where it gives no answer."""

    target: str

    def __call__(self, scores: Array, rng: np.random.Generator) -> Interval:
        """Intervals of the difference of two cells."""
        bounds = np.full((len(scores), 2), np.nan)
        for i, table in enumerate(scores):
            with suppress(ValueError):  # a cell without score on some domain (R10), or a likelihood without maximum
                bounds[i] = Unbalanced()(table, DIFFERENCE, self.target).pivot.interval(0.95)  # type: ignore[arg-type]
        return bounds[:, 0], bounds[:, 1]


def _student(estimate: Array, variance: Array, df: Array | float) -> Interval:
    half = special.stdtrit(df, 0.975) * np.sqrt(variance)
    return estimate - half, estimate + half


# --- common practice --------------------------------------------------------------------------------------------------


def resample_runs(scores: Array, rng: np.random.Generator) -> Interval:
    """The stratified percentile bootstrap: runs are drawn anew within every cell and domain, domains stay.

    How often each run is drawn is multinomial; the same draws serve all studies of a batch.
    """
    n, _, s, d = scores.shape
    drawn = [rng.multinomial(s, np.full(s, 1 / s), (RESAMPLES, d)).swapaxes(1, 2).reshape(RESAMPLES, -1) for _ in "ab"]
    flat = scores.reshape(n, 2, -1)
    means = (flat[:, 1] @ drawn[1].T - flat[:, 0] @ drawn[0].T) / (s * d)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    return low, high


def pool_rows(scores: Array, rng: np.random.Generator) -> Interval:
    """Paired t over all seeds × domains as so many independent rows."""
    rows = (scores[:, 1] - scores[:, 0]).reshape(len(scores), -1)
    return _student(rows.mean(1), rows.var(1, ddof=1) / rows.shape[1], rows.shape[1] - 1)


def fit_intercepts(scores: Array, rng: np.random.Generator) -> Interval:
    """A mixed model with a random intercept per domain and nothing else, by REML.

    Balanced, the intercepts cancel in the difference, so that the model's variance of it is 2/(S·D) times the residual
    mean square of cell + domain, whatever the variance of the intercepts.
    """
    _, cells, s, d = scores.shape
    residuals = scores - scores.mean((2, 3), keepdims=True) - scores.mean((1, 2), keepdims=True)
    residuals += scores.mean((1, 2, 3), keepdims=True)
    df = cells * s * d - cells - (d - 1)
    square = (residuals**2).sum((1, 2, 3)) / df
    return _student((scores[:, 1] - scores[:, 0]).mean((1, 2)), 2 * square / (s * d), df)


def pool_effects(scores: Array, rng: np.random.Generator) -> Interval:
    """DerSimonian and Laird's meta-analysis of an effect and its standard error from every domain."""
    effects = (scores[:, 1] - scores[:, 0]).mean(1)
    variances = scores.var(2, ddof=1).sum(1) / scores.shape[2]
    weights = 1 / variances
    total = weights.sum(1)
    centre = (weights * effects).sum(1) / total
    q = (weights * (effects - centre[:, None]) ** 2).sum(1)
    between = np.maximum(0, (q - effects.shape[1] + 1) / (total - (weights**2).sum(1) / total))
    weights = 1 / (variances + between[:, None])
    return _student((weights * effects).sum(1) / weights.sum(1), 1 / weights.sum(1), np.inf)


def over_domains(scores: Array, rng: np.random.Generator) -> Interval:
    """Student's t over the domains' differences of means."""
    effects = (scores[:, 1] - scores[:, 0]).mean(1)
    return _student(effects.mean(1), effects.var(1, ddof=1) / effects.shape[1], effects.shape[1] - 1)


def part_bars(scores: Array, rng: np.random.Generator) -> Interval:
    """Bars of one standard error over runs that do not overlap: the differences that this would not call different."""
    means = scores.mean(3)
    reach = np.sqrt(means.var(2, ddof=1) / means.shape[2]).sum(1)
    estimate = means[:, 1].mean(1) - means[:, 0].mean(1)
    return estimate - reach, estimate + reach


@dataclass(frozen=True)
class Method:
    """An interval, the target that it claims, and how the tables call it."""

    name: str
    target: str
    interval: Callable[[Array, np.random.Generator], Interval]


CROSSED = (
    Method("E1", "these_domains", Ours("these_domains")),
    Method("E1", "new_domains", Ours("new_domains")),
    Method("E1", "a_new_domain", Ours("a_new_domain")),
)
BLOCKED = tuple(Method("E1 in seed blocks", t, Ours(t, blocked=True)) for t in TARGETS[:2])
MIXED = tuple(Method("E3, 10 % of scores missing", t, Mixed(t)) for t in TARGETS[:2])
PRACTICE = (
    Method("stratified bootstrap of runs", "these_domains", resample_runs),
    Method("bars of one SE apart", "these_domains", part_bars),
    Method("paired t on pooled rows", "new_domains", pool_rows),
    Method("random intercept per domain", "new_domains", fit_intercepts),
    Method("DerSimonian-Laird over domains", "new_domains", pool_effects),
    Method("t over domains", "new_domains", over_domains),
)
PRACTISED = [method.name for method in PRACTICE]
GATES = {"these_domains": (0.935, 0.98), "new_domains": (0.935, 0.99), "a_new_domain": (0.94, 1.0)}


# --- simulation -------------------------------------------------------------------------------------------------------


def cover(methods: Sequence[Method], setting: Setting, replicates: int) -> Iterator[dict[str, object]]:
    """For every method, the share of its intervals that hold the truth, among the studies that get one."""
    rng = np.random.default_rng([replicates, *setting.code])
    held, answered = np.zeros(len(methods)), np.zeros(len(methods))
    for n in _batches(replicates, setting):
        studies = draw(rng, n, setting)
        judged = (~np.isnan(studies.scores[..., 0])).sum(2).min(1) > 2 if setting.failed else np.ones(n, bool)
        if not judged.any():
            continue
        for i, method in enumerate(methods):
            low, high = method.interval(studies.scores[judged], rng)
            truth = studies.truth[method.target][judged, 1]
            held[i] += ((low <= truth) & (truth <= high)).sum()
            answered[i] += (~np.isnan(low)).sum()
    for method, hit, n_judged in zip(methods, held, answered, strict=True):
        yield _row("coverage", method.name, method.target, setting, replicates, n_judged, hit / n_judged)


def err(setting: Setting, replicates: int) -> Iterator[dict[str, object]]:
    """The share of studies in which any variant is wrongly called different from the baseline, over all its tests."""
    rng = np.random.default_rng([replicates, *setting.code])
    forms = [("Holm", Crossed()), ("Holm in seed blocks", Crossed(blocked=True)), ("Dunnett", Crossed(False, "pooled"))]
    asked = [(name, engine, target) for name, engine in forms for target in TARGETS[:2]][:5]  # Dunnett: T1 alone
    claims = np.zeros(len(asked))
    for n in _batches(replicates, setting):
        studies = draw(rng, n, setting)
        for i, (name, engine, target) in enumerate(asked):
            smallest = np.ones(n)
            for variant in range(1, setting.tests + 1):
                cells, weights = _against_baseline(variant, setting.tests, engine)
                found = engine(studies.scores[:, cells], weights)
                variance, df = found.variance(target)  # type: ignore[arg-type]
                t = (found.estimate - studies.truth[target][:, variant]) / np.sqrt(variance)
                smallest = np.minimum(smallest, 2 * special.stdtr(df, -np.abs(t)))
            claims[i] += (smallest < _threshold(name, setting, df)).sum()
    for (name, _, target), count in zip(asked, claims, strict=True):
        yield _row("family-wise error", name, target, setting, replicates, replicates, count / replicates)


def _against_baseline(variant: int, tests: int, engine: Crossed) -> tuple[list[int], Array]:
    """The cells that judge a variant against the baseline, and their weights: both, or all if variances are pooled."""
    cells = list(range(tests + 1)) if engine.variances == "pooled" else [0, variant]
    return cells, np.array([float(cell == variant) - (cell == 0) for cell in cells])


def _threshold(name: str, setting: Setting, df: Array) -> float:
    """The smallest p below which the family's first test rejects."""
    if name != "Dunnett":
        return 0.05 / setting.tests
    return 1 - dunnett_level(0.05, [0.5**0.5] * setting.tests, float(np.ravel(df)[0]))


def _batches(replicates: int, setting: Setting) -> Iterator[int]:
    most = max(1, BATCH // ((setting.tests + 1) * setting.seeds * setting.domains))
    for start in range(0, replicates, most):
        yield min(most, replicates - start)


def _row(
    kind: str, method: str, target: str, setting: Setting, replicates: int, judged: float, share: float
) -> dict[str, object]:
    head = {"kind": kind, "method": method, "target": target}
    return {**head, **asdict(setting), "replicates": replicates, "judged": int(judged), "share": round(share, 4)}


Job = Callable[[int], Iterator[dict[str, object]]]


def list_jobs() -> dict[str, list[Job]]:
    """Parts of the table and what computes them, given the number of replicates of closed forms."""

    def covering(methods: Sequence[Method], setting: Setting, slow: int = 1) -> Job:
        return lambda n: cover(methods, setting, max(1, n // slow))

    def erring(setting: Setting) -> Job:
        return lambda n: err(setting, n)

    def changed(settings: Sequence[Setting], **fields: Any) -> list[Setting]:
        return [Setting(**{**asdict(s), **fields}) for s in settings]

    small = [s for s in GRID if s.domains == 6] + [s for s in HARD if s.domains == 20]
    return {
        "grid": [covering([*CROSSED, *BLOCKED, *PRACTICE], s) for s in GRID],
        "tails": [covering([*CROSSED, *BLOCKED, *PRACTICE], s) for s in changed(HARD, tails="t3")],
        "failed": [covering(CROSSED, s) for s in changed(HARD, failed=0.1)],
        "errors": [erring(s) for s in [*changed(GRID, tests=4), *changed(HARD, tests=17)]],
        "mixed": [covering(MIXED, s, SLOW) for s in changed(small, missing=0.1)],
    }


def simulate(parts: Sequence[str], replicates: int) -> pd.DataFrame:
    """The rows of these parts."""
    jobs = [(part, job) for part, several in list_jobs().items() if part in parts for job in several]
    rows = [{"part": part, **row} for part, job in track(jobs, "simulating") for row in job(replicates)]
    return pd.DataFrame(rows)


# --- tables and figure ------------------------------------------------------------------------------------------------

SETTING = ["seeds", "domains", "tau", "run_sd"]
WORDS = {"these_domains": "these domains", "new_domains": "new domains", "a_new_domain": "a new domain"}
MOST_ERR = 0.055


def write_tables(text: str, frame: pd.DataFrame) -> str:
    """A page with its tables, which stand between `<!-- begin: name -->` and `<!-- end -->`."""
    cover, errors = frame[frame["kind"] == "coverage"], frame[frame["kind"] != "coverage"]
    plain, practice = (cover["tails"] == "normal") & (cover["failed"] == 0), cover["method"].isin(PRACTISED)
    kept = cover["method"].str.startswith(("E1", "t over"))
    trouble = np.where(cover["tails"] == "t3", "t₃: ", "failed: ")
    tables = {
        "ranges": _ranges(cover[plain]),
        "ours": _table(cover[plain & ~practice]),
        "practice": _table(cover[plain & practice], claim=False),
        "trouble": _table(cover.assign(method=trouble + cover["method"])[~plain & kept]),
        "errors": _table(errors, [*SETTING, "tests"], {"these_domains": "T1", "new_domains": "T2"}),
    }
    for name, table in tables.items():
        text = re.sub(rf"(<!-- begin: {name} -->\n).*?(<!-- end -->)", rf"\g<1>\n{table}\n\g<2>", text, flags=re.DOTALL)
    return text


def _table(
    rows: pd.DataFrame, index: Sequence[str] = SETTING, words: Mapping[str, str] = WORDS, claim: bool = True
) -> str:
    """A row per setting, a column per method and target."""
    columns = rows["method"] + (": " + rows["target"].map(words) if claim else "")
    cells = rows.assign(column=columns, cell=[_cell(r) for r in rows.itertuples()])
    wide = cells.pivot(index=list(index), columns="column", values="cell")[list(dict.fromkeys(columns))].fillna("")
    lines = [["S", "D", "τ", "σ_u", *index[4:], *wide.columns], ["---:"] * (len(index) + wide.shape[1])]
    lines += [[*(f"{x:g}" for x in at), *cells] for at, cells in zip(wide.index, wide.to_numpy(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _ranges(rows: pd.DataFrame) -> str:
    """A row per method: the lowest and highest share over the settings, and that of a common one."""
    lines = ["| interval | claims | lowest | highest | 5 runs × 6 domains |", "| --- | --- | ---: | ---: | ---: |"]
    for (method, target), own in rows.groupby(["method", "target"], sort=False):
        common = own[(own[SETTING] == [5, 6, 1, 0.7]).all(axis=1)]["share"].item()
        shares = " | ".join(map(_share, (own["share"].min(), own["share"].max(), common)))
        lines.append(f"| {method} | {WORDS[str(target)]} | {shares} |")
    return "\n".join(lines) + "\n"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _cell(row: Any) -> str:
    text = _share(row.share)
    low, high = GATES[row.target] if row.kind == "coverage" else (0.0, MOST_ERR)
    return text if row.method.split(": ")[-1] in PRACTISED or low <= row.share <= high else f"**{text}**"


def draw_figure(frame: pd.DataFrame, path: Path) -> None:
    """A dot per method and setting of the grid."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "coverage"
    rows = frame[(frame["kind"] == "coverage") & (frame["tails"] == "normal") & (frame["failed"] == 0)]
    names = rows["method"] + ", " + rows["target"].map(WORDS)
    ours = ~rows["method"].isin(PRACTISED)
    order = list(dict.fromkeys([*names[ours], *names[~ours]]))[::-1]
    figure, axes = plt.subplots(figsize=(8, 4.6), layout="constrained")
    axes.axvline(0.95, color="0.4", linewidth=1)
    for mine, colour in ((True, "tab:blue"), (False, "tab:orange")):
        shown = ours == mine
        axes.plot(
            rows["share"][shown], [order.index(n) for n in names[shown]], "o", color=colour, alpha=0.5, markersize=5
        )
    axes.set_yticks(range(len(order)), order)
    axes.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0], [".5", ".6", ".7", ".8", ".9", ".95", "1"])
    axes.set_xlabel("share of 95 % intervals that hold the truth, a dot per setting")
    axes.set_xlim(right=1.01)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


# --- command ----------------------------------------------------------------------------------------------------------

KEY = ["kind", "method", "target", *SETTING, "tails", "failed", "missing", "tests"]


def compare(sample: pd.DataFrame, frame: pd.DataFrame) -> list[str]:
    """Where a small sample and the table differ by more than chance (4.5 standard errors and two studies)."""
    both = sample.merge(frame, on=KEY, how="left", suffixes=("", "_table"))
    p = both["share_table"]
    se = np.sqrt(np.maximum(p * (1 - p), 0.001) * (1 / both["judged"] + 1 / both["judged_table"]))
    apart = ~((both["share"] - p).abs() <= 4.5 * se + 2 / both["judged"])
    rows = both[apart]
    return [
        f"{r.method}, {r.target}, {r.seeds} × {r.domains}: {r.share}, not {r.share_table}" for r in rows.itertuples()
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate, write, or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="parts", help=f"of {', '.join(list_jobs())}; all if left out")
    parser.add_argument("--replicates", type=int, help="of closed forms: 20,000, or 300 to check")
    parser.add_argument("--check", action="store_true", help="compare a small sample with the table; write nothing")
    given = parser.parse_args(arguments)
    if strange := set(given.parts) - set(list_jobs()):
        parser.error(f"no part {', '.join(strange)}; there are {', '.join(list_jobs())}")
    parts = given.parts or list(list_jobs())
    table, pages = HERE / "coverage.csv", [HERE / "coverage.md", HERE / "intervals.md"]
    if given.check:
        frame = pd.read_csv(table)
        problems = compare(simulate(parts, given.replicates or 300), frame)
        texts = {page.name: page.read_text(encoding="utf-8") for page in pages}
        problems += [f"{name} is stale" for name, text in texts.items() if text != write_tables(text, frame)]
        print("\n".join(problems) or "the table holds")
        return bool(problems)
    frame = simulate(parts, given.replicates or 20_000)
    if table.exists():
        kept = pd.read_csv(table)
        frame = pd.concat([kept[~kept["part"].isin(parts)], frame], ignore_index=True)
    order = {part: i for i, part in enumerate(list_jobs())}
    frame = frame.sort_values("part", key=lambda column: column.map(order), kind="stable")
    frame.to_csv(table, index=False)
    for page in pages:
        page.write_text(write_tables(page.read_text(encoding="utf-8"), pd.read_csv(table)), encoding="utf-8")
    draw_figure(frame, HERE / "coverage.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
