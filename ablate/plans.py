"""The plan: what will be run and how it will be judged, as one frozen value, locked before the first trial.

A plan is data alone. Cells are listed, so that reading a stranger's plan executes nothing of theirs; the config
of a cell is kept as its difference from the base config, so that drift can be shown line by line.
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from ablate.analyses import DEFAULT_FAMILIES, SCREENING_DESIGNS, Analysis, Comparison, Family, Target
from ablate.declarations import (
    WHOLE,
    check_plan,
    group_domains,
    name_factors,
    settle_analysis,
    settle_tuning,
    spend_budget,
)
from ablate.designs import build_cells, declare_design
from ablate.drifts import differences, drift, flatten
from ablate.errors import PlanError, StudyError, require_keys, require_one_of
from ablate.factors import Cell, Factor, Level, Trial, digest
from ablate.files import write_whole
from ablate.rules import apply_conditions, read_conditions, split_cells
from ablate.safeguards import Budget, Divergence
from ablate.tunings import Tuning

__all__ = ["CLEAN", "PLAN_FILE", "WHOLE", "Analysis", "Comparison", "Family", "Plan", "Target", "plan"]
__all__ += ["differences", "drift", "flatten", "require_keys", "require_one_of", "write_whole"]

PLAN_FILE = "plan.json"
FORMAT = 1
FIRST_LOOK = 3  # seeds before an e-process is first looked at
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
        conditional: factors, or some of their levels, that exist only under others; see `rules.read_conditions`.
        acknowledged: families of which not every contrast can be estimated, and which are wanted all the same.
        tuning: how nuisances are tuned inside the cells; None: there are none.
        divergence: what counts as divergence and what is done about it; None: a diverged run has failed.
        budget: what compared arms must have spent alike.
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
    conditional: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    acknowledged: tuple[str, ...] = ()
    tuning: Tuning | None = None
    divergence: Divergence | None = None
    budget: Budget = field(default_factory=Budget)

    @property
    def baseline(self) -> Cell:
        """The cell that has every factor at its baseline, whether or not the plan runs it."""
        return Cell({f.key: f.baseline for f in self.factors})

    @property
    def screens(self) -> bool:
        """Whether the design holds a part of the cells on purpose, and takes what it cannot tell apart to be nil."""
        return self.design in SCREENING_DESIGNS

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
        chosen = DEFAULT_FAMILIES.get("" if self.conditional else self.design, ("simple", "domain"))
        compared = [f for f in self.factors if f.compared]
        idle = {"omnibus"} if all(len(f.levels) < 3 for f in compared) else set()
        if "main" in chosen and len(compared) == 1:
            idle |= {"simple", "interaction"}  # the simple effects of a single factor are its main effects
        return tuple(family for family in chosen if family not in idle)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial to be judged, blocked by seed, shuffled within the block: half a study is balanced.

        Where seeds are added until decided these are all that may be run.
        """
        ordered: list[Trial] = []
        for seed in self.seeds:
            block = [self.trial(cell, seed) for cell in self.cells]
            random.Random(f"{self.name}/{seed}").shuffle(block)
            ordered += block
        return tuple(ordered)

    def trial(self, cell: Cell, seed: int) -> Trial:
        """The trial of a cell and a seed."""
        return Trial.of(cell, seed, self._digests[cell])

    def search_trial(self, cell: Cell, proposal: int, seed: int) -> Trial:
        """The trial that tries a cell's proposal on a tuning seed; its settings are for the tuner to fill in."""
        made = Trial.of(cell, seed, f"{self._digests[cell]}/{proposal}")
        return replace(made, phase="search", proposal=proposal)

    def search_trials(self) -> Iterator[Trial]:
        """Every tuning trial that there may be, cell by cell, proposal by proposal."""
        if self.tuning:
            for cell in self.tuned_cells:
                for proposal in range(self.tuning.most):
                    yield from (self.search_trial(cell, proposal, seed) for seed in self.tuning.seeds)

    @property
    def tuned_cells(self) -> tuple[Cell, ...]:
        """The cells in which nuisances are searched: all that are trained, the baseline alone, or none."""
        if self.tuning is None or self.tuning.scope == "fixed":
            return ()
        return self.cells[:1] if self.tuning.scope == "inherited" else tuple(dict.fromkeys(self.carriers.values()))

    @property
    def evaluation(self) -> tuple[str, ...]:
        """The evaluation factors: what is switched after training."""
        return tuple(f.key for f in self.factors if f.role == "evaluation")

    @property
    def blocked(self) -> bool:
        """Whether cells are compared within seeds: runs of one seed share randomness, or are one run."""
        return self.blocking == "seed" or bool(self.evaluation)

    @cached_property
    def carriers(self) -> Mapping[Cell, Cell]:
        """Cell -> the first cell that differs from it in evaluation factors alone; its runs are measured in both."""
        first: dict[Cell, Cell] = {}
        trained = [Cell({key: cell[key] for key in cell if key not in self.evaluation}) for cell in self.cells]
        return {cell: first.setdefault(rest, cell) for cell, rest in zip(self.cells, trained, strict=True)}

    def stratum(self, cell: Cell) -> str:
        """The levels of a cell at which the whole design is repeated, as text; empty where there are no strata."""
        return str(Cell({f.key: cell[f.key] for f in self.factors if f.role == "across"}))

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds after which results are looked at, to end some cells or the study."""
        if self.analysis.stopping == "sequential":
            return self.analysis.looks
        if self.analysis.stopping == "e_process":
            return tuple(range((self.analysis.looks or (FIRST_LOOK,))[0], len(self.seeds) + 1))
        return (len(self.seeds),)

    @cached_property
    def _digests(self) -> dict[Cell, str]:
        """Per cell, what its trials' ids are made of beside cell and seed: the config, and how it is tuned."""
        changes = self.changes or ({},) * len(self.cells)
        base = flatten(self.config)
        configs = [digest({**base, **change}) if base or change else "" for change in changes]
        if self.tuning is not None:
            configs = [digest([config, self.tuning.to_dict()]) for config in configs]
        if self.evaluation:  # a run is what it is measured in, too: with another level all are measured from a new one
            groups: dict[Cell, list[list[str]]] = {}
            for cell, config in zip(self.cells, configs, strict=True):
                groups.setdefault(self.carriers[cell], []).append([str(cell), config])
            configs = [digest([c, groups[self.carriers[cell]]]) for cell, c in zip(self.cells, configs, strict=True)]
        return dict(zip(self.cells, configs, strict=True))

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
            **({"conditional": {k: dict(c) for k, c in self.conditional.items()}} if self.conditional else {}),
            **({"acknowledged": list(self.acknowledged)} if self.acknowledged else {}),
            **({"tuning": self.tuning.to_dict()} if self.tuning else {}),
            **({"divergence": self.divergence.to_dict()} if self.divergence else {}),
            **({"budget": self.budget.to_dict()} if self.budget != Budget() else {}),
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
            conditional=values.get("conditional", {}),
            acknowledged=tuple(values.get("acknowledged", ())),
            tuning=Tuning.from_dict(values["tuning"]) if "tuning" in values else None,
            divergence=Divergence.from_dict(values["divergence"]) if "divergence" in values else None,
            budget=Budget.from_dict(values.get("budget", {})),
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
        values = {**self.to_dict(), "hash": self.hash, "provenance_hash": digest(dict(self.provenance))}
        text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
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
        declared = {k: v for k, v in values.items() if k not in ("hash", "provenance", "provenance_hash")}
        found = digest(values["provenance"])  # sealed beside the identity: commit, packages, sources, training data
        if values.get("hash") != digest(declared) or values.get("provenance_hash", found) != found:
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
    evaluation: Sequence[str] = (),
    exclude: Sequence[Mapping[str, Any]] = (),
    conditional: Mapping[str, Mapping[str, Any]] | None = None,
    domains: Mapping[str, Iterable[str]] | Iterable[str] = (),
    margin: float | None = None,
    blocking: Literal["seed", "none"] = "seed",
    analysis: Analysis | Mapping[str, Any] | None = None,
    acknowledge: Sequence[str] = (),
    max_seeds: int | None = None,
    tuning: Tuning | Mapping[str, Any] | None = None,
    divergence: Divergence | Mapping[str, Any] | None = None,
    budget: Budget | Mapping[str, Any] | None = None,
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
            `{"name": "leave_one_out", "groups": ["augment.*"]}`. A budget, `trials`, is made into `cells`.
        baseline: baseline levels other than the first.
        across: factors at which the whole design is repeated, reported apart.
        evaluation: factors whose levels are all measured from one training run, such as quantisation or decoding: the
            task is called once for all of them (`trial.carries`), and its rows name the level.
        exclude: rules such as `{"size": "large", "data": ["a", "b"]}`; a cell that agrees with one is left out.
        conditional: what exists only under other levels, such as `{"momentum": {"only": {"optimiser": "sgd"}}}`:
            elsewhere the factor stays at its baseline.
        domains: domain group -> domains, or a plain list of domains; empty accepts what the task measures.
        margin: the smallest difference that matters, in units of the metric.
        blocking: `seed` (default) where runs of one seed share randomness across cells; else `none`.
        analysis: target, alpha, families, correction, comparisons.
        acknowledge: families of which not every contrast can be estimated, and which are wanted all the same.
        max_seeds: the most runs of a cell where `analysis.stopping` adds seeds until decided; `seeds` is then how many
            there are at the first look, and between looks.
        tuning: nuisances that are tuned inside every cell, `{"space": {"lr": {"low": 1e-4, "high": 0.1, "log": True}},
            "trials": 20}`; see `ablate.tunings.Tuning`. The task is then called with search trials too
            (`trial.phase`, `trial.settings`), for which it gives validation metrics (`val_<metric>`) and no others.
        divergence: what counts as divergence and what is done about it: see `ablate.safeguards.Divergence`.
        budget: what compared arms must have spent alike: see `ablate.safeguards.Budget`.
        name: the study's name.

    Raises:
        PlanError: says which argument, what is allowed, and what to do.
    """
    roles = {"across": across, "evaluation": evaluation}
    factors = name_factors(
        factors, baseline or {}, {role: [keys] if isinstance(keys, str) else keys for role, keys in roles.items()}
    )
    settled, numbers = settle_analysis(analysis, seeds, max_seeds)
    build, named, options = declare_design(spend_budget(design, factors, len(numbers)))
    conditions = read_conditions(conditional or {}, factors)
    every = apply_conditions(build_cells(factors, build), factors, conditions)
    kept, excluded, rules = split_cells(every, factors, exclude)
    made = Plan(
        name=name,
        factors=factors,
        cells=kept,
        seeds=numbers,
        design=named,
        options=options,
        conditional=conditions,
        metric=metric,
        direction=direction,
        margin=margin,
        blocking=blocking,
        domains=group_domains(domains),
        exclude=rules,
        excluded=excluded,
        analysis=settled,
        acknowledged=tuple([acknowledge] if isinstance(acknowledge, str) else acknowledge),
        tuning=settle_tuning(tuning, metric, direction),
        divergence=divergence if isinstance(divergence, Divergence | None) else Divergence.from_dict(divergence),
        budget=budget if isinstance(budget, Budget) else Budget.from_dict(budget or {}),
    )
    check_plan(made)
    return made
