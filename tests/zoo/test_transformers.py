"""Networks of `transformers` as LightningModules: trained on their own loss, scored as by hand."""

from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningDataModule, Trainer
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ablate.errors import TrialError
from ablate.training.trials import run_trial
from ablate.zoo.transformers import Pretrained

BYTES = 384  # of the byte-level tokenizer ByT5: 256 bytes and what is special
LLAMA = {
    "_target_": "transformers.LlamaForCausalLM",
    "config": {
        "_target_": "transformers.LlamaConfig", "vocab_size": BYTES, "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 1,
    },
}  # fmt: skip
BERT = {
    "_target_": "transformers.BertForSequenceClassification",
    "config": {
        "_target_": "transformers.BertConfig", "vocab_size": BYTES, "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64, "num_labels": 3,
    },
}  # fmt: skip


def encode(texts: list[str]) -> dict[str, Tensor]:
    """Texts as ByT5 encodes them (a byte and 3), padded; what is padding does not count."""
    rows = [torch.tensor([b + 3 for b in text.encode()]) for text in texts]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = (ids != 0).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(ids == 0, -100)}


class Sentences(LightningDataModule):
    """Sentences to train on, and two domains; to be continued, or to be told apart by their number of words."""

    def __init__(self, classify: bool = False) -> None:
        super().__init__()
        self.classify = classify

    def _load(self, texts: list[str], shuffle: bool = False) -> DataLoader[str]:
        return DataLoader(texts, 4, shuffle, collate_fn=self._collate)  # type: ignore[arg-type]

    def _collate(self, texts: list[str]) -> dict[str, Tensor]:
        batch = encode(texts)
        if self.classify:
            batch["labels"] = torch.tensor([text.count(" ") for text in texts])
        return batch

    def train_dataloader(self) -> DataLoader[str]:
        return self._load(["one", "one two", "one two three"] * 8, shuffle=True)

    def val_dataloader(self) -> DataLoader[str]:
        return self._load(["one two"] * 3)

    def test_dataloader(self) -> dict[str, DataLoader[str]]:
        return {
            "same": self._load(["one", "one two", "one two three"]),
            "other": self._load(["a b", "c", "d e f", "g", "h"]),
        }


class Uniform(nn.Module):
    """Called as a language model is, and sure of nothing but the even bytes, twice as likely as the others."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, input_ids: Tensor, labels: Tensor | None = None, attention_mask: Tensor | None = None) -> object:
        logits = (torch.arange(4) % 2 == 0) * torch.tensor(2.0).log() + self.weight
        return SimpleNamespace(loss=self.weight, logits=logits.expand(*input_ids.shape, 4))


@pytest.mark.filterwarnings("ignore:.*many workers", "ignore:.*LeafSpec")
def test_every_token_after_the_first_counts_once() -> None:
    """Batches of unequal numbers of tokens: 6 tokens with probability 1/3, one with 1/6."""
    ids = torch.tensor([[0, 2, 0, 2, 0, 2], [2, 0, 1, 3, 3, 3]])
    labels = ids.masked_fill(torch.tensor([[False] * 6, [False, False, False, True, True, True]]), -100)
    batches = [{"input_ids": i[None], "labels": j[None]} for i, j in zip(ids, labels, strict=True)]
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    (found,) = trainer.test(Pretrained(Uniform(), 0.1), DataLoader(batches, batch_size=None), verbose=False)
    expected = (6 * torch.tensor(3.0).log() + torch.tensor(6.0).log()) / 7
    assert found["nll"] == pytest.approx(float(expected))
    assert found["accuracy"] == pytest.approx(3 / 7)  # of the even ones the first is said


def test_what_is_no_network_is_named() -> None:
    with pytest.raises(TrialError, match="'network' is a dict"):
        Pretrained({}, 0.1)  # type: ignore[arg-type]


def run(network: dict[str, object], seed: int = 0, rate: float = 0.02, **data: object) -> dict[tuple[str, str], float]:
    config = OmegaConf.create({
        "model": {"_target_": "ablate.zoo.transformers.Pretrained", "network": network, "learning_rate": rate},
        "data": {"_target_": f"{__name__}.Sentences", **data},
        "trainer": {"accelerator": "cpu", "max_epochs": 6},
        "seed": seed,
    })  # fmt: skip
    return {(row["domain"], row["metric"]): row["value"] for row in run_trial(config)}


@pytest.mark.lm
def test_a_causal_language_model_learns() -> None:
    pytest.importorskip("transformers", reason="needs the extra `lm`")
    rows = run(LLAMA)
    assert rows["same", "nll"] < 3 < rows["other", "nll"]
    assert rows["same", "accuracy"] > 0.3 > rows["other", "accuracy"]
    assert run(LLAMA)["other", "nll"] == rows["other", "nll"] != run(LLAMA, 1)["other", "nll"]


@pytest.mark.lm
@pytest.mark.filterwarnings("ignore:.*many workers", "ignore:.*LeafSpec")
def test_its_loss_is_the_librarys() -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra `lm`")
    options = {k: v for k, v in LLAMA["config"].items() if k != "_target_"}  # type: ignore[attr-defined]
    torch.manual_seed(0)
    model = Pretrained(transformers.LlamaForCausalLM(transformers.LlamaConfig(**options)), 0.1).eval()
    batch = encode(["some words", "more"])
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    (found,) = trainer.test(model, DataLoader([batch], batch_size=None), verbose=False)
    assert found["nll"] == pytest.approx(float(model.training_step(batch, 0).detach()), rel=1e-5)
    assert model(batch).shape == (2, 10, BYTES)


@pytest.mark.lm
def test_a_classifier_learns_and_weights_come_from_a_folder(tmp_path: object) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the extra `lm`")
    rows = run(BERT, classify=True)
    assert rows["same", "accuracy"] == 1
    options = {k: v for k, v in BERT["config"].items() if k != "_target_"}  # type: ignore[attr-defined]
    transformers.BertForSequenceClassification(transformers.BertConfig(**options)).save_pretrained(tmp_path)
    stored = {
        "_target_": "transformers.AutoModelForSequenceClassification.from_pretrained",
        "pretrained_model_name_or_path": str(tmp_path),
        "local_files_only": True,
    }
    untrained = [run(stored, seed, 0.0, classify=True)["same", "nll"] for seed in (0, 1)]
    assert untrained[0] == untrained[1] > run(stored, classify=True)["same", "nll"], (
        "the folder's weights, not a seed's"
    )
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, local_files_only=True)
    assert not loaded.training
    assert Pretrained(loaded, 0.1).network.training, "dropout is on"
