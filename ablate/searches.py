"""Searches: nuisances tuned in one cell, by Optuna's samplers and pruners, on a budget.

What a cell's n-th proposal is depends on the plan, the cell, n and the values told in that cell before, and on neither
workers nor time: its sampler is seeded anew from these, and what `tpe`, `gp` and the pruners learn from is told to them
in rounds of `parallel` proposals, in their order. So records alone bring a search back to where it was. One exception:
Hyperband compares the proposals of a round while they run, so with `parallel` above one it depends on who is first.
How many proposals a pruner's savings buy depends on how soon trials heed it: what they did spend is what counts.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from ablate.errors import StudyError
from ablate.factors import Cell, Level, Trial
from ablate.ledger import study_name
from ablate.plans import Plan
from ablate.tunings import Choice, Nuisance, Tuning

Outcome = Mapping[str, Any]


@dataclass
class Proposal:
    """A setting on trial in one cell.

    Attributes:
        settings: nuisance -> value.
        entry: the Optuna trial.
        records: tuning seed -> how its run ended.
        step: up to which the pruner was asked about it.
        hopeless: whether the pruner gave it up.
        state: how it ended, once Optuna was told.
        values: of the objectives, if it was run in full.
    """

    settings: Mapping[str, Level]
    entry: optuna.Trial
    records: dict[int, Outcome] = field(default_factory=dict)
    step: int = -1
    hopeless: bool = False
    state: TrialState | None = None
    values: tuple[float, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether a run of it failed or diverged: it has no value."""
        return any(record["status"] in ("failed", "diverged") for record in self.records.values())

    @property
    def pruned(self) -> bool:
        """Whether it was given up before it was run in full."""
        return any(record["status"] == "pruned" for record in self.records.values())


class Search:
    """The search in one cell.

    Args:
        plan: the study's plan.
        cell: where the nuisances are tuned.
        storage: the journal.
        known: proposal -> the settings that records say it had.
    """

    def __init__(
        self, plan: Plan, cell: Cell, storage: Callable[[], JournalStorage], known: Mapping[int, Mapping[str, Level]]
    ) -> None:
        assert plan.tuning is not None
        self.plan, self.cell, self.known = plan, cell, known
        self.tuning: Tuning = plan.tuning
        self.proposals: list[Proposal] = []
        self._storage = storage
        self._space = {n.key: _distribution(n) for n in self.tuning.space}

    @cached_property
    def study(self) -> optuna.Study:
        """The cell's Optuna study, begun anew."""
        name, storage = f"{study_name(self.plan)}/{self.cell}", self._storage()
        with suppress(KeyError):
            optuna.delete_study(study_name=name, storage=storage)
        return optuna.create_study(
            study_name=name,
            storage=storage,
            directions=[objective.direction for objective in self.tuning.objectives],
            pruner=_make_pruner(self.tuning),
        )

    @property
    def learns(self) -> bool:
        """Whether what is told changes what comes next."""
        return self.tuning.sampler in ("tpe", "gp") or self.tuning.pruner != "none"

    @property
    def open(self) -> int:
        """Proposals that have not ended."""
        return sum(not self._ended(proposal) for proposal in self.proposals)

    @property
    def spent(self) -> float:
        """What ended, in full trials: a pruned one counts for the share that it was run, a failed one in full."""
        return round(sum(self._share(proposal) for proposal in self.proposals if self._ended(proposal)), 9)

    @property
    def room(self) -> int:
        """How many proposals can be made now."""
        left = self.tuning.trials - len(self.proposals)
        if self.tuning.pruner != "none":
            left = min(math.ceil(self.tuning.trials - self.spent), self.tuning.most - len(self.proposals))
        if not self.learns:
            return min(left, 1)
        return 0 if self.open else max(0, min(left, self.tuning.parallel))

    def propose(self) -> list[Trial]:
        """Make the proposals of the next round; the trials that run them."""
        trials = []
        for number in range(len(self.proposals), len(self.proposals) + self.room):
            settings = self.known.get(number)
            if settings is None and self.tuning.sampler == "qmc":
                settings = self._sobol_point(number)
            if settings is not None:
                self.study.enqueue_trial(dict(settings))
            self.study.sampler = self._make_sampler(number)
            entry = self.study.ask(fixed_distributions=self._space)
            self.proposals.append(Proposal({n.key: entry.params[n.key] for n in self.tuning.space}, entry))
            seeds = self.tuning.seeds[:1] if self.tuning.pruner == "wilcoxon" else self.tuning.seeds
            trials += [self._trial(number, seed) for seed in seeds]
        return trials

    def follow(self, number: int, values: Sequence[Sequence[float]]) -> bool:
        """Ask the pruner about the intermediate values that are new; whether the proposal is to be stopped."""
        proposal = self.proposals[number]
        for step, value in values:
            if step > proposal.step and not proposal.hopeless:
                self._ask(proposal, int(step), value)
        return proposal.hopeless

    def tell(self, trial: Trial, record: Outcome) -> list[Trial]:
        """Take in how a run ended; the trials that follow from it."""
        number = trial.proposal
        assert number is not None
        proposal = self.proposals[number]
        proposal.records[trial.seed] = record
        following = []
        if self.tuning.pruner == "wilcoxon" and record["status"] == "complete":
            place = self.tuning.seeds.index(trial.seed)
            self._ask(proposal, place, self._values(record)[0])
            if not proposal.hopeless:
                following = [self._trial(number, seed) for seed in self.tuning.seeds[place + 1 : place + 2]]
        elif self.tuning.pruner in ("median", "hyperband"):
            self.follow(number, record.get("values") or ())
        if not (self.learns and self.open):
            for ended in self.proposals:
                if ended.state is None and self._ended(ended):
                    self._close(ended)
        return following

    def choose(self, spent: float) -> Choice:
        """The setting that is selected, from a budget of `spent` full trials.

        Raises:
            StudyError: no proposal has a value.
        """
        valued = {n: p.values for n, p in enumerate(self.proposals) if p.state == TrialState.COMPLETE}
        records = [record for proposal in self.proposals for record in proposal.records.values()]
        if not valued:
            reasons = Counter(str(record.get("reason")) for record in records if record["status"] != "complete")
            raise StudyError(
                f"no proposal of cell {self.cell} has a value: {'; '.join(r for r, _ in reasons.most_common(3))}",
                where=f"tuning of {len(self.proposals)} proposals",
                remedy="mend the task or the ranges, and begin another study or amend this one: what was tried counts",
            )
        number = self.tuning.choose(valued)
        several = len(self.tuning.objectives) > 1
        return Choice(
            self.cell,
            self.proposals[number].settings,
            hpo_trials=min(self.tuning.trials, int(spent)),
            tuned_in=self.cell,
            proposal=number,
            values=valued[number],
            proposals=len(self.proposals),
            runs=len(records),
            failed=sum(record["status"] in ("failed", "diverged") for record in records),
            pruned=sum(proposal.state == TrialState.PRUNED for proposal in self.proposals),
            resource=round(self.spent, 6),
            front=tuple(sorted(entry.number for entry in self.study.best_trials)) if several else (),
        )

    def _ask(self, proposal: Proposal, step: int, value: float) -> None:
        proposal.step = step
        proposal.entry.report(value, step)
        proposal.hopeless = proposal.entry.should_prune()

    def _trial(self, number: int, seed: int) -> Trial:
        made = self.plan.search_trial(self.cell, number, seed)
        return replace(made, settings=self.proposals[number].settings)

    def _ended(self, proposal: Proposal) -> bool:
        if self.tuning.pruner == "wilcoxon" and (proposal.hopeless or proposal.failed):
            return True
        return len(proposal.records) == len(self.tuning.seeds)

    def _close(self, proposal: Proposal) -> None:
        if proposal.failed:
            proposal.state = TrialState.FAIL
        elif proposal.pruned or (self.tuning.pruner == "wilcoxon" and proposal.hopeless):
            proposal.state = TrialState.PRUNED
        else:
            proposal.state = TrialState.COMPLETE
            each = [self._values(record) for record in proposal.records.values()]
            proposal.values = tuple(math.fsum(column) / len(each) for column in zip(*each, strict=True))
        self.study.tell(proposal.entry, proposal.values or None, state=proposal.state)

    def _share(self, proposal: Proposal) -> float:
        if proposal.failed:
            return 1.0
        if self.tuning.pruner == "wilcoxon":
            return len(proposal.records) / len(self.tuning.seeds)
        if not proposal.pruned:
            return 1.0
        full = max((_last_step(r) for p in self.proposals if not p.pruned for r in p.records.values()), default=0)
        steps = max(map(_last_step, proposal.records.values()))
        return min(1.0, steps / full) if steps and full else 1.0  # records that came as a table know no steps

    def _values(self, record: Outcome) -> tuple[float, ...]:
        found = []
        for objective in self.tuning.objectives:
            values = [row["value"] for row in record["rows"] if row["metric"] == objective.metric]
            if not values:
                metrics = sorted({row["metric"] for row in record["rows"]})
                what = f"a tuning trial of {self.cell} has no {objective.metric!r}"
                raise StudyError(what, where="tuning.objectives", allowed=metrics, word=objective.metric)
            found.append(math.fsum(values) / len(values))
        return tuple(found)

    def _make_sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """The sampler of one proposal, seeded from what identifies it."""
        seed = self._seed(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            if self.tuning.sampler == "tpe":
                return optuna.samplers.TPESampler(seed=seed)
            if self.tuning.sampler == "gp":
                return optuna.samplers.GPSampler(seed=seed)
        return optuna.samplers.RandomSampler(seed=seed)

    def _seed(self, number: int) -> int:
        return int(self.plan.search_trial(self.cell, number, self.tuning.seeds[0]).id[:8], 16)

    def _sobol_point(self, number: int) -> dict[str, Level]:
        """The n-th point of the cell's scrambled Sobol sequence.

        Optuna's own QMC sampler draws its first point at random, and counts its points in the journal.
        """
        from scipy.stats import qmc

        sequence = qmc.Sobol(len(self.tuning.space), scramble=True, rng=self._seed(0))
        if number:
            sequence.fast_forward(number)
        (point,) = sequence.random(1)
        return {n.key: _place(n, float(share)) for n, share in zip(self.tuning.space, point, strict=True)}


def _distribution(nuisance: Nuisance) -> BaseDistribution:
    if nuisance.integer:
        return IntDistribution(int(nuisance.low), int(nuisance.high), log=nuisance.log)
    return FloatDistribution(float(nuisance.low), float(nuisance.high), log=nuisance.log)


def _place(nuisance: Nuisance, share: float) -> Level:
    """The value at a share from 0 to 1 of a nuisance's range; whole numbers have equal parts of it."""
    half = 0.5 if nuisance.integer else 0.0
    low, high = nuisance.low - half, nuisance.high + half
    value = low * (high / low) ** share if nuisance.log else low + (high - low) * share
    value = min(max(round(value) if nuisance.integer else value, nuisance.low), nuisance.high)
    return int(value) if nuisance.integer else float(value)


def _make_pruner(tuning: Tuning) -> optuna.pruners.BasePruner:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        if tuning.pruner == "median":
            return optuna.pruners.MedianPruner()
        if tuning.pruner == "hyperband":
            return optuna.pruners.HyperbandPruner()
        if tuning.pruner == "wilcoxon":
            return optuna.pruners.WilcoxonPruner()
    return optuna.pruners.NopPruner()


def _last_step(record: Outcome) -> float:
    values = record.get("values") or [(0, 0.0)]
    return float(values[-1][0])
