"""Sizes follow their stated rule; widths and steps are found that cost what they should."""

import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ablate.errors import TrialError
from ablate.sweeps import conf_dir
from ablate.training import preflight
from ablate.training.costs import count_parameters, count_step_flops
from ablate.training.parts import build
from ablate.zoo.classifiers import Perceptron
from ablate.zoo.digits import Digits
from ablate.zoo.networks import MultilayerPerceptron
from ablate.zoo.sequences import Recurrent, Transformer
from ablate.zoo.sizes import Ladder, Size, build_matched, match_steps, match_width, measure_step_seconds
from tests.zoo.nets import pictures

CONF = conf_dir()
DIGITS = Ladder(Size(64, 2, 64, 300, 0.004), layers=0.5, rate=-1.0)
SCAN = Ladder(Size(24, 1, 32, 3000, 0.02), steps=-0.25, rate=-1.0)


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


@pytest.fixture(scope="module")
def shipped() -> DictConfig:
    """The shipped config, which is slow to compose, for a size to be put into."""
    return composed("model=learner", "data=noisy")


def perceptron(width: int, depth: int = 2) -> Perceptron:
    return Perceptron(nn.CrossEntropyLoss(), width, depth, 0.01)


def transformer(width: int) -> Transformer:
    return Transformer(width, 1, 4, 14, 8)


# --- the ladder ------------------------------------------------------------------------------------------------------


def test_at_its_base_a_ladder_is_its_base():
    assert DIGITS(64) == DIGITS.base


def test_a_rung_by_hand():
    """Four times as wide: a layer more by two doublings of one half, rate by 1/4, batch by 2, steps by 1/2."""
    ladder = Ladder(Size(64, 2, 64, 300, 0.004), layers=0.5, batch=0.5, steps=-0.5, rate=-1.0)
    assert ladder(256) == Size(256, 3, 128, 150, 0.001)


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_wider_is_never_shallower_nor_faster(one, other):
    narrow, wide = DIGITS(min(one, other)), DIGITS(max(one, other))
    assert narrow.depth <= wide.depth
    assert narrow.learning_rate >= wide.learning_rate
    assert narrow.steps * narrow.batch_size == wide.steps * wide.batch_size


@pytest.mark.parametrize("width", [16, 64, 256])
def test_the_options_are_rungs(width):
    (file,) = CONF.glob(f"size/ladder/w{width}.yaml")
    values = dict(OmegaConf.load(file))
    assert Size(**values) == DIGITS(width)
    stated = f"# {count_parameters(perceptron(width, values['depth'])):,} parameters"
    assert file.read_text().startswith(stated)


@pytest.mark.parametrize(("name", "width"), [("tiny", 24), ("small", 48), ("large", 144)])
def test_the_sizes_of_scan_are_a_ladder_too(name, width):
    values = dict(OmegaConf.load(CONF / "size" / "scan" / f"{name}.yaml"))
    del values["heads"]
    assert Size(**values) == SCAN(width)


# --- matching --------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.integers(1, 300), st.integers(1, 3))
def test_the_width_of_a_known_count_is_found_again(width, depth):
    target = count_parameters(MultilayerPerceptron(width, depth))
    assert match_width(lambda width: MultilayerPerceptron(width, depth), target, tolerance=0.0) == width


def test_arms_of_another_kind_get_as_many_parameters():
    target, counts = 50_000, []
    for make, multiple in ((transformer, 8), (lambda width: Recurrent(width, 1, 14, 8), 1)):
        width = match_width(make, target, multiple=multiple)
        assert width % multiple == 0
        counts.append(count_parameters(make(width)))
    assert all(abs(count - target) <= 0.05 * target for count in counts)


def test_arms_of_another_depth_get_as_many_operations():
    batch = pictures()
    target = count_step_flops(perceptron(64), batch)
    width = match_width(lambda width: perceptron(width, 4), target, "flops", batch)
    assert width < 64
    assert count_step_flops(perceptron(width, 4), batch) == pytest.approx(target, rel=0.05)


def test_what_is_built_has_the_weights_of_that_width():
    torch.manual_seed(5)
    found = build_matched(transformer, 50_000, multiple=8)
    torch.manual_seed(5)
    expected = transformer(match_width(transformer, 50_000, multiple=8))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), expected.parameters(), strict=True))


def test_steps_spend_the_operations():
    model, data = perceptron(64), Digits(0)
    cost = count_step_flops(model, next(iter(Digits(0).train_dataloader())))
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    assert match_steps(model, data, 200 * cost) == 200
    assert match_steps(model, data, 200.4 * cost) == 200
    assert torch.equal(torch.random.get_rng_state(), before)


def test_seconds_are_those_of_steps_and_leave_the_module_as_it_is():
    model, batch = perceptron(64), pictures()
    before = [p.clone() for p in model.parameters()]
    seconds = min(measure_step_seconds(model, batch) for _ in range(3))
    assert 0 < seconds < 1
    wide = measure_step_seconds(perceptron(1024), batch)
    assert wide > 2 * seconds
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))
    assert match_steps(model, Digits(0), 1.0, "seconds") > 10


def test_what_cannot_be_matched_is_refused_with_what_is_near():
    with pytest.raises(TrialError, match=r"no width has 1,000 params(.|\n)*allowed: .* at width 8"):
        match_width(transformer, 1_000, multiple=8, tolerance=0.01)
    with pytest.raises(TrialError, match="no width has 10,000 params"):
        match_width(lambda width: nn.Linear(3, 3), 10_000)
    with pytest.raises(TrialError, match=r"cannot be counted(.|\n)*match by params"):
        match_width(lambda width: MultilayerPerceptron(width, 1), 1e6, "flops", pictures())
    with pytest.raises(TrialError, match="whole steps do not come within 5%"):
        match_steps(perceptron(64), Digits(0), 1.0)
    with pytest.raises(TrialError, match="did you mean 'flops'"):
        match_steps(perceptron(64), Digits(0), 1e9, "flop")
    with pytest.raises(TrialError, match="widths are not matched by 'seconds'"):
        match_width(perceptron, 1, "seconds")


def test_a_module_that_asks_its_trainer_cannot_be_timed():
    class Asking(Perceptron):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1 / self.trainer.max_steps)

    with pytest.raises(TrialError, match=r"a step of Asking cannot be timed(.|\n)*trainer\.max_time"):
        measure_step_seconds(Asking(nn.CrossEntropyLoss(), 8, 1, 0.01), pictures())


# --- conf/ -----------------------------------------------------------------------------------------------------------


def names(group: str) -> list[str]:
    return sorted(f"{group}/{file.stem}" for file in (CONF / "size" / group).glob("*.yaml"))


def test_equal_parameters_are_equal_across_depths(shipped):
    models = []
    for size in names("equal_params"):
        shipped.size = OmegaConf.load(CONF / "size" / f"{size}.yaml")
        models.append(build(shipped, "model"))
    assert [sum(isinstance(m, nn.ReLU) for m in model.modules()) for model in models] == [1, 2, 4]
    counts = [count_parameters(model) for model in models]
    assert max(counts) / min(counts) < 1.05


def test_equal_operations_are_equal_across_widths(shipped):
    spent = []
    for size in names("equal_flops"):
        shipped.size = OmegaConf.load(CONF / "size" / f"{size}.yaml")
        batch = next(iter(build(shipped, "data").train_dataloader()))
        spent.append(build(shipped, "trainer")["max_steps"] * count_step_flops(build(shipped, "model"), batch))
    assert len(spent) == 3
    assert max(spent) / min(spent) < 1.05


@pytest.mark.slow
@pytest.mark.parametrize("size", [name for group in ("ladder", "equal_params", "equal_flops") for name in names(group)])
@pytest.mark.parametrize("model", ["perceptron", "learner", "scaled"])
def test_every_size_trains_a_step(size, model):
    assert {row["metric"] for row in preflight(composed(f"size={size}", f"model={model}"))} == {"accuracy", "nll"}
