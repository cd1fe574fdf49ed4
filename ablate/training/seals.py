"""The seal on test sets: while a trial tunes, nothing may open one, not even to train on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ablate.errors import TrialError

_sealed: ContextVar[bool] = ContextVar("sealed", default=False)


@contextmanager
def seal() -> Iterator[None]:
    """Keep test sets closed to what asks `require_open`."""
    token = _sealed.set(True)
    try:
        yield
    finally:
        _sealed.reset(token)


def require_open(where: str) -> None:
    """Ask before a test set is opened on purpose.

    Raises:
        TrialError: the trial tunes.
    """
    if _sealed.get():
        remedy = "do not tune arms that are trained on test items: leave the nuisances out, or `tuning.scope: fixed`"
        raise TrialError("a test set would be opened while nuisances are tuned", where=where, remedy=remedy)
