"""Ways to use a trained module: what each changes, what none does, and what is refused."""

import copy
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader

from ablate.errors import TrialError
from ablate.training.evaluations import measure_size
from ablate.zoo.classifiers import Perceptron
from ablate.zoo.exits import EarlyPerceptron
from ablate.zoo.inference import Cast, Compiled, Ensemble, Switched, keep, quantise

PICTURES, LABELS = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(64) % 10


def perceptron(kind: type[Perceptron] = Perceptron) -> Perceptron:
    torch.manual_seed(0)
    return kind(nn.CrossEntropyLoss(), 64, 2, 0.01).eval()


def trained(**options: object) -> tuple[Perceptron, Trainer]:
    model = perceptron()
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="cpu", max_epochs=3, **{"enable_checkpointing": False, **quiet, **options})
    trainer.fit(model, DataLoader([(PICTURES, LABELS)], batch_size=None))
    return model.eval(), trainer


def test_kept_is_the_module_itself() -> None:
    model = perceptron()
    assert keep(model) is model


@pytest.mark.parametrize(("change", "within"), [(quantise, 0.05), (Cast(), 0.05), (Cast("float16"), 0.005)])
def test_coarser_numbers_give_nearly_the_same_answers_in_float32_and_take_less_room(change, within) -> None:
    model = perceptron()
    plain, size = model(PICTURES).detach(), measure_size(model)["size_mb"]
    made = change(copy.deepcopy(model))
    logits = made(PICTURES).detach()
    assert logits.dtype == torch.float32
    assert 0 < float((logits - plain).abs().max()) < within
    assert measure_size(made)["size_mb"] < 0.6 * size
    assert torch.equal(model(PICTURES), plain)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_compiled_it_answers_as_before(backend: str) -> None:
    model = perceptron()
    made = Compiled(backend)(copy.deepcopy(model))
    for n in (64, 3, 1):
        torch.testing.assert_close(made(PICTURES[:n]), model(PICTURES[:n]), atol=1e-6, rtol=1e-5)


def test_a_module_is_switched_by_the_attributes_that_it_offers() -> None:
    made = Switched(**{"net.above": 0.5})(perceptron(EarlyPerceptron))
    assert made.net.above == 0.5
    with pytest.raises(TrialError, match=r"has no 'net.below' to switch"):
        Switched(**{"net.below": 0.5})(made)


@pytest.mark.filterwarnings("ignore")
def test_an_ensemble_is_the_mean_over_the_checkpoints_that_were_kept(tmp_path: Path) -> None:
    kept = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)
    model, trainer = trained(callbacks=[kept], enable_checkpointing=True)
    model.trainer = trainer
    files = sorted(tmp_path.glob("*.ckpt"))
    assert len(files) == 3
    single = []
    for file in files:
        member = perceptron()
        member.load_state_dict(torch.load(file, weights_only=False)["state_dict"])
        single.append(member(PICTURES))
    assert not torch.equal(single[0], single[2])
    size = measure_size(model)["size_mb"]
    made = Ensemble()(model)
    torch.testing.assert_close(made(PICTURES), torch.stack(single).mean(0))
    assert measure_size(made)["size_mb"] == pytest.approx(3 * size, rel=0.05)


@pytest.mark.filterwarnings("ignore")
def test_without_checkpoints_there_is_no_ensemble() -> None:
    model, trainer = trained()
    model.trainer = trainer
    with pytest.raises(TrialError, match="0 checkpoints were kept"):
        Ensemble()(model)


class Dropping(LightningModule):
    """A layer and a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.net(pictures)


def test_samples_of_a_module_that_draws_average_to_its_answer() -> None:
    torch.manual_seed(0)
    model = Dropping().eval()
    plain, state = model(PICTURES).detach(), torch.random.get_rng_state()
    few, many, again = (Ensemble(samples=n)(copy.deepcopy(model))(PICTURES).detach() for n in (2, 400, 2))
    assert torch.equal(few, again)
    assert float((many - plain).abs().mean()) < 0.2 * float((few - plain).abs().mean())
    assert torch.equal(torch.random.get_rng_state(), state)
    with pytest.raises(TrialError, match="all samples would be one"):
        Ensemble(samples=2)(perceptron())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(TrialError, match="dtype is 'int4'"):
        Cast("int4")
    model = perceptron()
    model.net = nn.Flatten()
    with pytest.raises(TrialError, match="no layer to quantise"):
        quantise(model)
