"""A model of bytes sees no future, counts in bits, and costs what is stated; every option of its config works."""

import math
import re

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ablate.errors import TrialError
from ablate.sweeps import conf_dir
from ablate.training.costs import count_parameters, count_step_flops
from ablate.zoo.language import BYTES, Decoder, LanguageModel, make_turns, measure_bits, turn
from ablate.zoo.texts import HELD_OUT, TRAINED, cut_windows, stack_windows

CONF = conf_dir()
OPTIONS = [f"{f.parts[-3]}=text/{f.stem}" for f in sorted(CONF.glob("*/text/*.yaml"))]
SIZES = ("small", "medium", "large")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Decoder(16, 2, 2).eval()


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("text", list(overrides))


def draw_bytes(*shape: int) -> torch.Tensor:
    return torch.randint(0, BYTES, shape, generator=torch.Generator().manual_seed(1))


def test_a_byte_is_predicted_from_those_before_it(network):
    given = draw_bytes(3, 12)
    changed = given.clone()
    changed[:, 5:] = given[:, 5:].flip(0)
    with torch.no_grad():
        one, other = network(given), network(changed)
        torch.testing.assert_close(one[:, :5], other[:, :5])
        assert not torch.allclose(one[:, 5:], other[:, 5:])
        torch.testing.assert_close(network(given[:, :7]), one[:, :7])


def test_bits_are_those_of_a_hand_computation(network):
    """Guessing evenly costs 8 bits a byte; a byte of probability 2^-k costs k."""
    given, following = stack_windows(cut_windows("manual", "test", 32, limit=4).windows)
    with torch.no_grad():
        network.table.weight.zero_()
        assert float(measure_bits(network(given), following)) == pytest.approx(8, abs=1e-6)
    logits = torch.full((1, 3, BYTES), -torch.inf)
    for place, share in enumerate((0.5, 0.25, 0.125)):
        logits[0, place, 7], logits[0, place, 9] = math.log(share), math.log1p(-share)
    assert float(measure_bits(logits, torch.tensor([[7, 7, 7]]))) == pytest.approx((1 + 2 + 3) / 3)


def test_what_is_logged_is_the_mean_over_all_bytes(network):
    model = LanguageModel(network, nn.CrossEntropyLoss(), 0.01, 0)
    logged = []
    model.log = lambda name, value, **options: logged.append((name, float(value), options["batch_size"]))
    batches = [(draw_bytes(n, 8), draw_bytes(n, 8).flip(1)) for n in (3, 1)]
    with torch.no_grad():
        for batch in batches:
            model.test_step(batch, 0)
            model.validation_step(batch, 0)
        given, following = (torch.cat(parts) for parts in zip(*batches, strict=True))
        chances = model(given).softmax(-1).gather(-1, following[..., None])
    assert [name for name, _, _ in logged] == ["bits_per_byte", "val_bits_per_byte"] * 2
    mean = sum(value * size for _, value, size in logged) / sum(size for _, _, size in logged)
    assert mean == pytest.approx(float(-chances.log2().mean()), rel=1e-5)


def test_turned_queries_and_keys_agree_by_their_distance():
    query, key = torch.randn(2, 8, generator=torch.Generator().manual_seed(2))
    turns = make_turns(20, 8)
    scores = turn(query.expand(20, 8), turns) @ turn(key.expand(20, 8), turns).T
    for distance in (0, 3, 11):
        along = scores.diagonal(distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))
    torch.testing.assert_close(turn(query.expand(20, 8), turns).norm(dim=1), query.norm().expand(20))
    assert turn(query[None], make_turns(1, 8))[0].tolist() == query.tolist()


def test_logits_begin_small(network):
    with torch.no_grad():
        assert float(measure_bits(network(draw_bytes(8, 32)), draw_bytes(8, 32))) < 9


def test_a_width_that_heads_cannot_share_is_refused():
    with pytest.raises(TrialError, match="2 heads cannot share a width of 18 evenly"):
        Decoder(18, 1, 2)


@pytest.mark.parametrize("steps", [8, 16])
def test_operations_are_those_of_the_formula(steps):
    """Of a step: three times the forward pass's, two for each weight and byte, and two products of attention."""
    width, depth, n = 16, 2, 4
    model = LanguageModel(Decoder(width, depth, 2), nn.CrossEntropyLoss(), 0.01, 0)
    layer = 2 * 12 * width**2 + 4 * steps * width
    forward = n * steps * (depth * layer + 2 * BYTES * width)
    assert count_step_flops(model, (draw_bytes(n, steps), draw_bytes(n, steps))) == 3 * forward


def test_a_model_learns_what_a_text_repeats():
    torch.manual_seed(0)
    model = LanguageModel(Decoder(16, 1, 2), nn.CrossEntropyLoss(), 0.01, 0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    batch = stack_windows([b"abcdabceabcd", b"cdabceabcdab", b"eabcdabceabc"])
    for _ in range(60):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        optimizer.step()
    with torch.no_grad():
        bits = nn.functional.cross_entropy(model(batch[0]).transpose(1, 2), batch[1], reduction="none")
    assert float(bits[:, 5:].mean()) < 0.3  # after two of "d" and "e" which is next follows from the text


# --- conf/ -----------------------------------------------------------------------------------------------------------


def name_teacher(options: list[str], file: object) -> list[str]:
    return [f"objective.checkpoint={file}"] * ("objective=text/distilled" in options)


def test_every_option_composes():
    groups: dict[str, list[str]] = {}
    for option in OPTIONS:
        groups.setdefault(option.partition("=")[0], []).append(option)
    for place in range(max(map(len, groups.values()))):  # an option of every group at once: composing is slow
        chosen = [options[place % len(options)] for options in groups.values()]
        config = composed(*chosen, *name_teacher(chosen, "any.ckpt"))
        OmegaConf.resolve(config)
        assert not OmegaConf.missing_keys(config)
        places = {name.partition("/")[0] for members in config.domains.values() for name in members}
        assert places == {*TRAINED, *HELD_OUT}


def test_sizes_follow_their_rule():
    """Twice the width has a block more, half the rate and a quarter of the batch."""
    counts, sizes = [], []
    for name in SIZES:
        file = CONF / "size" / "text" / f"{name}.yaml"
        size = OmegaConf.load(file)
        counts.append(count_parameters(Decoder(size.width, size.depth, size.heads)))
        stated = re.search(r"([\d,]+) parameters", file.read_text())
        assert stated is not None
        assert counts[-1] == int(stated[1].replace(",", ""))
        sizes.append((size.width, size.depth, size.learning_rate, size.batch_size))
    assert sizes == [(16 * 2**n, 1 + n, 0.025 / 2**n, 64 / 4**n) for n in range(3)]
    assert counts[-1] >= 20 * counts[0]
    teacher, large = composed("objective=text/distilled").objective.teacher, composed("size=text/large").size
    assert (teacher.width, teacher.depth, teacher.heads) == (large.width, large.depth, large.heads)


@pytest.mark.slow
@pytest.mark.parametrize("override", [option for option in OPTIONS if option != "trainer=text/gpu"])
def test_every_option_trains_a_step_and_is_tested_everywhere(override, tmp_path):
    from ablate.training import preflight

    teacher = tmp_path / "teacher.ckpt"
    torch.save(Decoder(64, 3, 4).state_dict(), teacher)
    config = composed(override, *name_teacher([override], teacher))
    rows = preflight(config)
    places = {row["domain"] if row["shift"] == "none" else f"{row['domain']}/{row['shift']}" for row in rows}
    assert places == {name for members in config.domains.values() for name in members}
    assert {row["metric"] for row in rows} == {"bits_per_byte"}


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["next_byte", "multi_byte", "distilled"])
def test_arms_cost_the_same(objective, tmp_path):
    from ablate.training.parts import build

    teacher = tmp_path / "teacher.ckpt"
    torch.save(Decoder(64, 3, 4).state_dict(), teacher)
    for size in SIZES:
        chosen = [f"objective=text/{objective}", f"size=text/{size}"]
        config = composed(*chosen, *name_teacher(chosen, teacher))
        batch = stack_windows(cut_windows("manual", "training", 128, limit=config.size.batch_size).windows)
        flops = count_step_flops(build(config, "model"), batch)
        assert flops * build(config, "trainer")["max_steps"] == pytest.approx(config.flops, rel=0.05)
