"""Puts the stranger's parts where `_target_` finds them, as a study's folder would be; gives a trial its folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf


@pytest.fixture(autouse=True)
def _guests_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "guests"))


@pytest.fixture
def attempt(tmp_path: Path) -> Iterator[Path]:
    """The folder of a trial's attempt, as a running Hydra job has one."""
    config = OmegaConf.create({"hydra": OmegaConf.structured(HydraConf)})
    config.hydra.runtime.output_dir = str(tmp_path)
    HydraConfig.instance().set_config(config)
    yield tmp_path
    HydraConfig.instance().cfg = None
