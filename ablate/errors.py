"""What can go wrong, said so that it can be mended: what, where, what is allowed, what to do."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any


class AblateError(Exception):
    """Base of every error this library raises on purpose.

    Args:
        what: one sentence, what is wrong.
        where: the file and key, or the argument, that holds it.
        allowed: the words that would have been accepted; the nearest to `word` is suggested.
        remedy: what to do next.
        word: the offending word, to look for a near miss among `allowed`.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        allowed: Iterable[object] | None = None,
        remedy: str | None = None,
        word: object = None,
    ) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        self.allowed = None if allowed is None else tuple(str(a) for a in allowed)
        lines = [what]
        if where:
            lines.append(f"  where:   {where}")
        if self.allowed is not None:
            lines.append(f"  allowed: {', '.join(self.allowed) or '(nothing)'}")
            near = get_close_matches(str(word), self.allowed, n=1) if word is not None else []
            if near:
                lines.append(f"  did you mean {near[0]!r}?")
        if remedy:
            lines.append(f"  remedy:  {remedy}")
        super().__init__("\n".join(lines))


class PlanError(AblateError):
    """The declared study makes no sense; found before anything is spent."""


class StudyError(AblateError):
    """The study's folder is not in a state to go on: another plan, drift, a lock, no permission."""


class TrialError(AblateError):
    """A task returned something that cannot be a measurement: not a number, no metric, a wrong domain."""


class Diverged(TrialError):
    """Training left the numbers: a loss, a weight or a score is not finite, or the loss is above the plan's rule."""


class Pruned(AblateError):
    """A tuning trial was stopped early: what it reported so far promised less than the others."""


class RecordsError(AblateError):
    """A table does not hold what records must hold."""


def require_one_of(word: object, allowed: Iterable[object], where: str, kind: str = "value") -> None:
    """PlanError that lists what is allowed, unless `word` is."""
    allowed = list(allowed)
    if word not in allowed:
        raise PlanError(f"unknown {kind} {word!r}", where=where, allowed=allowed, word=word)


def require_keys(values: Mapping[str, Any], allowed: Sequence[str], where: str) -> None:
    """PlanError for the first key of a mapping that nobody reads, or for what is no mapping at all."""
    if not isinstance(values, Mapping):
        raise PlanError(f"{values!r:.80} is not a mapping", where=where, allowed=[f"{key}: ..." for key in allowed])
    for key in values:
        require_one_of(key, allowed, where, "key")
