"""The benchmarks of the statistics beside the tools they replace: agreement first, then processor seconds.

    python -m tests.benchmarks.bench_stats [--full] [--quick] [--peers PYTHON]      (or: make bench)

rliable, deepsig and statsmodels run in the Python given, lme4 and pbkrtest in Rscript; what is absent is said to be.
Everything runs in one thread, and a call is timed without its imports. Processor seconds, not the clock's, are
compared, so that other work on the machine changes little.
"""

import os

os.environ.update({f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")})  # before numpy is imported

import argparse
import contextlib
import io
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

import ablate as ab
from ablate.judgements import run_judge
from tests.benchmarks.bench_mixed import FILES, bench_fits, bench_kenward_roger
from tests.benchmarks.bench_resampling import bench_aso, bench_iqm
from tests.benchmarks.peers import Row, measure
from tests.stats.samples import FACTORS, case

# bench6000, data 1 against 0 at objective 0 and size 0, new domains: estimate, SE and df of the reference table
SIMPLE = (0.010662138, 0.003342763309886, 30.564388781433)
PLANTED = 0.02
HEAD = "benchmark", "ours", "peer", "times as fast", "aim", "answers"


def bench_attribute(times: int = 5) -> Row:
    """Every default question on 6,000 rows of 12 cells × 10 runs × 50 domains, as one call."""
    frame = case(FILES[6000])
    options: dict[str, Any] = {"factors": [*FACTORS], "run": "seed", "domain": "domain", "value": "score"}
    effects, ours = measure(lambda: ab.attribute(frame, **options), times)
    table = effects.frame
    simple = table[(table.family == "simple") & (table.factor == "data") & (table.target == "new_domains")]
    gap = np.abs(simple[["estimate", "se", "df"]].to_numpy(float) / SIMPLE - 1).max(1).min()
    words = f"{len(table)} effects; a simple effect, its SE and df as in the reference table: {gap:.0e}"
    return Row("ab.attribute, E1, 6,000 rows", words, bool(gap < 1e-9), ours)


def draw_table(rng: np.random.Generator, seeds: int, domains: int) -> pd.DataFrame:
    """A row per score of 8 cells; the planted effect of `data`, run and domain SDs of half its size."""
    data, objective, size, seed, domain = np.indices((2, 2, 2, seeds, domains)).reshape(5, -1)
    run, own = rng.normal(0, PLANTED / 2, (2, 2, 2, seeds)), rng.normal(0, PLANTED / 2, (2, domains))
    score = 0.7 + PLANTED * data + own[data, domain] + run[data, objective, size, seed]
    score += rng.normal(0, 0.05, domains)[domain] + rng.normal(0, 0.01, len(data))
    factors = {"data": ["raw", "clean"], "objective": ["ce", "ls"], "size": ["small", "large"]}
    columns = dict(zip(factors, (data, objective, size), strict=True))
    named = {key: np.array(levels)[columns[key]] for key, levels in factors.items()}
    domain_names = np.array([f"d{i}" for i in range(domains)])
    return pd.DataFrame({**named, "seed": seed, "domain": domain_names[domain], "accuracy": score.round(6)})


def bench_judge(seeds: int, domains: int) -> Row:
    """`ablate judge` from a CSV file to the printed table."""
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as out:
        path = Path(folder) / "scores.csv"
        draw_table(np.random.default_rng(0), seeds, domains).to_csv(path, index=False)
        begin = perf_counter()
        _, ours = measure(lambda: run_judge([str(path)]), 1)
        wall = perf_counter() - begin
    printed = re.search(r"^data +clean +raw .*better +\[([\d.]+), ([\d.]+)\] +<.001", out.getvalue(), re.MULTILINE)
    low, high = map(float, printed.groups()) if printed else (np.nan, np.nan)
    words = f"planted {PLANTED}, better by {low} to {high} in new domains; {wall:.1f} s by the clock"
    return Row(f"judge, {8 * seeds * domains:,} rows of {domains:,} domains", words, low < PLANTED < high, ours)


def run_all(python: str | None, full: bool, quick: bool) -> Iterator[Row]:
    """The rows, each as soon as it is there."""
    times = 1 if quick else 5
    yield bench_iqm(python, 200 if quick else 50_000, 1 if quick else 3)
    yield bench_aso(python, times)
    yield from bench_fits(600, python, times)
    yield from bench_fits(6000, python, times, slow=full)
    yield bench_kenward_roger(times)
    yield bench_attribute(times)
    for seeds, domains in [(5, 20)] if quick else [(1250, 100), (50, 2500)]:
        yield bench_judge(seeds, domains)


def show(*cells: str) -> None:
    """One line of the table."""
    print("{:<38} {:>9} {:>9} {:>14} {:>10}  {}".format(*cells).rstrip(), flush=True)


def format_row(row: Row) -> tuple[str, ...]:
    """Cells of a row; no ratio where the answers differ."""
    said = {None: "", True: "agree: ", False: "ANSWERS DIFFER: "}[row.agree]
    ratio = "" if row.ratio is None else f"{row.ratio:,.{1 if row.ratio < 10 else 0}f} ×"
    aim = "" if row.target is None else f"≥ {row.target:,.0f} ×"
    missed = "  (aim missed)" if row.ratio is not None and row.target is not None and row.ratio < row.target else ""
    peer = "" if row.peer is None else _seconds(row.peer)
    return row.name, _seconds(row.ours), peer, ratio, aim, said + row.answers + missed


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def _load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


def main(words: Sequence[str]) -> int:
    """Print the table; the status is 1 if any answers differ."""
    parser = argparse.ArgumentParser(prog="bench_stats", description="The statistics beside the tools they replace.")
    parser.add_argument("--full", action="store_true", help="MixedLM on 6,000 rows too: over a minute")
    parser.add_argument("--quick", action="store_true", help="small sizes, once each: to see that it runs")
    parser.add_argument("--peers", metavar="PYTHON", help="a Python with rliable, deepsig and statsmodels")
    given = parser.parse_args(words)
    print(f"Processor time of one thread; median of repetitions, once where slow; {_load()} at the start.")
    show(*HEAD)
    rows = []
    for row in run_all(given.peers, given.full, given.quick):
        rows.append(row)
        show(*format_row(row))
    if not given.full:
        print("MixedLM was not run on 6,000 rows, where it takes over a minute: --full does.")
    print(f"{_load()} at the end.")
    return int(any(row.agree is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
