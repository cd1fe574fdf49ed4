"""The plan: what will be run and how it will be judged, as one frozen value, locked before the first trial.

A plan is data alone. Cells are listed, so that reading a stranger's plan executes nothing of theirs; the config
of a cell is kept as its difference from the base config, so that drift can be shown line by line.
"""

import json
import operator
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from ablate.analyses import DEFAULT_FAMILIES, Analysis, Comparison, Family, Target, require_margin
from ablate.designs import build_cells, declare_design
from ablate.drifts import differences, drift, flatten
from ablate.errors import PlanError, StudyError, require_keys, require_one_of
from ablate.factors import Cell, Factor, Level, Trial, digest, is_list, is_text, level_name
from ablate.files import write_whole

__all__ = ["CLEAN", "PLAN_FILE", "WHOLE", "Analysis", "Comparison", "Family", "Plan", "Target", "plan"]
__all__ += ["differences", "drift", "flatten", "require_keys", "require_one_of", "write_whole"]

PLAN_FILE = "plan.json"
FORMAT = 1
WHOLE = "all"  # the domain of what belongs to the run and to no test set
CLEAN = "none"  # the shift of a domain that was not changed


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
        options: of the design, as declared.
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
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def baseline(self) -> Cell:
        """The cell that has every factor at its baseline, whether or not the plan runs it."""
        return Cell({f.key: f.baseline for f in self.factors})

    @property
    def families(self) -> tuple[Family, ...]:
        """The families of contrasts that the analysis computes."""
        chosen = self.analysis.families or self._default_families
        asked: dict[Family, bool] = {
            "noninferiority": any(c.base is None for c in self.analysis.comparisons),
            "retention": any(c.base is not None for c in self.analysis.comparisons),
        }
        return (*chosen, *(family for family, wanted in asked.items() if wanted and family not in chosen))

    @property
    def _default_families(self) -> tuple[Family, ...]:
        """What the design can answer, less what would say the same twice, or nothing."""
        chosen = DEFAULT_FAMILIES.get(self.design, ("simple", "domain"))
        compared = [f for f in self.factors if f.role == "factor"]
        idle = {"omnibus"} if all(len(f.levels) < 3 for f in compared) else set()
        if "main" in chosen and len(compared) == 1:
            idle |= {"simple", "interaction"}  # the simple effects of a single factor are its main effects
        return tuple(family for family in chosen if family not in idle)

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
        """Plain values, ready for JSON; what came after the first plans is left out where it is not used."""
        changes = self.changes or ({},) * len(self.cells)
        return {
            "format": FORMAT,
            "name": self.name,
            "factors": [
                {"key": f.key, "levels": list(f.levels), "baseline": f.baseline, "role": f.role} for f in self.factors
            ],
            "design": self.design,
            **({"options": dict(self.options)} if self.options else {}),
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
            "analysis": self.analysis.to_dict(),
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
            options=values.get("options", {}),
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
        except (ValueError, KeyError, TypeError, AttributeError, PlanError) as error:
            raise StudyError(
                f"the plan cannot be read: {type(error).__name__}: {error}",
                where=str(path),
                remedy="restore it from version control",
            ) from error
        if values.get("hash") != digest({k: v for k, v in values.items() if k not in ("hash", "provenance")}):
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
    design: str | Mapping[str, Any] | Callable[[Sequence[Factor]], list[Cell]] = "full_factorial",
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
        design: `full_factorial`, `one_at_a_time`, `leave_one_out`, `cumulative`, `fractional_factorial`,
            `plackett_burman`, `d_optimal`, a dotted path, or a function; with options,
            `{"name": "leave_one_out", "groups": ["augment.*"]}`.
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
    factors = _named_factors(factors, baseline or {}, (across,) if isinstance(across, str) else across)
    build, named, options = declare_design(design)
    made = Plan(
        name=name,
        factors=factors,
        cells=tuple(build_cells(factors, build)),
        seeds=_seed_list(seeds),
        design=named,
        options=options,
        metric=metric,
        direction=direction,
        margin=margin,
        blocking=blocking,
        domains=_domain_groups(domains),
        analysis=analysis if isinstance(analysis, Analysis) else Analysis.from_dict(analysis or {}),
    )
    made = _leave_out(made, exclude)
    _check(made)
    return made


def _named_factors(
    factors: Mapping[str, Iterable[Level]] | Sequence[Factor], baseline: Mapping[str, Level], across: Sequence[str]
) -> tuple[Factor, ...]:
    if isinstance(factors, Mapping):
        factors = [Factor(key, levels) for key, levels in factors.items()]  # type: ignore[arg-type] # it makes a tuple
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
    where, remedy = "seeds", "give how many (`seeds: 5`) or a list of whole numbers"
    given = seeds if isinstance(seeds, Iterable) else range(seeds) if type(seeds) is int else (seeds,)
    try:
        values = tuple(-1 if isinstance(seed, bool) else operator.index(seed) for seed in given)
    except TypeError:
        values = (-1,)
    if not values:
        raise PlanError("no seeds: nothing would be run", where=where, remedy=remedy)
    if not all(0 <= seed < 2**32 for seed in values):
        allowed = ["whole numbers from 0 to 2^32 - 1"]
        raise PlanError(f"seeds are {seeds!r:.120}", where=where, allowed=allowed, remedy=remedy)
    if len(set(values)) < len(values):
        raise PlanError("a seed occurs twice: it would be the same run", where=where, remedy=remedy)
    return values


def _domain_groups(domains: Mapping[str, Iterable[str]] | Iterable[str]) -> dict[str, tuple[str, ...]]:
    if not isinstance(domains, Mapping):
        domains = {name: (name,) for name in ([domains] if isinstance(domains, str) else domains)}
    groups = {str(g): (members,) if isinstance(members, str) else tuple(members) for g, members in domains.items()}
    members = [domain for group in groups.values() for domain in group]
    twice = sorted({domain for domain in members if members.count(domain) > 1})
    if twice:
        raise PlanError(f"domains in two groups: {', '.join(twice)}", where="domains", remedy="name each domain once")
    for group in groups:
        if not groups[group]:
            raise PlanError(f"domain group {group!r} is empty", where="domains", remedy="name its domains")
    if WHOLE in {*groups, *members}:
        remedy = "give it another name: this one stands for all domains, and for the run as a whole"
        raise PlanError(f"{WHOLE!r} cannot be the name of a domain", where="domains", remedy=remedy)
    return groups


def _leave_out(made: Plan, rules: Sequence[Mapping[str, Any]]) -> Plan:
    by_key = {f.key: f for f in made.factors}
    if isinstance(rules, Mapping) or not all(isinstance(rule, Mapping) and rule for rule in rules):
        raise PlanError("exclude is a list of rules", where="exclude", allowed=["[{factor: level, ...}, ...]"])
    for rule in rules:
        for key, wanted in rule.items():
            require_one_of(key, by_key, "exclude", "factor")
            for word in wanted if is_list(wanted) else [wanted]:
                by_key[key].level(word)
    out = tuple(cell for cell in made.cells if any(cell.agrees(rule) for rule in rules))
    kept = tuple(cell for cell in made.cells if cell not in out)
    if len(kept) < 2:
        raise PlanError(f"{len(kept)} cell(s) are left: nothing to compare", where="exclude", remedy="loosen the rules")
    for f in made.factors:
        gone = {level_name(cell[f.key]) for cell in out} - {level_name(cell[f.key]) for cell in kept}
        if gone:
            remedy = "take the level out of the factor, or loosen the rules"
            raise PlanError(f"no cell is left with {f.key}={', '.join(sorted(gone))}", where="exclude", remedy=remedy)
    plain = tuple({key: list(want) if is_list(want) else want for key, want in rule.items()} for rule in rules)
    return replace(made, cells=kept, excluded=out, exclude=plain)


def _check(made: Plan) -> None:
    require_one_of(made.direction, ("maximize", "minimize"), "direction")
    require_one_of(made.blocking, ("seed", "none"), "blocking")
    require_margin(made.margin, "margin")
    for key, name in (("metric", made.metric), ("name", made.name)):
        if not (isinstance(name, str) and name.strip() and is_text(name)):
            raise PlanError(f"the {key} is {name!r}", where=key, remedy="a name is text on one line")
    by_key = {f.key: f for f in made.factors}
    for c in made.analysis.comparisons:
        for key, word in [*c.cell.items(), *c.versus.items()]:
            require_one_of(key, by_key, f"analysis.comparisons.{c.name}", "factor")
            by_key[key].level(word)
