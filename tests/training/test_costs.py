"""Costs: measured or absent."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from ablate.training.costs import PeakMemory, count_parameters, measure_latency

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
