"""SCAN is the published data: its commands and the sizes of its splits; what is drawn from them follows the seed."""

import hashlib
from collections import Counter

import pytest
import torch
from torch import Tensor

from ablate.errors import TrialError
from ablate.training.streams import make_generator, replace_streams
from ablate.zoo.scan import (
    ACTIONS,
    PAD,
    WORDS,
    Scan,
    encode_commands,
    generate_commands,
    split_commands,
    substitute,
)

SPLITS = ("simple", "length", "add_jump", "add_turn_left", "around_right")


def spell(numbers: Tensor, vocabulary: tuple[str, ...]) -> str:
    """Numbers as text, without padding and end."""
    return " ".join(vocabulary[n] for n in numbers.tolist() if not vocabulary[n].startswith("<"))


def obey(command: str) -> list[str]:
    """The actions of a command, read from its words alone: an interpreter beside the grammar."""
    for word in ("and", "after"):
        if f" {word} " in command:
            first, second = command.split(f" {word} ")
            return obey(first) + obey(second) if word == "and" else obey(second) + obey(first)
    words = command.split()
    if words[-1] in ("twice", "thrice"):
        return obey(" ".join(words[:-1])) * {"twice": 2, "thrice": 3}[words[-1]]
    act = [] if words[0] == "turn" else [f"I_{words[0].upper()}"]
    if len(words) == 1:
        return act
    turn = [f"I_TURN_{words[-1].upper()}"]
    return {2: turn + act, 3: (turn + act) * 4 if "around" in words else turn * 2 + act}[len(words)]


def test_the_commands_are_those_of_the_published_file():
    pairs = generate_commands()
    assert len(dict(pairs)) == 20_910
    lines = sorted(f"IN: {command} OUT: {actions}" for command, actions in pairs)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (digest[:8], digest[-4:]) == ("345bff3c", "2440")


def test_every_command_means_what_its_words_say():
    assert all(obey(command) == actions.split() for command, actions in generate_commands())


def test_numbers_spell_the_commands():
    words, acts = encode_commands()
    for row in range(0, len(words), 97):
        assert (spell(words[row], WORDS), spell(acts[row], ACTIONS)) == generate_commands()[row]
    assert words.ne(PAD).sum(1).max() == 9
    assert acts.ne(PAD).sum(1).max() == 49
    assert (acts == ACTIONS.index("<end>")).sum(1).eq(1).all()


@pytest.mark.parametrize(
    ("split", "training", "rows", "test"),
    [
        ("simple", 16_728, 16_728, 4_182),
        ("length", 16_990, 16_990, 3_920),
        ("add_jump", 13_204, 14_670, 7_706),
        ("add_turn_left", 19_702, 21_890, 1_208),
        ("around_right", 15_225, 15_225, 4_476),
    ],
)
def test_splits_have_the_published_sizes(split, training, rows, test):
    found = split_commands(split)
    assert (len(set(found.training)), len(set(found.test))) == (training, test)
    assert not set(found.training) & set(found.test)
    assert len(found.training) + max(0, found.copies - 1) == rows


def test_splits_hold_out_what_they_say():
    commands = [command for command, _ in generate_commands()]
    jump = split_commands("add_jump")
    assert [commands[row] for row in jump.training if "jump" in commands[row]] == ["jump"]
    assert commands[jump.repeated] == "jump"
    assert jump.copies == 1_467
    left = split_commands("add_turn_left")
    assert [commands[row] for row in left.training if "turn left" in commands[row]] == ["turn left"]
    assert not any("around right" in commands[row] for row in split_commands("around_right").training)
    lengths = [len(actions.split()) for _, actions in generate_commands()]
    assert max(lengths[row] for row in split_commands("length").training) == 22
    assert {lengths[row] > 26 for row in split_commands("length", 26).test} == {True}


@pytest.mark.parametrize("split", SPLITS)
def test_what_is_tested_and_validated_on_is_never_trained_on(split):
    data = Scan(0, split)
    trained = set(map(tuple, encode_commands()[0][torch.from_numpy(data.kept)].tolist()))
    loaders = data.test_dataloader()
    assert set(loaders) == {"iid", "generalisation", "single", "and", "after"}
    for loader in (*loaders.values(), *data.val_dataloader()):
        assert not trained & set(map(tuple, loader.dataset.tensors[0].tolist()))
    whole = set(split_commands(split).test.tolist())
    commands = [command for command, _ in generate_commands()]
    numbers = {command: row for row, command in enumerate(commands)}
    held = {numbers[spell(words, WORDS)] for words in loaders["generalisation"].dataset.tensors[0]}
    assert len(held) == min(1_000, len(whole))
    assert held <= whole
    for word in ("and", "after"):
        assert all(f" {word} " in spell(words, WORDS) for words in loaders[word].dataset.tensors[0])
    assert not any(
        {"and", "after"} & set(spell(words, WORDS).split()) for words in loaders["single"].dataset.tensors[0]
    )


@pytest.mark.parametrize("split", ["add_jump", "add_turn_left"])
def test_the_repeated_command_is_a_tenth_of_any_share(split):
    for share in (1.0, 0.25, 0.01):
        rows = Counter(Scan(3, split, share=share).kept.tolist())
        copies = rows.pop(split_commands(split).repeated)
        assert set(rows.values()) == {1}
        assert copies / (copies + len(rows)) == pytest.approx(0.1, abs=0.005)


def test_a_smaller_share_is_part_of_a_larger_one():
    quarter, half = (set(Scan(1, share=share).kept.tolist()) for share in (0.25, 0.5))
    assert quarter < half
    assert len(half) == round(0.5 * (16_728 - 1_000))


def test_the_seed_draws_training_rows_and_order_and_no_test_set():
    one, same, other = Scan(1), Scan(1), Scan(2)
    assert one.kept.tolist() == same.kept.tolist() != other.kept.tolist()
    first, again, different = (next(iter(data.train_dataloader())) for data in (one, same, other))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], different[0])
    assert one.test_dataloader()["iid"].dataset is other.test_dataloader()["iid"].dataset
    with replace_streams({"split": 1}):
        assert Scan(2).kept.tolist() == one.kept.tolist()


def test_an_epoch_sees_every_row_once_in_batches_of_like_length():
    data = Scan(0, "add_jump", share=0.1, batch_size=16)
    batches = list(data.train_dataloader())
    assert len(batches) == len(data.train_dataloader())
    seen = Counter(tuple(row) for words, _ in batches for row in words.tolist())
    assert seen == Counter(map(tuple, encode_commands()[0][torch.from_numpy(data.kept)].tolist()))
    lengths = (encode_commands()[1][torch.from_numpy(data.kept)] != PAD).sum(1)
    unsorted = sum(len(part) * int(part.max()) for part in lengths.split(16))
    assert sum(acts.numel() for _, acts in batches) < 0.8 * unsorted
    steps = [acts.shape[1] for _, acts in batches]
    assert steps != sorted(steps)


@pytest.mark.parametrize("how", ["primitives", "sides", "both"])
def test_what_is_substituted_keeps_its_meaning(how):
    words, acts = (part[::50] for part in encode_commands())
    changed = substitute(words, acts, how, make_generator(0, "augmentation"))
    before, after = ([spell(row, WORDS) for row in part] for part in (words, changed[0]))
    assert [obey(command) for command in after] == [spell(row, ACTIONS).split() for row in changed[1]]
    fixed = ("left", "right") if how == "primitives" else ("walk", "look", "run", "jump")
    kept = [[w for w in command.split() if w in fixed] for command in before]
    if how != "both":
        assert kept == [[w for w in command.split() if w in fixed] for command in after]
    share = sum(a == b for a, b in zip(before, after, strict=True)) / len(before)
    assert share < 0.6


def test_permuted_verbs_bring_the_new_verb_into_every_place_of_the_old_ones():
    batches = list(Scan(0, "add_jump", "primitives", share=0.2).train_dataloader())
    words = torch.cat([words for words, _ in batches])
    shares = [
        float((words == WORDS.index(verb)).sum() / words.lt(5).logical_and(words.gt(0)).sum()) for verb in WORDS[1:5]
    ]
    assert shares == pytest.approx([0.25] * 4, abs=0.03)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"split": "add_jmp"}, "did you mean 'add_jump'"),
        ({"substitution": "verbs"}, "unknown substitution 'verbs'"),
        ({"split": "length", "cutoff": 48}, "the cutoff is 48"),
        ({"share": 0.0}, "leaves none to train on"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(TrialError, match=said):
        Scan(0, **options)
