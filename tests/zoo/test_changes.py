"""Changes do what they say to the rows they say: counts, nesting, rates, planted repetitions; one seed, one result."""

import os
import re
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import LightningDataModule
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, Dataset, TensorDataset

from ablate.errors import TrialError
from ablate.sweeps import conf_dir
from ablate.training.fingerprints import fingerprint
from ablate.training.parts import build
from ablate.training.streams import replace_streams
from ablate.zoo import changes, scores
from ablate.zoo.datamodules import Changed
from ablate.zoo.datasets import Ordered, count_items, read_labels, trace_rows

N = 120
ROOT = TensorDataset(torch.arange(float(N)), torch.arange(N) % 3)
SKEWED = TensorDataset(torch.arange(60.0), torch.tensor([0] * 40 + [1] * 15 + [2] * 5))
OTHER = TensorDataset(-1 - torch.arange(30.0), torch.zeros(30, dtype=torch.long))
SEEDS = st.integers(0, 50)
SHARES = st.floats(0, 1)


def rows_of(dataset: Dataset[Any], root: Dataset[Any] = ROOT) -> list[int]:
    return trace_rows(dataset, root).tolist()


def wrong(dataset: Dataset[Any]) -> dict[int, int]:
    """Row -> label, where it is not the root's."""
    return {row: label for row, label in enumerate(read_labels(dataset, 1)) if label != row % 3}


class Examined(LightningDataModule):
    """Has one test set, and must not be asked for more."""

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(OTHER, 10)


def easiest_last(dataset: Dataset[Any], seed: int) -> list[int]:
    return list(range(count_items(dataset)))


EVERY = {
    "subset": partial(changes.subset, share=0.5),
    "mislabel": partial(changes.mislabel, share=0.3),
    "asymmetric": partial(changes.mislabel, share=0.3, kind="asymmetric"),
    "duplicate": partial(changes.duplicate, share=0.2),
    "filter": partial(changes.filter_quality, score=lambda dataset, seed: np.zeros(count_items(dataset)), keep=0.5),
    "under": partial(changes.balance, how="under"),
    "over": partial(changes.balance, how="over"),
    "mix": partial(changes.mix, sources=[OTHER], weights=[2, 1]),
    "order": changes.order,
    "contaminate": partial(changes.contaminate, data=Examined(), domain="test", share=0.5),
}


@pytest.mark.parametrize("name", [name for name in EVERY if name != "contaminate"])
def test_one_seed_one_result_whatever_was_drawn_before(name: str) -> None:
    first, again, other = (fingerprint(EVERY[name](SKEWED, seed)) for seed in (4, 4, 5))
    assert first == again != other
    assert first is not None


@pytest.mark.slow
def test_another_process_makes_the_same() -> None:
    code = "from tests.zoo.test_changes import *\nprint(*(fingerprint(change(SKEWED, 4)) for change in EVERY.values()))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {" ".join(str(fingerprint(change(SKEWED, 4))) for change in EVERY.values()) + "\n"}


def test_the_stream_data_decides_and_label_decides_wrong_labels() -> None:
    plain, noisy = EVERY["subset"](ROOT, 0), EVERY["mislabel"](ROOT, 0)
    with replace_streams({"data": 7}):
        assert rows_of(EVERY["subset"](ROOT, 0)) == rows_of(EVERY["subset"](ROOT, 7)) != rows_of(plain)
        assert wrong(EVERY["mislabel"](ROOT, 0)) == wrong(noisy)
    with replace_streams({"label": 7}):
        assert rows_of(EVERY["subset"](ROOT, 0)) == rows_of(plain)
        assert wrong(EVERY["mislabel"](ROOT, 0)) != wrong(noisy)


# --- which rows ------------------------------------------------------------------------------------------------------


@given(SEEDS, SHARES, SHARES)
def test_subsets_are_nested_and_in_order(seed: int, one: float, other: float) -> None:
    small, large = (rows_of(changes.subset(ROOT, seed, share=share)) for share in sorted((one, other)))
    assert set(small) <= set(large)
    assert len(large) == round(max(one, other) * N)
    assert large == sorted(set(large))
    assert large == rows_of(changes.subset(ROOT, seed, size=len(large)))


def test_every_row_is_as_likely_to_stay() -> None:
    counts = Counter(row for seed in range(400) for row in rows_of(changes.subset(ROOT, seed, size=30)))
    deviations = (np.array([counts[row] for row in range(N)]) - 100) / np.sqrt(400 * 0.25 * 0.75)
    assert np.abs(deviations).max() < 4.5  # of 120 counts, each about normal


@given(SEEDS, st.integers(1, 3))
def test_duplicates_stand_behind_as_often_as_asked(seed: int, times: int) -> None:
    rows = rows_of(changes.duplicate(ROOT, seed, share=0.1, times=times))
    assert rows[:N] == list(range(N))
    assert sorted(Counter(rows[N:]).values()) == [times] * 12


@pytest.mark.parametrize("level", ["exact", "normalised"])
def test_planted_repetitions_go_and_nothing_else(level: str) -> None:
    pictures = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    dim = pictures[[3, 3, 7]] * torch.tensor([1, 0.5, 1])[:, None, None, None]
    planted = TensorDataset(torch.cat([pictures, dim]), torch.arange(23) % 2)
    kept = rows_of(changes.deduplicate(planted, 0, level=level), planted)  # type: ignore[arg-type]
    assert kept == [*range(20), *([21] if level == "exact" else [])]


def test_texts_that_nearly_repeat_an_earlier_one_go_whatever_their_labels() -> None:
    texts = ["the cat sat on the mat by the door", "a dog in a fog", "The cat sat on the mat by the doors!", "", ""]
    planted = [{"text": text, "label": number} for number, text in enumerate(texts)]
    drop = partial(changes.deduplicate, planted, 0, content="text")
    assert [list(drop(level=level).indices) for level in ("exact", "near")] == [[0, 1, 2, 3], [0, 1, 3]]
    assert list(drop(level="near", threshold=1.0).indices) == [0, 1, 2, 3]


def test_near_pictures_below_sixteen_pixels_are_refused() -> None:
    with pytest.raises(TrialError, match="no near level: pictures under 16"):
        changes.deduplicate(TensorDataset(torch.rand(4, 1, 8, 8)), 0, level="near")


@given(SEEDS, SHARES)
def test_the_best_by_score_stay_in_their_order(seed: int, share: float) -> None:
    score = np.random.default_rng(seed).permutation(N)
    kept = rows_of(changes.filter_quality(ROOT, seed, score=lambda dataset, seed: score, keep=share))
    assert kept == [row for row in range(N) if score[row] >= N - round(share * N)]


def test_equals_are_told_apart_by_lot_not_by_place() -> None:
    kept = [rows_of(EVERY["filter"](ROOT, seed)) for seed in range(40)]
    assert 40 * 30 * 0.8 < sum(row < N / 2 for rows in kept for row in rows) < 40 * 30 * 1.2


@given(SEEDS)
def test_balancing_equals_the_classes(seed: int) -> None:
    under, over = (changes.balance(SKEWED, seed, how=how) for how in ("under", "over"))  # type: ignore[arg-type]
    assert Counter(read_labels(under, 1)) == {0: 5, 1: 5, 2: 5}
    assert Counter(read_labels(over, 1)) == {0: 40, 1: 40, 2: 40}
    assert rows_of(under, SKEWED) == sorted(set(rows_of(under, SKEWED)))
    assert rows_of(over, SKEWED)[:60] == list(range(60))
    repeats = Counter(rows_of(over, SKEWED))
    assert {repeats[row] for row in range(40)} == {1}
    assert {repeats[row] for row in range(40, 55)} <= {2, 3}
    assert {repeats[row] for row in range(55, 60)} == {8}


@given(SEEDS, st.lists(st.floats(0, 5), min_size=2, max_size=2).filter(any), st.integers(0, 300))
def test_a_mixture_has_its_weights(seed: int, weights: list[float], size: int) -> None:
    rows = rows_of(changes.mix(ROOT, seed, sources=[OTHER], weights=weights, size=size))
    assert len(rows) == size
    own = Counter(row for row in rows if row >= 0)
    assert abs(own.total() - weights[0] / sum(weights) * size) < 1
    assert not own or max(own.values()) - min(own[row] for row in range(N)) <= 1


def test_a_source_that_gives_more_gives_the_same_and_more() -> None:
    less, more = (
        set(rows_of(changes.mix(ROOT, 1, sources=[OTHER], weights=[share, 1 - share]))) for share in (0.3, 0.6)
    )
    assert less < more


def test_a_curriculum_is_by_score_and_its_control_by_lot() -> None:
    rising = changes.order(ROOT, 0, by=easiest_last, hardest_first=True)  # type: ignore[arg-type]
    assert rows_of(rising) == list(range(N))
    assert rows_of(changes.order(ROOT, 0, by=easiest_last)) == list(range(N))[::-1]  # type: ignore[arg-type]
    shuffled = changes.order(ROOT, 0)
    assert sorted(rows_of(shuffled)) == list(range(N)) != rows_of(shuffled)
    assert isinstance(shuffled, Ordered)


KEEPING = ("subset", "mislabel", "filter", "under", "mix", "contaminate")


@pytest.mark.parametrize("name", KEEPING)
def test_later_changes_keep_an_order(name: str) -> None:
    backwards = changes.order(ROOT, 0, by=easiest_last)  # type: ignore[arg-type]
    rows = [row for row in rows_of(EVERY[name](backwards, 0)) if row >= 0]
    assert len(rows) >= 60
    assert rows == sorted(rows, reverse=True)


def test_test_items_are_put_in_on_purpose() -> None:
    made, other = EVERY["contaminate"](ROOT, 0), EVERY["contaminate"](ROOT, 1)
    assert fingerprint(made) == fingerprint(other) != fingerprint(EVERY["contaminate"](ROOT, 0, draw=1))
    assert rows_of(made) == [*range(N), *[-1] * 15]
    added = {int(made[row][0]) for row in range(N, N + 15)}
    assert len(added) == 15
    assert added <= {int(content) for content in OTHER.tensors[0]}


def test_made_items_stand_behind_the_real_ones_and_must_be_as_many() -> None:
    made = changes.add_synthetic(ROOT, 0, generator=lambda dataset, count, seed: OTHER, count=30)
    assert rows_of(made) == [*range(N), *[-1] * 30]
    with pytest.raises(TrialError, match="gave 30 items"):
        changes.add_synthetic(ROOT, 0, generator=lambda dataset, count, seed: OTHER, count=29)


# --- which labels ----------------------------------------------------------------------------------------------------


@given(SEEDS, SHARES, SHARES, st.sampled_from(["symmetric", "asymmetric"]))
def test_exactly_the_share_is_wrong_and_more_noise_keeps_the_wrong_ones(
    seed: int, one: float, other: float, kind: Any
) -> None:
    less, more = (wrong(changes.mislabel(ROOT, seed, share=share, kind=kind)) for share in sorted((one, other)))
    assert len(more) == round(max(one, other) * N)
    assert less.items() <= more.items()


def test_symmetric_noise_goes_to_every_other_class_alike() -> None:
    big = TensorDataset(torch.zeros(8000), torch.arange(8000) % 5)
    moves = Counter((row % 5, label) for row, label in enumerate(read_labels(changes.mislabel(big, 2, share=1.0), 1)))
    assert len(moves) == 20
    assert max(abs(count - 400) for count in moves.values()) < 4 * (1600 * 0.25 * 0.75) ** 0.5


def test_asymmetric_noise_follows_its_transitions() -> None:
    cyclic = changes.mislabel(ROOT, 0, share=0.3, kind="asymmetric")
    assert all(label == (row + 1) % 3 for row, label in wrong(cyclic).items())
    named = wrong(changes.mislabel(ROOT, 0, share=0.25, kind="asymmetric", transitions={2: 0}))
    assert len(named) == 10
    assert all(row % 3 == 2 and label == 0 for row, label in named.items())


def test_labels_may_be_words() -> None:
    pets = [(number, "cat" if number % 2 else "dog") for number in range(10)]
    made = changes.mislabel(pets, 0, share=0.5)  # type: ignore[arg-type]
    assert sum(made[row][1] != pets[row][1] for row in range(10)) == 5


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (partial(changes.subset), "a size and a share, or neither"),
        (partial(changes.subset, size=1, share=0.1), "a size and a share, or neither"),
        (partial(changes.subset, size=121), "size of subset is 121"),
        (partial(changes.subset, share=1.5), "share of subset is 1.5"),
        (partial(changes.mislabel, share=-0.1), "share of mislabel is -0.1"),
        (partial(changes.mislabel, share=0.1, kind="odd"), "mislabel.kind is 'odd'"),
        (partial(changes.mislabel, share=0.1, transitions={0: 0}), "transitions has 0: 0"),
        (partial(changes.mislabel, share=0.1, transitions={0: 7}), "transitions has 0: 7"),
        (partial(changes.duplicate, share=0.1, times=0), "duplicate.times is 0"),
        (partial(changes.deduplicate, level="fuzzy"), "deduplicate.level is 'fuzzy'"),
        (partial(changes.filter_quality, keep=0.5, score=lambda dataset, seed: [1.0]), "a score is missing"),
        (partial(changes.order, by=lambda dataset, seed: [np.nan] * N), "a score is missing"),
        (partial(changes.order, by="random"), "order.by is 'random'"),
        (partial(changes.balance, how="both"), "balance.how is 'both'"),
        (partial(changes.mix, sources=[OTHER], weights=[1]), "2 sources and 1 weights"),
        (partial(changes.mix, sources=[OTHER], weights=[1, -1]), "mix.weights are"),
        (partial(changes.mix, sources=[TensorDataset(torch.empty(0))], weights=[1, 1]), "source 1 of mix is empty"),
    ],
)
def test_what_makes_no_sense_is_refused(change: Any, message: str) -> None:
    with pytest.raises(TrialError, match=message):
        change(ROOT, 0)


def test_one_class_cannot_be_mislabelled() -> None:
    with pytest.raises(TrialError, match="needs two classes"):
        changes.mislabel(OTHER, 0, share=0.5)


# --- the page --------------------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "data.md"


def test_the_page_names_every_change_score_and_option() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for module in (changes, scores):
        own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__]
        assert {name for name in own if not name.startswith("_")} == set(
            re.findall(r"^\| `(\w+)` ", text.split("## Over")[0], re.MULTILINE)
        ) & set(vars(module))
    rows = re.findall(r"^\| (`.+`) \|", text.split("## Over")[1], re.MULTILINE)
    named = sorted(name for row in rows for name in re.findall(r"`(\w+)`", row))
    assert named == sorted(file.stem for file in conf_dir().glob("data/*.yaml"))


class Reviews(LightningDataModule):
    """Somebody's data, as the page has them."""

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader([{"text": "good", "stars": number % 5} for number in range(20)], 4, shuffle=True)  # type: ignore[arg-type]


def test_the_example_of_the_page_is_a_datamodule() -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    text = block.replace("parts.Reviews", f"{__name__}.Reviews")
    data = build(OmegaConf.create({"seed": 1, "data": OmegaConf.create(text)}), "data", Changed)
    assert sum(len(batch["stars"]) for batch in data.train_dataloader()) == 10
