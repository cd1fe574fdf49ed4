"""Texts that an installed Python carries, as domains for models of bytes: nothing is downloaded.

`code`, `docstrings` and `manual` may be trained on; `licences`, `tests` and `tables` are held out. What they hold is
fixed by the versions of Python and of five packages that `ablate` needs; a digest of each can be stated, and is then
checked.
"""

import ast
import importlib.util
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from hashlib import blake2b, sha256
from importlib.metadata import distribution
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ablate.errors import TrialError
from ablate.training.streams import make_generator

Part = Literal["training", "validation", "test"]
Repeats = Literal["kept", "dropped"]
Documents = tuple[tuple[str, bytes], ...]  # each with its name, in the order of the names

TRAINED = ("code", "docstrings", "manual")
HELD_OUT = ("licences", "tests", "tables")
PACKAGES = ("matplotlib", "numpy", "pandas", "scikit-learn", "scipy")
# Of the standard library: tests are a domain of their own, and the rest is not written by hand, or differs by build.
LEFT_OUT = {"test", "tests", "idle_test", "lib2to3", "pydoc_data", "site-packages", "dist-packages", "__phello__"}
SEPARATOR = b"\n\0\n"  # between documents
RUN = 4  # lines that are compared together: shorter runs are common without being copied


# --- sources ----------------------------------------------------------------------------------------------------------


@cache
def read_source(source: str) -> Documents:
    """The documents of a source.

    `code`: modules of the standard library without their docstrings; `docstrings`: the docstrings of each; `manual`:
    the topics that `help()` shows; `licences`, `tests` and `tables`: licence files of five packages, the tests of
    numpy, and the CSV files of scikit-learn and matplotlib.

    Raises:
        TrialError: there is no such source, or this installation does not have its texts.
    """
    readers: dict[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
        "code": lambda: ((name, parts[0]) for name, parts in _read_library()),
        "docstrings": lambda: ((name, parts[1]) for name, parts in _read_library()),
        "manual": _read_manual,
        "licences": lambda: _read_files(PACKAGES, lambda p: ".dist-info" in str(p) and "LICEN" in str(p).upper()),
        "tests": lambda: _read_files(["numpy"], lambda p: p.suffix == ".py" and "tests" in p.parts),
        "tables": lambda: _read_files(["matplotlib", "scikit-learn"], lambda p: p.suffix == ".csv"),
    }
    if source not in readers:
        raise TrialError(f"there are no texts {source!r}", where="data.sources", allowed=readers, word=source)
    documents = tuple(sorted((name, text) for name, text in readers[source]() if text.strip()))
    if not documents:
        raise TrialError(
            f"this installation carries no {source}",
            where="data.sources",
            remedy="use a Python and packages that were installed from wheels, whole",
        )
    return documents


@cache
def _read_library() -> tuple[tuple[str, tuple[bytes, bytes]], ...]:
    """Every module of the standard library: its path, its code and its docstrings."""
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for path in sorted(root.rglob("*.py")):
        place = path.relative_to(root)
        if not LEFT_OUT & {*place.parts} and not place.parts[0].startswith(("config-", "_sysconfigdata")):
            found.append((place.as_posix(), part_module(path.read_bytes())))
    return tuple(found)


def part_module(source: bytes) -> tuple[bytes, bytes]:
    """The source of a module without its docstrings, and its docstrings, each a paragraph."""
    text = importlib.util.decode_source(source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the module escapes wrongly
        tree = ast.parse(text)
    code = text.encode("utf-8", "surrogatepass")
    starts = np.cumsum([0, *map(len, code.splitlines(keepends=True))]).tolist()
    docstrings, kept, end = [], [], 0
    for node in _list_documented(tree):
        first = node.body[0]
        docstrings.append(ast.get_docstring(node) or "")
        kept.append(code[end : starts[first.lineno - 1] + first.col_offset].rstrip(b" "))
        end = starts[first.end_lineno - 1] + first.end_col_offset
        end += code[end : end + 1] == b"\n"
    return b"".join([*kept, code[end:]]), "\n\n".join(docstrings).encode("utf-8", "surrogatepass")


def _list_documented(node: Any) -> Iterator[Any]:
    """The module, classes and functions that have a docstring, from top to bottom; expressions are not looked into."""
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    if isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None:
        yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _list_documented(child)


def _read_manual() -> Iterator[tuple[str, bytes]]:
    from pydoc_data.topics import topics

    return ((name, text.encode()) for name, text in topics.items())


def _read_files(packages: Sequence[str], wanted: Callable[[Any], bool]) -> Iterator[tuple[str, bytes]]:
    """Files of installed packages, by their place in the installation without the version."""
    for package in packages:
        found = distribution(package)
        for place in found.files or ():
            if wanted(place):
                yield str(place).replace(f"-{found.version}", ""), Path(place.locate()).read_bytes()


@cache
def digest_source(source: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of all documents and their names."""
    digest = sha256()
    for name, text in read_source(source):
        digest.update(f"{len(name.encode())} {len(text)} {name} ".encode() + text)
    return digest.hexdigest()[:16]


def list_versions() -> str:
    """The versions that the texts follow from."""
    return ", ".join([f"python {sys.version.split()[0]}", *(f"{p} {distribution(p).version}" for p in PACKAGES)])


def check_digests(digests: Mapping[str, str]) -> None:
    """TrialError where the texts of a source are not those that are stated.

    Args:
        digests: source -> what `digest_source` gave.
    """
    for source, stated in digests.items():
        if digest_source(source) != stated:
            raise TrialError(
                f"the {source} that this installation carries are other texts: {digest_source(source)}, not {stated}",
                where=f"data.digests.{source}",
                remedy=f"install the versions that the digest was made with; these are {list_versions()}",
            )


# --- windows ----------------------------------------------------------------------------------------------------------


def choose_part(name: str) -> Part:
    """The part that a document belongs to, by the folder, or lone file, in which its package stands.

    The first eight hexadecimal digits of the SHA-256 of that name, modulo ten: 7 validates, 9 tests, the others train.
    So no package is in two parts, and docstrings are in that of their code.
    """
    digit = int(sha256(name.split("/")[0].encode()).hexdigest()[:8], 16) % 10
    return "validation" if digit == 7 else "test" if digit == 9 else "training"


@cache
def choose_documents(source: str, part: Part) -> Documents:
    """The documents of a part; those to train on without what stands in the others, as topics of the manual overlap.

    Sources that are held out are all test.

    Raises:
        TrialError: there is no such source.
    """
    whole = read_source(source)
    if source in HELD_OUT:
        return whole if part == "test" else ()
    chosen = tuple(document for document in whole if choose_part(document[0]) == part)
    if part == "test":
        return chosen
    others = choose_documents(source, "test") + (choose_documents(source, "validation") if part == "training" else ())
    return drop_runs(chosen, {run for _, text in others for run, _ in list_runs(text.splitlines())})


def list_runs(lines: Sequence[bytes]) -> Iterator[tuple[bytes, list[int]]]:
    """Every run of four lines that are not empty: its digest, and the numbers of its lines."""
    filled = [number for number, line in enumerate(lines) if line.strip()]
    for first in range(len(filled) - RUN + 1):
        rows = filled[first : first + RUN]
        yield blake2b(b"\n".join(lines[row].strip() for row in rows), digest_size=16).digest(), rows


def drop_runs(documents: Documents, known: set[bytes], learn: bool = False) -> Documents:
    """Documents without the lines of runs that are known.

    Runs overlap, so a long copy goes whole (exact substrings, Lee 2022, section 4.1, by lines in place of tokens).

    Args:
        documents: with their names.
        known: digests of runs.
        learn: whether a run is known after its first place, so that what is repeated in the documents is dropped.
    """
    known, left = set(known), []
    for name, text in documents:
        lines = text.splitlines(keepends=True)
        dropped: set[int] = set()
        for run, rows in list_runs(lines):
            if run in known:
                dropped.update(rows)
            elif learn:
                known.add(run)
        left.append((name, b"".join(line for row, line in enumerate(lines) if row not in dropped)))
    return tuple(left)


class Windows(Dataset[bytes]):
    """Stretches of bytes, all of one length."""

    def __init__(self, windows: Sequence[bytes]) -> None:
        self.windows = windows

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, row: int) -> bytes:
        return self.windows[row]


@cache
def cut_windows(source: str, part: Part, length: int, repeats: Repeats = "kept", limit: int | None = None) -> Windows:
    """A part of a source in windows of `length` bytes and one more, of which each byte but the first is predicted.

    Documents stand one after the other, and what is left at the end is dropped.

    Args:
        source: of `TRAINED` or `HELD_OUT`.
        part: `training`, `validation` or `test`; see `choose_documents`.
        length: bytes that are predicted.
        repeats: `kept`, or `dropped`: runs of lines that stood before in the same part of the source.
        limit: the most windows, at even distances.

    Raises:
        TrialError: there is no such source.
    """
    documents = choose_documents(source, part)
    if repeats == "dropped":
        documents = drop_runs(documents, set(), learn=True)
    joined = SEPARATOR.join(text for _, text in documents)
    windows = [joined[start : start + length + 1] for start in range(0, len(joined) - length, length)]
    if limit is not None and limit < len(windows):
        windows = [windows[row] for row in np.linspace(0, len(windows) - 1, limit).round().astype(int)]
    return Windows(windows)


@cache
def join_windows(
    sources: tuple[str, ...], part: Part, length: int, repeats: Repeats = "kept", limit: int | None = None
) -> Windows:
    """The windows of several sources, one after the other; arguments are those of `cut_windows`, the limit for each."""
    return Windows([window for s in sources for window in cut_windows(s, part, length, repeats, limit).windows])


def stack_windows(windows: Sequence[bytes]) -> tuple[Tensor, Tensor]:
    """Windows of one length as a batch: bytes (n, length), and those that follow each of them (n, length)."""
    stacked = torch.frombuffer(bytearray(b"".join(windows)), dtype=torch.uint8).reshape(len(windows), -1).long()
    return stacked[:, :-1], stacked[:, 1:]


class Texts(LightningDataModule):
    """Texts of an installed Python: batches of bytes (n, length) and those that follow each of them (n, length).

    Test dataloaders: every source by name. Of what may be trained on, they hold packages and topics that are in no
    training data. Validation: as many windows of each source that may be trained on, whatever is trained on.

    Args:
        seed: the trial's seed; it draws the order.
        sources: to train on, all their windows as they are; `ablate.zoo.changes.mix` weighs them.
        repeats: whether runs of lines that were there before stay in the training data.
        length: bytes that are predicted in every window.
        batch_size: windows per training batch.
        validation: windows of each source to validate on.
        limit: the most windows of a test set.
        digests: source -> digest of what it has to hold; those not named are taken as they are.

    Raises:
        TrialError: a source that there is not or that must not be trained on, or texts that are not those stated.
    """

    def __init__(
        self,
        seed: int,
        sources: Sequence[str] = TRAINED,
        repeats: Repeats = "kept",
        length: int = 128,
        batch_size: int = 32,
        validation: int = 128,
        limit: int = 160,
        digests: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        for given, allowed, where in ((sources, TRAINED, "sources"), ([repeats], get_args(Repeats), "repeats")):
            for word in given:
                if word not in allowed:
                    what = f"{word!r} is not to be trained on" if word in HELD_OUT else f"unknown {word!r}"
                    raise TrialError(what, where=f"data.{where}", allowed=allowed, word=word)
        check_digests(digests or {})
        self.seed, self.sources, self.repeats, self.length = seed, tuple(sources), repeats, length
        self.batch_size, self.validation, self.limit = batch_size, validation, limit

    def train_dataloader(self) -> DataLoader[bytes]:
        """Shuffled windows of all sources."""
        windows = join_windows(self.sources, "training", self.length, self.repeats)
        order = make_generator(self.seed, "order")
        return DataLoader(windows, self.batch_size, shuffle=True, generator=order, collate_fn=stack_windows)

    def val_dataloader(self) -> list[DataLoader[bytes]]:
        """Windows of packages and topics that are neither trained nor tested on; no loader where there are none."""
        held_out = join_windows(TRAINED, "validation", self.length, limit=self.validation)
        return [_load(held_out)] if len(held_out) else []

    def test_dataloader(self) -> dict[str, DataLoader[bytes]]:
        """Every source, those held out among them."""
        return {s: _load(cut_windows(s, "test", self.length, limit=self.limit)) for s in (*TRAINED, *HELD_OUT)}


def _load(windows: Windows) -> DataLoader[bytes]:
    return DataLoader(windows, batch_size=32, collate_fn=stack_windows)
