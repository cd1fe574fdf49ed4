"""Texts are those the installation carries; parts share no document and no run of lines; windows predict every byte."""

import ast
import sys
import sysconfig
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import torch

from ablate.errors import TrialError
from ablate.zoo.texts import (
    HELD_OUT,
    TRAINED,
    Texts,
    check_digests,
    choose_documents,
    choose_part,
    cut_windows,
    digest_source,
    drop_runs,
    list_runs,
    part_module,
    read_source,
    stack_windows,
)

MODULE = b'''"""What it is.

    And more: \xc3\xa9."""

import x  # "no docstring"


class Thing:
    """A thing."""

    def act(self): "Acts."; return 1

    async def wait(self):
        "Waits."
'''
SEEN = ("manual",)  # the quick one


def test_a_module_is_parted_into_code_and_docstrings():
    code, docstrings = part_module(MODULE)
    assert docstrings.decode() == "What it is.\n\nAnd more: é.\n\nA thing.\n\nActs.\n\nWaits."
    lines = [line.rstrip() for line in code.decode().splitlines() if line.strip()]
    assert lines == [
        'import x  # "no docstring"',
        "class Thing:",
        "    def act(self):; return 1",
        "    async def wait(self):",
    ]


def test_what_has_no_docstring_stays_as_it_is():
    source = b"def f():\n    x = 'no docstring'\n    return x\n"
    assert part_module(source) == (source, b"")
    module = ast.unparse(ast.parse("if 1:\n  try: pass\n  except E:\n    def g():\n      'Inside.'\n      return 2"))
    assert part_module(module.encode())[1] == b"Inside."


def test_a_long_copy_goes_whole_and_a_short_one_stays():
    first = b"".join(b"line %d\n\n" % n for n in range(9))
    copied = b"own\n" + b"".join(b"  line %d\n" % n for n in range(2, 8)) + b"line 0\nline 1\nend\n"
    kept = dict(drop_runs((("a", first), ("b", copied)), set(), learn=True))
    assert kept == {"a": first, "b": b"own\nline 0\nline 1\nend\n"}
    known = {run for run, _ in list_runs(first.splitlines())}
    assert len(known) == 6
    assert drop_runs((("b", copied),), known) == (("b", kept["b"]),)
    assert drop_runs((("a", first), ("b", copied)), set()) == (("a", first), ("b", copied))


def test_packages_go_into_one_part_and_parts_are_of_the_stated_sizes():
    assert choose_part("email/policy.py") == choose_part("email/mime/text.py") == "validation"
    parts = [choose_part(f"package{n}/x.py") for n in range(2000)]
    shares = [parts.count(part) / len(parts) for part in ("validation", "test", "training")]
    assert shares == pytest.approx([0.1, 0.1, 0.8], abs=0.02)


def test_no_part_has_a_run_of_lines_of_another():
    runs = {}
    for part in ("training", "validation", "test"):
        texts = [text for _, text in choose_documents("manual", part)]
        runs[part] = {run for text in texts for run, _ in list_runs(text.splitlines())}
        assert len(runs[part]) > 100
    assert all(not runs[one] & runs[other] for one, other in combinations(runs, 2))


@pytest.mark.parametrize("source", ["licences", "tables"])
def test_what_is_held_out_is_test_and_nothing_else(source):
    assert choose_documents(source, "test") == read_source(source)
    assert choose_documents(source, "training") == choose_documents(source, "validation") == ()


def test_windows_predict_every_byte_once():
    windows = cut_windows("manual", "test", 100).windows
    assert {len(window) for window in windows} == {101}
    assert all(one[-1:] == other[:1] for one, other in pairwise(windows))
    joined = b"".join(window[:-1] for window in windows)
    first = choose_documents("manual", "test")[0][1]
    assert joined[: len(first)] == first
    few = cut_windows("manual", "test", 100, limit=5).windows
    assert [windows.index(window) for window in few] == [round(n * (len(windows) - 1) / 4) for n in range(5)]


def test_a_batch_is_bytes_and_those_that_follow_them():
    given, following = stack_windows([b"abcd", b"\xff\0 z"])
    assert given.tolist() == [[97, 98, 99], [255, 0, 32]]
    assert following.tolist() == [[98, 99, 100], [0, 32, 122]]
    assert given.dtype == torch.long


def test_the_seed_draws_the_order_and_nothing_else():
    one, same, other = (list(Texts(seed, SEEN, length=100).train_dataloader()) for seed in (1, 1, 2))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0][0], other[0][0])
    rows = [sorted(map(tuple, torch.cat([given for given, _ in batches]).tolist())) for batches in (one, other)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == len(cut_windows("manual", "training", 100))


def test_dropped_repeats_leave_fewer_windows():
    kept, dropped = (cut_windows("manual", "training", 128, repeats) for repeats in ("kept", "dropped"))
    assert 0.5 * len(kept) < len(dropped) < len(kept)


def test_stated_digests_are_checked():
    check_digests({"manual": digest_source("manual")})
    with pytest.raises(TrialError, match=f"python {sys.version.split()[0]}, matplotlib"):
        Texts(0, SEEN, digests={"manual": "0" * 16})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sources": ["cod"]}, "did you mean 'code'"),
        ({"sources": ["code", "tests"]}, "'tests' is not to be trained on"),
        ({"repeats": "droped"}, "did you mean 'dropped'"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(TrialError, match=said):
        Texts(0, **options)


def test_unknown_texts_are_refused():
    with pytest.raises(TrialError, match="did you mean 'manual'"):
        read_source("manuel")


@pytest.mark.slow
def test_the_whole_library_is_read_and_parted():
    code, docstrings = dict(read_source("code")), dict(read_source("docstrings"))
    assert b'"""' not in code["queue.py"].split(b"def get(")[1].split(b"def ")[0]
    assert b"Remove and return an item from the queue." in docstrings["queue.py"]
    for name in ("queue.py", "json/encoder.py", "encodings/cp1252.py"):
        whole = (Path(sysconfig.get_path("stdlib")) / name).read_bytes()
        rest = iter(whole)
        assert all(byte in rest for byte in code[name])  # nothing is added or moved
        assert len(whole) - len(code[name]) >= len(docstrings.get(name, b"").split()) > 0
    assert len(code) > 500
    assert "encodings/cp1252.py" in dict(choose_documents("code", "training"))
    data = Texts(0)
    assert list(data.test_dataloader()) == [*TRAINED, *HELD_OUT]
    assert {len(loader.dataset) for loader in data.test_dataloader().values()} == {160}
    (validation,) = data.val_dataloader()
    assert len(validation.dataset) == 3 * 128
    trained = {*data.train_dataloader().dataset.windows}
    assert not trained & {*validation.dataset.windows}
    for source in TRAINED:
        assert not trained & {*cut_windows(source, "test", 128).windows}
