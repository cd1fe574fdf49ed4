"""Energy: the difference of counters, round and round, or nothing."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.pytorch import Trainer

from ablate.training import energies, run_trial
from ablate.training.energies import Counter, Meter, find_counters

from .configs import trial_config

CPU = torch.device("cpu")


def make_zone(root: Path, folder: str, name: str, joules: float = 0.0, span: float = 1000.0) -> Path:
    """A counter of the kernel, as it lies in its folder."""
    zone = root / folder
    zone.mkdir(parents=True)
    (zone / "name").write_text(f"{name}\n")
    (zone / "max_energy_range_uj").write_text(f"{round(span * 1e6)}\n")
    count(zone, joules)
    return zone


def count(zone: Path, joules: float) -> None:
    (zone / "energy_uj").write_text(f"{round(joules * 1e6)}\n")


class Clock:
    """Seconds that pass when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_packages_are_counted_and_not_what_is_within_or_around_them(tmp_path: Path) -> None:
    first = make_zone(tmp_path, "intel-rapl:0", "package-0", 10)
    second = make_zone(tmp_path, "intel-rapl:1", "package-1", 990)
    make_zone(tmp_path, "intel-rapl:0:0", "core", 5)
    make_zone(tmp_path, "intel-rapl:2", "psys", 5)
    make_zone(tmp_path, "dtpm", "package-9", 5)
    meter = Meter(find_counters([CPU], tmp_path), Clock())
    meter.start()
    count(first, 12.5)
    count(second, 3)  # it has begun anew at 1000
    assert meter.stop() == {"train_energy_cpu_j": pytest.approx(2.5 + 13)}


def test_the_first_count_is_where_it_starts(tmp_path: Path) -> None:
    zone = make_zone(tmp_path, "intel-rapl:0", "package-0", 10)
    meter = Meter(find_counters([CPU], tmp_path), Clock())
    count(zone, 200)
    for _ in range(2):  # a meter may be used again
        meter.start()
        assert meter.stop() == {"train_energy_cpu_j": 0}


@given(st.lists(st.floats(0, 90), min_size=1, max_size=30))
def test_a_counter_that_runs_round_is_followed(steps: list[float]) -> None:
    spent = [0.0]
    meter = Meter([Counter("cpu", lambda: spent[0] % 100, span=100.0)], Clock())
    meter.start()
    for step in steps:
        spent[0] += step
        meter.look()
    assert meter.stop()["train_energy_cpu_j"] == pytest.approx(sum(steps), abs=1e-6)


def test_a_counter_that_could_have_run_round_unseen_is_not_believed() -> None:
    clock = Clock()
    meter = Meter([Counter("cpu", lambda: 5.0, span=energies.MOST_WATTS * 60), Counter("gpu", lambda: 7.0)], clock)
    meter.start()
    clock.now = 59.0
    meter.look()
    clock.now = 120.0
    assert meter.stop() == {"train_energy_gpu_j": 0.0}


def test_while_training_it_looks_now_and_then() -> None:
    clock, reads = Clock(), []
    meter = Meter([Counter("cpu", lambda: float(len(reads.append(0) or reads)), span=1e6)], clock)  # type: ignore[func-returns-value]
    meter.start()
    for clock.now in (1.0, 4.0, 5.0, 6.0, 11.0):
        meter.on_train_batch_end(Trainer, None)
    assert len(reads) == 3, "when it starts, after 5 seconds and after 11"


def test_a_counter_that_fails_is_left_out_and_so_is_its_sum() -> None:
    def fail() -> float:
        raise PermissionError

    meter = Meter([Counter("cpu", lambda: 1.0), Counter("cpu", fail), Counter("gpu", lambda: 1.0)], Clock())
    meter.start()
    assert meter.stop() == {"train_energy_gpu_j": 0.0}


def test_where_nothing_counts_there_is_no_energy(tmp_path: Path) -> None:
    zone = make_zone(tmp_path, "intel-rapl:0", "package-0")
    (zone / "energy_uj").unlink()
    assert find_counters([CPU], tmp_path) == []
    assert find_counters([CPU], tmp_path / "none") == []
    meter = Meter([])
    meter.start()
    assert meter.stop() == {}


def test_a_trial_reports_what_its_training_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spent = [0.0]

    def read() -> float:
        spent[0] += 1.8e6
        return spent[0]

    monkeypatch.setattr("ablate.training.trials.find_counters", lambda devices: [Counter("cpu", read)])
    config = trial_config()
    config.cost = {"prices": {"kwh": 0.4, "device_hour": 0}}
    cost = {r["metric"]: r["value"] for r in run_trial(config) if r["domain"] == "all"}
    assert cost["train_energy_cpu_j"] == 1.8e6, "once when it starts, once when it is over"
    assert (cost["money_energy"], cost["money"]) == (pytest.approx(0.2), pytest.approx(0.2))


@pytest.mark.gpu
def test_a_gpu_counts_what_it_burns() -> None:
    pytest.importorskip("pynvml", reason="the extra `energy`")
    meter = Meter(find_counters([torch.device("cuda", 0)]))
    assert [counter.name for counter in meter.counters][:1] == ["gpu"]
    meter.start()
    square = torch.rand(4096, 4096, device="cuda")
    for _ in range(200):
        square = square @ square / 4096
    torch.cuda.synchronize()
    assert 0 < meter.stop()["train_energy_gpu_j"] < 1e5
