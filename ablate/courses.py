"""The course of a study: the seeds granted to each cell, look by look, where they are added until decided."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.errors import StudyError
from ablate.factors import Cell, Trial, digest, level_name
from ablate.files import write_whole
from ablate.plans import Plan

COURSE_FILE = "looks.json"


@dataclass(frozen=True)
class Look:
    """What was found after a number of seeds.

    Attributes:
        seeds: of every cell that was still open.
        open: the cells that get more, in the plan's order.
        lines: the state of every contrast that stopping is about, a sentence each.
    """

    seeds: int
    open: tuple[Cell, ...]
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Course:
    """The looks taken so far.

    Attributes:
        plan: its plan.
        taken: in their order.
    """

    plan: Plan
    taken: tuple[Look, ...] = ()

    @property
    def over(self) -> bool:
        """Whether no cell gets more seeds."""
        return bool(self.taken) and (not self.taken[-1].open or self.taken[-1].seeds >= self.plan.looks[-1])

    @property
    def granted(self) -> Mapping[Cell, int]:
        """Seeds of every cell, those until the next look included."""
        found = dict.fromkeys(self.plan.cells, self.plan.looks[0])
        for look, following in zip(self.taken, self.plan.looks[1:], strict=False):
            found |= dict.fromkeys(look.open, following)
        return found

    @property
    def trials(self) -> tuple[Trial, ...]:
        """The trials that are to be run so far, in the plan's order."""
        granted = self.granted
        place = {seed: i for i, seed in enumerate(self.plan.seeds)}
        return tuple(t for t in self.plan.trials if place[t.seed] < granted[t.cell])

    def write(self, folder: Path) -> None:
        """Keep the looks in the study's folder; none are kept where seeds are fixed."""
        looks = [
            {"seeds": look.seeds, "open": [_names(cell) for cell in look.open], "lines": list(look.lines)}
            for look in self.taken
        ]
        values = {"plan": self.plan.hash, "looks": looks}
        text = json.dumps({**values, "hash": digest(values)}, indent=1, ensure_ascii=False)
        write_whole(folder / COURSE_FILE, text + "\n")

    @classmethod
    def read(cls, folder: Path, plan: Plan) -> "Course":
        """The course so far; a study whose seeds are fixed has one look, at the end.

        Raises:
            StudyError: the file was edited, or belongs to another plan.
        """
        path = folder / COURSE_FILE
        if plan.analysis.stopping == "fixed" or not path.is_file():
            return cls(plan)
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            sound = values.pop("hash") == digest(values) and values["plan"] == plan.hash
            cells = {tuple(_names(cell).items()): cell for cell in plan.cells}
            taken = tuple(
                Look(look["seeds"], tuple(cells[tuple(c.items())] for c in look["open"]), tuple(look["lines"]))
                for look in values["looks"]
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            sound, taken = False, ()
        if not sound:
            remedy = "delete it: the looks are taken again from the records"
            raise StudyError("the looks were edited, or are another plan's", where=str(path), remedy=remedy)
        return cls(plan, taken)


def _names(cell: Cell) -> dict[str, str]:
    return {key: level_name(level) for key, level in cell.items()}


def unneeded(course: Course) -> Iterator[Trial]:
    """The planned trials that will not be run, since what they would tell is decided."""
    if course.over:
        wanted = {trial.id for trial in course.trials}
        yield from (trial for trial in course.plan.trials if trial.id not in wanted)
