"""Where trials run: one after the other in this process, or a pool of warm local processes.

A launcher takes the attempts and hands them back as they end. It returns no results: the record that the trial's own
process wrote is the result, and an attempt that came back without one has lost its worker.
"""

import contextlib
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from ablate.errors import PlanError
from ablate.plans import Plan
from ablate.runs import Attempt, Task, perform

# Attempts come from a function that claims the next one, so that nothing is claimed before a worker is free.
Next = Callable[[], Attempt | None]
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Launcher(Protocol):
    """Runs attempts.

    `launch` yields each attempt, as it ends, with None or with what happened to its worker. `check` calls a function
    on items where trials would run and yields each item with its result, or the exception, or what happened.
    """

    def launch(self, task: Task, plan: Plan, claim: Next) -> Iterator[tuple[Attempt, Any]]: ...
    def check(self, function: Callable[[Any], object], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]: ...


@dataclass(frozen=True)
class InProcess:
    """One trial after the other in the calling process."""

    def launch(self, task: Task, plan: Plan, claim: Next) -> Iterator[tuple[Attempt, Any]]:
        """Claim, run, yield, until nothing is left to claim."""
        while attempt := claim():
            perform(task, attempt, plan)
            yield attempt, None

    def check(self, function: Callable[[Any], object], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Call a function on each item here."""
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:  # noqa: BLE001 - what a check raises is its finding
                yield item, error


@dataclass(frozen=True)
class LocalPool:
    """A pool of warm processes on this machine. A worker that dies, or runs out of time, loses its own trial only.

    Attributes:
        workers: processes; None takes the processors this process may use.
        threads: numerical threads per worker; None shares the processors among the workers.
        timeout: seconds a trial may take; None lets it.
        preload: modules imported once, before the workers are forked.
    """

    workers: int | None = None
    threads: int | None = None
    timeout: float | None = None
    preload: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        for name in ("workers", "threads"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise PlanError(f"{name} is {value!r}", where="launcher", allowed=["a whole number from 1", "null"])
        if self.timeout is not None and not (type(self.timeout) in (int, float) and self.timeout > 0):
            raise PlanError(f"timeout is {self.timeout!r}", where="launcher", allowed=["seconds, more than 0", "null"])

    def launch(self, task: Task, plan: Plan, claim: Next) -> Iterator[tuple[Attempt, Any]]:
        """Keep every worker busy; yield attempts as they end."""
        yield from self._stream(_perform, (task, plan), claim)

    def check(self, function: Callable[[Any], object], items: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
        """Call a function on each item in the workers; yields (item, result or exception) as they end."""
        left = iter(items)
        yield from self._stream(_call, function, lambda: next(left, None))

    def _stream(self, work: Callable[[Any], Any], payload: Any, claim: Callable[[], Any]) -> Iterator[tuple[Any, Any]]:
        from pebble import ProcessPool

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = self.workers or cores
        threads = self.threads or max(1, cores // workers)
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([*self.preload, "ablate.records"])
        sent = _pack(payload)
        with (
            _environment(threads),
            ProcessPool(
                max_workers=workers, context=context, initializer=_start_worker, initargs=(threads, sent)
            ) as pool,
        ):
            running: dict[Future[Any], Any] = {}
            try:
                while True:
                    while len(running) < workers and (item := claim()) is not None:
                        running[pool.schedule(work, args=(item,), timeout=self.timeout)] = item
                    if not running:
                        break
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        yield running.pop(future), self._outcome(future)
            except BaseException:
                pool.stop()  # type: ignore[no-untyped-call]  # pebble types all but this
                raise

    def _outcome(self, future: "Future[Any]") -> Any:
        from pebble import ProcessExpired

        error = future.exception()
        if isinstance(error, _Unloadable):
            raise PlanError(
                f"the workers cannot load the task: {error}",
                where="launcher",
                remedy="what it is made of must be importable in another process; or run it without workers",
            )
        if isinstance(error, ProcessExpired):
            return f"its worker process died (exit code {error.exitcode})"
        if isinstance(error, TimeoutError):
            return f"stopped after {self.timeout:g} s, the time a trial may take"
        return future.result() if error is None else error


class _Unloadable(Exception):
    """What a worker was started for cannot be loaded there."""


def _pack(payload: object) -> bytes:
    import cloudpickle

    try:
        packed: bytes = cloudpickle.dumps(payload)
    except Exception as error:  # its parts raise what they like
        raise PlanError(
            f"the task cannot be sent to worker processes: {type(error).__name__}: {error}",
            where="launcher",
            remedy="let it make locks, connections and open files when it is called; or run it without workers",
        ) from error
    return packed


_payload: Any = None  # what this worker process was started for


def _start_worker(threads: int, sent: bytes) -> None:
    import cloudpickle

    global _payload
    _set_threads(threads)  # for what the trial imports later; the workers' server may be of an earlier pool
    try:
        _payload = cloudpickle.loads(sent)
    except Exception as error:  # noqa: BLE001 - told with the first trial: an initializer's error breaks the pool
        _payload = _Unloadable(f"{type(error).__name__}: {error}")
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End this worker when its driver is gone, even if nobody has reaped it: nobody would book what it still does."""
    if driver := multiprocessing.parent_process():
        driver.join()
        os._exit(1)


def _perform(attempt: Attempt) -> None:
    if isinstance(_payload, _Unloadable):
        raise _payload
    task, plan = _payload
    with _output_to(attempt), contextlib.chdir("."):  # and back, wherever the task went
        perform(task, attempt, plan)


def _call(item: Any) -> Any:
    if isinstance(_payload, _Unloadable):
        raise _payload
    try:
        return _payload(item)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # noqa: BLE001 - an error may hold what cannot travel; its text can
            raise RuntimeError(f"{type(error).__name__}: {error}") from None
        raise


@contextlib.contextmanager
def _output_to(attempt: Attempt) -> Iterator[None]:
    """Send what a trial prints, from Python or below, to `output.log` in its attempt's folder.

    Each trial gets streams of its own: one that closes or replaces them takes nothing from the next.
    """
    kept = [os.dup(1), os.dup(2)]
    with (attempt.folder / "output.log").open("ab") as log:
        for target in (1, 2):
            os.dup2(log.fileno(), target)
    out, err = (os.fdopen(target, "w", 1, "utf-8", "backslashreplace", closefd=False) for target in (1, 2))
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield
    finally:
        for stream in (out, err):
            with contextlib.suppress(ValueError):  # the trial closed it
                stream.flush()
        for target, original in enumerate(kept, start=1):
            os.dup2(original, target)
            os.close(original)


def _set_threads(threads: int) -> None:
    os.environ.update(dict.fromkeys(THREADS, str(threads)))


@contextlib.contextmanager
def _environment(threads: int) -> Iterator[None]:
    """The thread counts that numerical libraries read when they are imported, for the workers' server to inherit."""
    before = {name: os.environ.get(name) for name in THREADS}
    _set_threads(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
