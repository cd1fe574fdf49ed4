"""The README's own study runs as it is printed there, with a stranger's module and data."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import ablate as ab

README = Path(__file__).parents[1] / "README.md"

PARTS = """
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset


class Classifier(LightningModule):
    def __init__(self, width, objective):
        super().__init__()
        self.objective = objective
        self.net = torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.ReLU(), torch.nn.Linear(width, 2))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.objective(self.net(x), y)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("accuracy", (self.net(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Reviews(LightningDataModule):
    def __init__(self, seed):
        super().__init__()
        self.seed = seed

    def draw(self, size, seed):
        x = torch.randn(size, 8, generator=torch.Generator().manual_seed(seed))
        return DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=64)

    def train_dataloader(self):
        return self.draw(256, self.seed)

    def test_dataloader(self):
        return {f"test_{i}": self.draw(200, 1000 + i) for i in range(4)}
"""


@pytest.mark.slow
def test_the_own_study_of_the_readme_runs(tmp_path):
    (text,) = re.findall(r"```yaml\n(# studies/mine/study.yaml.*?)```", README.read_text(), re.DOTALL)
    study = tmp_path / "studies" / "mine"
    study.mkdir(parents=True)
    (study / "study.yaml").write_text(text)
    (study / "parts.py").write_text(PARTS)
    command = [sys.executable, "-m", "ablate", "-cd", "studies/mine", "-cn", "study", "hydra.sweeper.seeds=3"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "narrow vs wide" in done.stdout
    records = ab.load(study)
    assert records.complete["trial"].nunique() == 12
    assert set(records.complete["domain"]) == {"all", "test_0", "test_1", "test_2", "test_3"}
    assert list(records.plan.provenance["sources"]) == ["parts/parts.py"]
    (study / "parts.py").write_text(PARTS.replace("lr=0.1", "lr=0.2"))
    subprocess.run(["rm", "-r", str(next(study.glob("runs/*/1")))], check=True)
    (study / "records.csv").unlink()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200)
    assert done.returncode == 2
    assert "sources: parts/parts.py" in done.stderr
