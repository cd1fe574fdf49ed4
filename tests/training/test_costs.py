"""Costs: measured or absent."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader, TensorDataset

from ablate.training.costs import PeakMemory, count_parameters, count_step_flops, measure_latency

LOADER = DataLoader(TensorDataset(torch.zeros(5, 3), torch.zeros(5)), batch_size=4)


class Probe(torch.nn.Linear):
    """Remembers what it was called with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = tuple(x.shape), self.training, torch.is_inference_mode_enabled()
        return super().forward(x)


def test_shared_parameters_count_once() -> None:
    layer = torch.nn.Linear(3, 4)
    assert count_parameters(torch.nn.ModuleList([layer, layer])) == 3 * 4 + 4


def test_latency_is_of_one_example_in_evaluation_mode() -> None:
    model = Probe(3, 2)
    found = measure_latency(model, LOADER)
    assert model.seen == ((1, 3), False, True)
    assert 0 < found["latency_p50_ms"] <= found["latency_p95_ms"] < 1000
    assert model.training, "the mode it had is given back"


def test_a_module_that_cannot_be_called_with_the_inputs_has_no_latency() -> None:
    assert measure_latency(torch.nn.Module(), LOADER) == {}


def test_the_peak_is_of_this_trial_and_not_of_an_earlier_one() -> None:
    memory = PeakMemory()
    if not memory.resettable:
        pytest.skip("this system does not let a process forget its peak")
    before = memory.read(torch.device("cpu"))["peak_memory_mb"]
    block = np.ones(25_000_000)  # 200 MB
    assert memory.read(torch.device("cpu"))["peak_memory_mb"] > before + 150
    del block
    assert PeakMemory().read(torch.device("cpu"))["peak_memory_mb"] < before + 100


# --- operations ------------------------------------------------------------------------------------------------------

BATCH = torch.rand(6, 5, generator=torch.Generator().manual_seed(2)), torch.tensor([0, 1, 2, 0, 1, 2])


class Layers(LightningModule):
    """Two linear layers with everything between them that a step may change."""

    def __init__(self, passes: int = 1, convolve: bool = False) -> None:
        super().__init__()
        self.first = torch.nn.Conv1d(1, 4, 5) if convolve else torch.nn.Linear(5, 4)
        self.norm, self.drop, self.last = torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 3)
        self.passes, self.convolve, self.seen = passes, convolve, []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.first(x[:, None]).flatten(1) if self.convolve else self.first(x)
        return self.last(self.drop(self.norm(hidden)))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(batch_idx)
        batch[0].mul_(1)
        loss = sum(torch.nn.functional.cross_entropy(self(batch[0]), batch[1]) for _ in range(self.passes))
        self.log("loss", loss, prog_bar=True)
        self.log_dict({"twice": 2 * loss})
        return {"loss": loss}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Counting(Layers):
    """Counts the operations of every one of its steps, or does not."""

    def __init__(self, count: bool) -> None:
        super().__init__()
        self.count, self.counted = count, []

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.count:
            self.counted.append(count_step_flops(self, batch))


class ByHand(Layers):
    """Asks for its optimiser."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.optimizers().step()


class Recurrent(Layers):
    """With a layer whose operations are not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.LSTM(5, 5)


class Lossless(Layers):
    """Skips every step."""

    def training_step(self, batch: Any, batch_idx: int) -> None:
        return None


# Forward 2 * items * inputs * outputs of each layer; backward the same for the weights of each layer, and again for
# the inputs of all layers but the first, which needs none.
BY_HAND = 2 * 6 * (5 * 4 * 2 + 4 * 3 * 3)


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("convolve", [False, True])
def test_operations_are_those_counted_by_hand(passes: int, convolve: bool) -> None:
    assert count_step_flops(Layers(passes, convolve), BATCH) == passes * BY_HAND


def test_counting_changes_nothing_of_the_module_its_batch_or_the_generators() -> None:
    model, batch = Layers().eval(), (BATCH[0].clone(), BATCH[1])
    model(batch[0]).sum().backward()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    versions = [value._version for value in (*model.state_dict().values(), batch[0])]
    generator = torch.get_rng_state()
    with torch.no_grad():
        assert count_step_flops(model, batch) == BY_HAND
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert [value._version for value in (*model.state_dict().values(), batch[0])] == versions
    assert torch.equal(torch.get_rng_state(), generator)
    assert (model.seen, model.training) == ([], False)


def test_a_fit_in_which_operations_are_counted_is_the_same_fit() -> None:
    def fit(count: bool) -> tuple[Counting, dict[str, torch.Tensor]]:
        torch.manual_seed(0)
        model = Counting(count)
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        trainer = Trainer(accelerator="cpu", max_epochs=1, enable_model_summary=False, **quiet)
        trainer.fit(model, DataLoader(TensorDataset(*BATCH), batch_size=3))
        return model, trainer.callback_metrics

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (plain, logged), (counting, also_logged) = fit(False), fit(True)
    assert counting.counted == [BY_HAND / 2] * 2
    assert counting.seen == plain.seen == [0, 1]
    assert logged.keys() == also_logged.keys()
    assert all(torch.equal(logged[name], also_logged[name]) for name in logged)
    for name, value in plain.state_dict().items():
        assert torch.equal(value, counting.state_dict()[name]), name


@pytest.mark.parametrize("model", [ByHand, Recurrent, Lossless])
def test_a_step_that_cannot_be_counted_has_no_operations(model: Any) -> None:
    assert count_step_flops(model(), BATCH) is None


def test_a_batch_that_the_module_cannot_take_has_no_operations() -> None:
    assert count_step_flops(Layers(), "text") is None
