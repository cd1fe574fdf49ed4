"""SCAN: commands in a small language and the actions they stand for, from its grammar; its splits; as training data.

Lake and Baroni, Generalization without systematicity (ICML 2018), section 2 and supplement; the splits `around_right`
as Loula, Baroni and Lake (2018). Nothing is downloaded: the 20,910 pairs are those of the published file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal, get_args

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from ablate.errors import TrialError
from ablate.training.streams import derive_seed, make_generator

PRIMITIVES = ("walk", "look", "run", "jump")
SIDES = ("left", "right")
CONJUNCTIONS = ("and", "after")
PAD, END = 0, 1  # the end of the actions is also what a decoder starts from
WORDS = ("<pad>", *PRIMITIVES, "turn", *SIDES, "opposite", "around", "twice", "thrice", *CONJUNCTIONS)
ACTIONS = ("<pad>", "<end>", *(f"I_{verb.upper()}" for verb in PRIMITIVES), *(f"I_TURN_{s.upper()}" for s in SIDES))
LONGEST_COMMAND, LONGEST_OUTPUT = 9, 49  # words; actions with the end

Split = Literal["simple", "length", "add_jump", "add_turn_left", "around_right"]
Substitution = Literal["none", "primitives", "sides", "both"]

FIXED = 20  # the seed of what is drawn once for all trials: the simple split and the items that are tested
# Batches whose examples are sorted by length together: more saves padding, but batches of one length train worse.
POOL = 2


@cache
def generate_commands() -> tuple[tuple[str, str], ...]:
    """The 20,910 commands, each with its actions, words apart by spaces, in the order of the grammar."""
    verbs = [(verb, [f"I_{verb.upper()}"]) for verb in PRIMITIVES]
    for verb, side in product(("turn", *PRIMITIVES), SIDES):
        turn, act = [f"I_TURN_{side.upper()}"], [] if verb == "turn" else [f"I_{verb.upper()}"]
        verbs.append((f"{verb} {side}", turn + act))
        verbs.append((f"{verb} opposite {side}", turn * 2 + act))
        verbs.append((f"{verb} around {side}", (turn + act) * 4))
    times = {"": 1, " twice": 2, " thrice": 3}
    phrases = [(verb + word, acts * n) for verb, acts in verbs for word, n in times.items()]
    pairs = list(phrases)
    for (one, first), (other, second) in product(phrases, phrases):
        pairs += [(f"{one} and {other}", first + second), (f"{one} after {other}", second + first)]
    return tuple((command, " ".join(acts)) for command, acts in pairs)


@cache
def encode_commands() -> tuple[Tensor, Tensor]:
    """Words (20910, 9) and actions with their end (20910, 49) of `generate_commands`, as numbers, padded with 0."""
    pairs = generate_commands()
    words = np.zeros((len(pairs), LONGEST_COMMAND), np.int64)
    acts = np.zeros((len(pairs), LONGEST_OUTPUT), np.int64)
    for row, (command, actions) in enumerate(pairs):
        numbers = [WORDS.index(word) for word in command.split()]
        words[row, : len(numbers)] = numbers
        numbers = [*map(ACTIONS.index, actions.split()), END]
        acts[row, : len(numbers)] = numbers
    return torch.from_numpy(words), torch.from_numpy(acts)


@dataclass(frozen=True)
class Rows:
    """A split, as rows of `generate_commands`.

    Attributes:
        training: what may be trained on, each once.
        test: what generalisation is measured on.
        repeated: the command of which published training data hold so many copies that they are a tenth of it.
    """

    training: NDArray[np.int64]
    test: NDArray[np.int64]
    repeated: int | None = None

    @property
    def copies(self) -> int:
        """How often the repeated command stands in the whole of the training data."""
        return 0 if self.repeated is None else _count_copies(len(self.training))


def _count_copies(others: int) -> int:
    """Copies of a command that make it a tenth of the training rows, itself among them."""
    return round((others - 1) / 9)


@cache
def split_commands(split: Split, cutoff: int = 22) -> Rows:
    """The rows of a published split: training, test, and the command that training repeats.

    `simple` is random, four fifths to one; `length` trains on up to `cutoff` actions and tests on more; `add_jump` and
    `add_turn_left` train on that one command alone and on all commands without it; `around_right` trains on all
    without "around right" and tests it with the four verbs (those that turn around right are in neither).

    Raises:
        TrialError: there is no such split, or no command is that long.
    """
    commands = np.array([command for command, _ in generate_commands()])
    if split == "simple":
        order = np.random.default_rng(FIXED).permutation(len(commands))
        test = round(len(commands) / 5)
        return Rows(np.sort(order[test:]), np.sort(order[:test]))
    if split == "length":
        actions = np.array([len(actions.split()) for _, actions in generate_commands()])
        if not actions.min() <= cutoff < actions.max():
            raise TrialError(f"the cutoff is {cutoff}", where="data.cutoff", allowed=["1 to 47 actions"])
        return Rows(np.flatnonzero(actions <= cutoff), np.flatnonzero(actions > cutoff))
    if split == "around_right":
        held = np.strings.find(commands, "around right") >= 0
        return Rows(np.flatnonzero(~held), np.flatnonzero(held & (np.strings.find(commands, "turn around right") < 0)))
    if split not in get_args(Split):
        raise TrialError(f"SCAN has no split {split!r}", where="data.split", allowed=get_args(Split), word=split)
    new = split.removeprefix("add_").replace("_", " ")
    held = (np.strings.find(commands, new) >= 0) & (commands != new)
    return Rows(np.flatnonzero(~held), np.flatnonzero(held), int(np.flatnonzero(commands == new)[0]))


@cache
def draw_tests(split: Split, cutoff: int, iid: int, limit: int) -> tuple[NDArray[np.int64], dict[str, TensorDataset]]:
    """The rows left to train from, and the test sets, drawn once for all trials, short outputs first.

    `iid` holds commands like those trained on; `generalisation` those that the split holds out; `single`, `and` and
    `after` are its commands of that type. The repeated command is never held out.
    """
    rng = np.random.default_rng(FIXED)
    rows = split_commands(split, cutoff)
    pool = rng.permutation(rows.training[rows.training != rows.repeated])
    test = rng.permutation(rows.test)
    words = encode_commands()[0].numpy()
    types = {word: (words[test] == WORDS.index(word)).any(1) for word in CONJUNCTIONS}
    chosen = {"iid": pool[:iid], "generalisation": test, "single": test[~types["and"] & ~types["after"]]}
    chosen |= {word: test[mask] for word, mask in types.items()}
    return pool[iid:], {name: take(found[:limit] if name != "iid" else found) for name, found in chosen.items()}


def take(rows: NDArray[np.int64]) -> TensorDataset:
    """Words and actions of these rows, by the number of actions."""
    words, acts = encode_commands()
    rows = np.sort(rows)
    chosen = torch.from_numpy(rows[np.argsort((acts[rows] != PAD).sum(1).numpy(), kind="stable")])
    return TensorDataset(words[chosen], acts[chosen])


def trim(examples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Examples as a batch: words (n, 9) and actions (n, steps of the longest)."""
    words, acts = (torch.stack(part) for part in zip(*examples, strict=True))
    return words, _trim(acts)


def _trim(acts: Tensor) -> Tensor:
    return acts[:, : int((acts != PAD).sum(1).max())]


def substitute(words: Tensor, acts: Tensor, how: Substitution, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each example with its verbs permuted, its sides swapped, or both, in the command and the actions alike.

    A permutation of walk, look, run and jump, and a swap of left and right, keep the meaning of the rest. What comes
    out may be a command that the split holds out: the symmetry is given to the model, not found by it.

    Args:
        words: (n, 9).
        acts: (n, steps).
        how: `primitives` (one of 24 permutations, each as likely), `sides` (swapped every second time) or `both`.
        generator: what is drawn from.
    """
    n = len(words)
    maps = {}
    for name, vocabulary in (("words", WORDS), ("acts", ACTIONS)):
        maps[name] = torch.arange(len(vocabulary)).repeat(n, 1)
    if how in ("primitives", "both"):
        order = torch.rand(n, len(PRIMITIVES), generator=generator).argsort(1)
        maps["words"][:, 1:5], maps["acts"][:, 2:6] = order + 1, order + 2
    if how in ("sides", "both"):
        swapped = torch.rand(n, generator=generator) < 0.5
        for numbers, first in ((maps["words"], WORDS.index("left")), (maps["acts"], ACTIONS.index("I_TURN_LEFT"))):
            numbers[swapped, first], numbers[swapped, first + 1] = first + 1, first
    return maps["words"].gather(1, words), maps["acts"].gather(1, acts)


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Shuffled batches whose outputs are of like length, so that little is padded.

    Args:
        words: (n, 9).
        acts: (n, 49).
        size: examples per batch.
        how: what is substituted, anew each time an example is seen.
        seed: the trial's seed; order and augmentation draw from streams of their own.
    """

    def __init__(self, words: Tensor, acts: Tensor, size: int, how: Substitution, seed: int) -> None:
        self.words, self.acts, self.size, self.how = words, acts, size, how
        self.lengths = (acts != PAD).sum(1)
        self.order, self.change = make_generator(seed, "order"), make_generator(seed, "augmentation")

    def __len__(self) -> int:
        return -(-len(self.words) // self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for pool in torch.split(torch.randperm(len(self.words), generator=self.order), self.size * POOL):
            batches = torch.split(pool[self.lengths[pool].argsort(stable=True)], self.size)
            for place in torch.randperm(len(batches), generator=self.order):
                rows = batches[place]
                batch = self.words[rows], _trim(self.acts[rows])
                yield batch if self.how == "none" else substitute(*batch, self.how, self.change)


class Scan(LightningDataModule):
    """A split of SCAN: batches of words (n, 9) and actions (n, steps), numbers of `WORDS` and `ACTIONS`, 0 pads.

    Test dataloaders: those of `draw_tests`. Validation is i.i.d., drawn from what may be trained on.

    Args:
        seed: the trial's seed; it draws validation, subset, order and substitutions.
        split: see `split_commands`.
        substitution: `none`, `primitives`, `sides` or `both`: see `substitute`.
        share: of the training commands that is kept; a smaller share is a part of a larger one.
        batch_size: examples per training batch.
        validation: commands to validate on.
        iid: commands held out to test on commands like those trained on.
        limit: the most commands of a test set; they are a random sample of the published one.
        cutoff: the most actions that are trained on, of the split `length`.

    Raises:
        TrialError: an unknown split or substitution, or nothing is left to train on.
    """

    def __init__(
        self,
        seed: int,
        split: Split = "simple",
        substitution: Substitution = "none",
        share: float = 1.0,
        batch_size: int = 64,
        validation: int = 500,
        iid: int = 500,
        limit: int = 1000,
        cutoff: int = 22,
    ) -> None:
        super().__init__()
        allowed = get_args(Substitution)
        if substitution not in allowed:
            what = f"unknown substitution {substitution!r}"
            raise TrialError(what, where="data.substitution", allowed=allowed, word=substitution)
        self.seed, self.substitution, self.batch_size = seed, substitution, batch_size
        pool, self.tests = draw_tests(split, cutoff, iid, limit)
        shuffled = np.random.default_rng(derive_seed(seed, "split")).permutation(pool)
        self.held_out = take(shuffled[:validation])
        rest = shuffled[validation:]
        self.kept = rest[: round(share * len(rest))]
        if not len(self.kept):
            what = f"a share of {share:g} of {len(rest)} commands leaves none to train on"
            raise TrialError(what, where="data.share", remedy="raise it, or hold out fewer")
        repeated = split_commands(split, cutoff).repeated
        if repeated is not None:
            self.kept = np.concatenate([self.kept, np.full(_count_copies(len(self.kept) + 1), repeated)])

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Batches of the rows `kept`."""
        words, acts = (part[torch.from_numpy(self.kept)] for part in encode_commands())
        return DataLoader(Batches(words, acts, self.batch_size, self.substitution, self.seed), batch_size=None)

    def val_dataloader(self) -> list[DataLoader[tuple[Tensor, ...]]]:
        """Commands like those trained on; no loader where there are none."""
        return [_load(self.held_out)] if len(self.held_out) else []

    def test_dataloader(self) -> dict[str, DataLoader[tuple[Tensor, ...]]]:
        """The test sets by name: `iid`, `generalisation`, and its commands by type, `single`, `and`, `after`."""
        return {name: _load(dataset) for name, dataset in self.tests.items() if len(dataset)}


def _load(dataset: TensorDataset) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(dataset, batch_size=256, collate_fn=trim)
