"""The plan: what will be run and how it will be judged, as one frozen value, locked before the first trial.

A plan is data alone. Cells are listed, so that reading a stranger's plan executes nothing of theirs; the config
of a cell is kept as its difference from the base config, so that drift can be shown line by line.
"""

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

from ablate.designs import build_cells, design_named
from ablate.errors import PlanError, StudyError
from ablate.factors import Cell, Factor, Level, Trial, digest, is_list

Target = Literal["these_domains", "new_domains"]
Family = Literal["main", "simple", "interaction", "leave_one_out", "step", "noninferiority", "domain"]
PLAN_FILE = "plan.json"
FORMAT = 1

# What a table shows unless the analysis names its families: what the design can answer.
DEFAULT_FAMILIES: dict[str, tuple[Family, ...]] = {
    "full_factorial": ("main", "simple", "interaction", "domain"),
    "one_at_a_time": ("simple", "domain"),
    "leave_one_out": ("leave_one_out", "domain"),
    "cumulative": ("step", "simple", "domain"),
}


@dataclass(frozen=True)
class Comparison:
    """A declared non-inferiority question: is `cell` worse than `versus` by less than `margin`?

    Attributes:
        name: how tables call it.
        cell, versus: levels by factor key; factors left out are averaged with equal weights.
        margin: the largest loss, in units of the metric, that still counts as no worse; positive.
    """

    name: str
    cell: Mapping[str, Level]
    versus: Mapping[str, Level]
    margin: float | None = None


@dataclass(frozen=True)
class Analysis:
    """How the records will be judged; declared with the plan and never chosen from results.

    Attributes:
        target: what an effect is about: `these_domains` (new training runs, same domains) or `new_domains`
            (new domains of this kind as well). Both are printed; verdicts follow this one.
        alpha: family-wise error rate of every family.
        families: which families of contrasts to compute; None takes what the design can answer.
        correction: `holm`, or `dunnett` (max-t over the simple effects; needs `variances: pooled`).
        variances: `welch` (each cell its own run variance) or `pooled`.
        comparisons: non-inferiority questions.
    """

    target: Target = "these_domains"
    alpha: float = 0.05
    families: tuple[Family, ...] | None = None
    correction: Literal["holm", "dunnett"] = "holm"
    variances: Literal["welch", "pooled"] = "welch"
    comparisons: tuple[Comparison, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in [
            ("target", get_args(Target)),
            ("correction", ("holm", "dunnett")),
            ("variances", ("welch", "pooled")),
        ]:
            require_one_of(getattr(self, name), allowed, f"analysis.{name}")
        for family in self.families or ():
            require_one_of(family, get_args(Family), "analysis.families")
        if not 0 < self.alpha < 1:
            raise PlanError(f"alpha is {self.alpha}", where="analysis.alpha", allowed=["a number between 0 and 1"])
        if self.correction == "dunnett" and self.variances != "pooled":
            raise PlanError(
                "Dunnett's test needs one run variance for all cells",
                where="analysis.correction",
                remedy="declare `variances: pooled`, or keep `correction: holm`",
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """An analysis from plain values (JSON or a config); unknown keys are named."""
        values = dict(values)
        require_keys(values, [f.name for f in fields(cls)], "analysis")
        comparisons = []
        for c in values.pop("comparisons", None) or ():
            require_keys(c, [f.name for f in fields(Comparison)], "analysis.comparisons")
            try:
                comparisons.append(Comparison(**c))
            except TypeError as error:
                raise PlanError(
                    f"a comparison is incomplete: {error}",
                    where="analysis.comparisons",
                    remedy="give name, cell, versus and margin",
                ) from error
        families = values.pop("families", None)
        return cls(
            **values,
            families=None if families is None else tuple(families),
            comparisons=tuple(comparisons),
        )


@dataclass(frozen=True)
class Plan:
    """A locked study: factors, cells, seeds, metric, analysis.

    Attributes:
        name: the study's name.
        factors: what is switched, in the order of the tables.
        cells: the design's cells, baseline first, those under an `exclude` rule left out.
        seeds: one run of every cell per seed.
        design: name or dotted path of the design that gave the cells.
        metric, direction: the primary metric and which way is better.
        margin: the smallest difference that matters, in units of the metric; None declares none.
        blocking: `seed` where runs of one seed share split, order or initial weights across cells; else `none`.
        domains: domain group -> its domains (`name` or `name/shift`); empty: every domain is its own group.
        exclude: rules; a cell that agrees with one is not run.
        excluded: the cells that the rules took out.
        analysis: how the records will be judged.
        config: the base config composed for the study, without seed and `hydra.*`; empty for a plain task.
        changes: per cell, its config's difference from the base config: dotted key -> value.
        provenance: commit, packages, digests of source files; beside the identity, not in it.
    """

    name: str
    factors: tuple[Factor, ...]
    cells: tuple[Cell, ...]
    seeds: tuple[int, ...]
    design: str
    metric: str
    direction: Literal["maximize", "minimize"]
    margin: float | None = None
    blocking: Literal["seed", "none"] = "seed"
    domains: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exclude: tuple[Mapping[str, Any], ...] = ()
    excluded: tuple[Cell, ...] = ()
    analysis: Analysis = field(default_factory=Analysis)
    config: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[Mapping[str, Any], ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def baseline(self) -> Cell:
        """The cell that has every factor at its baseline, whether or not the plan runs it."""
        return Cell({f.key: f.baseline for f in self.factors})

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of contrasts that the analysis computes."""
        chosen = self.analysis.families or DEFAULT_FAMILIES.get(self.design, ("simple", "domain"))
        return (*chosen, "noninferiority") if self.analysis.comparisons and "noninferiority" not in chosen else chosen

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial, blocked by seed and shuffled within the block: a study stopped half-way is balanced."""
        changes = self.changes or ({},) * len(self.cells)
        base = flatten(self.config)
        configs = [digest({**base, **change}) if base or change else "" for change in changes]
        ordered: list[Trial] = []
        for seed in self.seeds:
            block = [Trial.of(cell, seed, config) for cell, config in zip(self.cells, configs, strict=True)]
            random.Random(f"{self.name}/{seed}").shuffle(block)
            ordered += block
        return tuple(ordered)

    @cached_property
    def hash(self) -> str:
        """The study's identity: digest of everything but its provenance."""
        return digest({k: v for k, v in self.to_dict().items() if k != "provenance"})

    def group_of(self, domain: str) -> str:
        """The domain group of `name` or `name/shift`; PlanError if groups are declared and it is in none."""
        if not self.domains:
            return domain
        for group, members in self.domains.items():
            if domain in members:
                return group
        declared = [d for members in self.domains.values() for d in members]
        raise PlanError(
            f"domain {domain!r} is in no domain group of the plan", where="domains", allowed=declared, word=domain
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        changes = self.changes or ({},) * len(self.cells)
        return {
            "format": FORMAT,
            "name": self.name,
            "factors": [
                {"key": f.key, "levels": list(f.levels), "baseline": f.baseline, "role": f.role} for f in self.factors
            ],
            "design": self.design,
            "cells": [
                {"levels": dict(cell), **({"changes": dict(change)} if change else {})}
                for cell, change in zip(self.cells, changes, strict=True)
            ],
            "exclude": [dict(rule) for rule in self.exclude],
            "excluded": [dict(cell) for cell in self.excluded],
            "seeds": list(self.seeds),
            "metric": self.metric,
            "direction": self.direction,
            "margin": self.margin,
            "blocking": self.blocking,
            "domains": {group: list(members) for group, members in self.domains.items()},
            "analysis": _analysis_dict(self.analysis),
            "config": dict(self.config),
            "provenance": dict(self.provenance),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The plan that `to_dict` gave."""
        if values.get("format") != FORMAT:
            raise StudyError(
                f"a plan of format {values.get('format')!r}", where=PLAN_FILE, allowed=[FORMAT], remedy="update ablate"
            )
        changes = tuple(c.get("changes", {}) for c in values["cells"])
        return cls(
            name=values["name"],
            factors=tuple(
                Factor(f["key"], tuple(f["levels"]), baseline=f["baseline"], role=f["role"]) for f in values["factors"]
            ),
            cells=tuple(Cell(c["levels"]) for c in values["cells"]),
            changes=changes if any(changes) else (),
            seeds=tuple(values["seeds"]),
            design=values["design"],
            metric=values["metric"],
            direction=values["direction"],
            margin=values["margin"],
            blocking=values["blocking"],
            domains={group: tuple(members) for group, members in values["domains"].items()},
            exclude=tuple(values["exclude"]),
            excluded=tuple(Cell(c) for c in values["excluded"]),
            analysis=Analysis.from_dict(values["analysis"]),
            config=values["config"],
            provenance=values["provenance"],
        )

    def write(self, folder: Path) -> Path:
        """Lock the plan: write `plan.json` into the folder, whole or not at all."""
        path = folder / PLAN_FILE
        text = json.dumps({**self.to_dict(), "hash": self.hash}, indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(path, text + "\n")
        return path

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The plan locked in a study's folder.

        Raises:
            StudyError: there is none, it is damaged, or it was edited by hand (its hash does not match).
        """
        path = folder / PLAN_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            plan = cls.from_dict(values)
        except FileNotFoundError as error:
            raise StudyError(
                "no plan is locked here", where=str(path), remedy="run the study, or name a study's folder"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StudyError(
                f"the plan cannot be read: {error!r}", where=str(path), remedy="restore it from version control"
            ) from error
        if values.get("hash") != plan.hash:
            raise StudyError(
                "the plan was edited after it was locked: its hash does not match",
                where=str(path),
                remedy="restore it from version control, or start a new study",
            )
        return plan


def plan(
    factors: Mapping[str, Iterable[Level]] | Sequence[Factor],
    *,
    metric: str = "value",
    direction: Literal["maximize", "minimize"] = "maximize",
    seeds: int | Iterable[int] = 5,
    design: str | Callable[[Sequence[Factor]], list[Cell]] = "full_factorial",
    baseline: Mapping[str, Level] | None = None,
    across: Sequence[str] = (),
    exclude: Sequence[Mapping[str, Any]] = (),
    domains: Mapping[str, Iterable[str]] | Iterable[str] = (),
    margin: float | None = None,
    blocking: Literal["seed", "none"] = "seed",
    analysis: Analysis | Mapping[str, Any] | None = None,
    name: str = "study",
) -> Plan:
    """Declare a study. Nothing is run and nothing is written.

    Args:
        factors: factor key -> levels, the first being the baseline; or Factor values.
        metric: the primary metric, as the task names it. A task that returns one float measures this one.
        direction: whether more of it is better.
        seeds: how many runs of every cell (0, 1, ...), or the seeds themselves.
        design: `full_factorial`, `one_at_a_time`, `leave_one_out`, `cumulative`, a dotted path, or a function.
        baseline: baseline levels other than the first.
        across: factors at which the whole design is repeated, reported apart.
        exclude: rules such as `{"size": "large", "data": ["a", "b"]}`; a cell that agrees with one is left out.
        domains: domain group -> domains, or a plain list of domains; empty accepts what the task measures.
        margin: the smallest difference that matters, in units of the metric.
        blocking: `seed` (default) where runs of one seed share randomness across cells; else `none`.
        analysis: target, alpha, families, correction, comparisons.
        name: the study's name.

    Raises:
        PlanError: says which argument, what is allowed, and what to do.
    """
    factors = _named_factors(factors, baseline or {}, across)
    build = design_named(design) if isinstance(design, str) else design
    if isinstance(domains, Mapping):
        groups = {str(g): (members,) if isinstance(members, str) else tuple(members) for g, members in domains.items()}
    else:
        groups = {str(d): (str(d),) for d in domains}
    made = Plan(
        name=name,
        factors=factors,
        cells=tuple(build_cells(factors, build)),
        seeds=_seed_list(seeds),
        design=design if isinstance(design, str) else f"{design.__module__}.{design.__qualname__}",
        metric=metric,
        direction=direction,
        margin=margin,
        blocking=blocking,
        domains=groups,
        analysis=analysis if isinstance(analysis, Analysis) else Analysis.from_dict(analysis or {}),
    )
    made = _leave_out(made, exclude)
    _check(made)
    return made


def _named_factors(
    factors: Mapping[str, Iterable[Level]] | Sequence[Factor], baseline: Mapping[str, Level], across: Sequence[str]
) -> tuple[Factor, ...]:
    if isinstance(factors, Mapping):
        factors = [Factor(key, tuple(levels)) for key, levels in factors.items()]
    keys = [f.key for f in factors]
    for key in [*baseline, *across]:
        require_one_of(key, keys, "baseline" if key in baseline else "across", "factor")
    if len(set(keys)) < len(keys):
        raise PlanError("a factor is named twice", where="factors", remedy="give all its levels in one place")
    return tuple(
        replace(
            f,
            baseline=f.level(baseline[f.key]) if f.key in baseline else f.baseline,
            role="across" if f.key in across else f.role,
        )
        for f in factors
    )


def _seed_list(seeds: int | Iterable[int]) -> tuple[int, ...]:
    values = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    where, remedy = "seeds", "give how many (`seeds: 5`) or a list of whole numbers"
    if not values:
        raise PlanError("no seeds: nothing would be run", where=where, remedy=remedy)
    if any(isinstance(s, bool) or not isinstance(s, int) or not 0 <= s < 2**32 for s in values):
        raise PlanError(f"seeds are {values}", where=where, allowed=["whole numbers from 0 to 2^32 - 1"], remedy=remedy)
    if len(set(values)) < len(values):
        raise PlanError("a seed occurs twice: it would be the same run", where=where, remedy=remedy)
    return values


def _leave_out(made: Plan, rules: Sequence[Mapping[str, Any]]) -> Plan:
    levels = {f.key: f for f in made.factors}
    for rule in rules:
        for key, wanted in rule.items():
            require_one_of(key, levels, "exclude", "factor")
            for word in wanted if is_list(wanted) else [wanted]:
                levels[key].level(word)
    out = [cell for cell in made.cells if any(rule and cell.agrees(rule) for rule in rules)]
    kept = tuple(cell for cell in made.cells if cell not in out)
    return replace(made, cells=kept, excluded=tuple(out), exclude=tuple(dict(rule) for rule in rules))


def _check(made: Plan) -> None:
    if len(made.cells) < 2:
        raise PlanError(
            f"{len(made.cells)} cell(s) are left: nothing to compare", where="exclude", remedy="loosen the rules"
        )
    require_one_of(made.direction, ("maximize", "minimize"), "direction")
    require_one_of(made.blocking, ("seed", "none"), "blocking")
    for c in made.analysis.comparisons:
        for side in (c.cell, c.versus):
            for key, word in side.items():
                by_key = {f.key: f for f in made.factors}
                require_one_of(key, by_key, f"analysis.comparisons.{c.name}", "factor")
                by_key[key].level(word)
    margins = [("margin", made.margin), *((f"analysis.comparisons.{c.name}.margin", c.margin) for c in made.analysis.comparisons)]
    for where, margin in margins:
        if margin is not None and not margin > 0:
            raise PlanError(f"a margin of {margin}", where=where, allowed=["a positive number, in units of the metric"])
    members = [d for group in made.domains.values() for d in group]
    twice = sorted({d for d in members if members.count(d) > 1})
    if twice:
        raise PlanError(f"domains in two groups: {', '.join(twice)}", where="domains", remedy="name each domain once")


def drift(locked: Plan, now: Plan) -> list[str]:
    """What differs between two plans, a line each: `key: before -> now`; empty if they are one study."""
    before, after = ({k: v for k, v in p.to_dict().items() if k != "provenance"} for p in (locked, now))
    for values, p in ((before, locked), (after, now)):
        values["cells"] = {str(c): ch or "baseline" for c, ch in zip(p.cells, p.changes or p.cells, strict=True)}
        values["factors"] = {f.key: {"levels": list(f.levels), "baseline": f.baseline} for f in p.factors}
    return list(differences(flatten(before), flatten(after)))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """`key: before -> after` for every key whose value differs between two flat mappings."""
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key, "(absent)"), after.get(key, "(absent)")
        if old != new:
            yield f"{key}: {old} -> {new}"


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one flat mapping with dotted keys; lists are leaves, an empty mapping stays one."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def require_one_of(word: object, allowed: Iterable[object], where: str, kind: str = "value") -> None:
    """PlanError that lists what is allowed, unless `word` is."""
    allowed = list(allowed)
    if word not in allowed:
        raise PlanError(f"unknown {kind} {word!r}", where=where, allowed=allowed, word=word)


def require_keys(values: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
    """PlanError for the first key of a mapping that nobody reads."""
    for key in values:
        require_one_of(key, allowed, where, "key")


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a reader, or a crash, never sees half of it: aside, flushed to disk, then renamed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with aside.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def _analysis_dict(analysis: Analysis) -> dict[str, Any]:
    return {
        "target": analysis.target,
        "alpha": analysis.alpha,
        "families": None if analysis.families is None else list(analysis.families),
        "correction": analysis.correction,
        "variances": analysis.variances,
        "comparisons": [
            {"name": c.name, "cell": dict(c.cell), "versus": dict(c.versus), "margin": c.margin}
            for c in analysis.comparisons
        ],
    }
