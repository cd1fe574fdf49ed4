"""Costs: measured or absent."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from omegaconf import OmegaConf
from torch.utils.data import DataLoader, TensorDataset

from ablate.errors import TrialError
from ablate.training import costs
from ablate.training.costs import (
    Costing,
    PeakMemory,
    count_forward_flops,
    count_once,
    count_parameters,
    count_step_flops,
    measure_latency,
)

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


@pytest.mark.parametrize("batch", [3, 64])
def test_latency_and_throughput_at_a_stated_batch(batch: int) -> None:
    model = Probe(3, 2)
    found = measure_latency(model, LOADER, batch)
    assert model.seen == ((batch, 3), False, True), "examples are repeated where there are fewer"
    assert set(found) == {f"{name}_at_{batch}" for name in ("latency_p50_ms", "latency_p95_ms", "throughput")}
    longest, shortest = found[f"latency_p95_ms_at_{batch}"] * 100, found[f"latency_p50_ms_at_{batch}"] / 2
    assert batch * 1e3 / longest < found[f"throughput_at_{batch}"] < batch * 1e3 / shortest


def test_a_slow_module_is_called_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(torch.nn.Linear):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            Slow.calls += 1
            return super().forward(x)

    monkeypatch.setattr(costs, "PATIENCE", 0.0)
    assert measure_latency(Slow(3, 2), LOADER)
    assert Slow.calls == costs.LEAST + 1


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


def test_operations_of_one_example_are_those_of_the_forward_pass() -> None:
    model = Layers().train()
    generator = torch.get_rng_state()
    assert count_forward_flops(model, BATCH[0][:1]) == 2 * (5 * 4 + 4 * 3)
    assert model.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert int(model.norm.num_batches_tracked) == 0
    assert count_forward_flops(model, "text") is None
    assert count_forward_flops(Recurrent(), BATCH[0][:1]) is None


def test_operations_are_counted_once_for_a_cell() -> None:
    counted = []

    def count(model: Any, given: Any) -> int:
        counted.append(given)
        return len(counted)

    plain = {"seed": 0, "model": {"width": 4}, "data": {"seed": "${seed}"}}
    config, model = OmegaConf.create(plain), Layers()
    assert count_once(count, model, BATCH, config) == 1
    assert count_once(count, Layers(), BATCH, OmegaConf.create({**plain, "seed": 1})) == 1
    assert count_once(count, model, BATCH, OmegaConf.create({**plain, "model": {"width": 5}})) == 2
    assert count_once(count, model, (BATCH[0][:2], BATCH[1][:2]), config) == 3, "another batch size"
    assert count_once(count, Layers(convolve=True), BATCH, config) == 4, "other shapes"
    assert count_once(count, Recurrent(), BATCH, config) == 5, "another class"


# --- money -----------------------------------------------------------------------------------------------------------


def test_money_is_measured_seconds_and_energy_at_stated_prices() -> None:
    costing = Costing.of(OmegaConf.create({"cost": {"batch": 64, "prices": {"device_hour": 2.5, "kwh": 0.3}}}))
    assert costing.batch == 64
    spent = {"train_seconds": 720.0, "train_energy_gpu_j": 3.6e6, "train_energy_cpu_j": 1.8e6}
    found = costing.price(spent)
    assert found == pytest.approx({"money_device": 0.5, "money_energy": 0.45, "money": 0.95})
    unmeasured = costing.price({"train_seconds": 720.0})
    assert unmeasured == {"money_device": 0.5}, "without a counter there is no sum of it all"
    assert Costing(device_hour=1.0).price(spent, devices=2) == {"money_device": 0.4, "money": 0.4}
    assert Costing(kwh=1.0).price({"train_seconds": 1.0}) == {}
    assert Costing.of(OmegaConf.create({})).price(spent) == {}


@pytest.mark.parametrize(
    ("cost", "word"),
    [
        ({"bath": 64}, "did you mean 'batch'"),
        ({"batch": 0}, "batch is 0"),
        ({"batch": True}, "batch is True"),
        ("batch", "batch is None"),
        ({"prices": {"hour": 1.0}}, "unknown key 'hour'"),
        ({"prices": {"kwh": -1.0}}, r"kwh is -1\.0"),
        ({"prices": {"kwh": "dear"}}, "kwh is 'dear'"),
    ],
)
def test_prices_that_cannot_be_meant_are_refused(cost: Any, word: str) -> None:
    with pytest.raises(TrialError, match=word):
        Costing.of(OmegaConf.create({"cost": cost}))
