"""The lm-evaluation-harness on a model in memory and tasks of files: its scores are those of plain arithmetic."""

import json
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from ablate.errors import TrialError
from ablate.training import preflight, run_trial
from ablate.zoo.harnesses import Harness, begins_only
from ablate.zoo.transformers import Pretrained

MISSING = not all(map(find_spec, ("lm_eval", "transformers")))
pytestmark = [pytest.mark.lm, pytest.mark.skipif(MISSING, reason="needs the extra `lm`")]

SUMS = [{"asked": f"{n}+1=", "choices": [str(n + 1), str(n + 2), "7"], "right": n % 2} for n in range(7)]
TEXTS = [{"text": text} for text in ("one", "one and two", "three, four, five", "six")]
MULTIPLE = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: sums.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{asked}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{right}}"
target_delimiter: ""
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
ROLLING = """
task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: bits_per_byte}
metadata: {version: 1.0}
"""


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    yield
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tasks")
    for name, task, rows in (("sums", MULTIPLE, SUMS), ("texts", ROLLING, TEXTS)):
        (path / f"{name}.yaml").write_text(task)
        (path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (path / "both.yaml").write_text("group: both\ntask: [sums, texts]\n")
    return path


@pytest.fixture(scope="module")
def model() -> Pretrained:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=384, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=64, pad_token_id=0, bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    return Pretrained(LlamaForCausalLM(config), 0.1)


def log_likelihood(model: Pretrained, before: str, after: str) -> float:
    """Nats of the bytes of one text after another, or after the end of a text."""
    start = [b + 3 for b in before.encode()] or [1]
    ids = torch.tensor([[*start, *(b + 3 for b in after.encode())]])
    with torch.inference_mode():
        logs = model.network(input_ids=ids).logits.log_softmax(-1)
    places = range(len(start), ids.shape[1])
    return float(sum(logs[0, k - 1, ids[0, k]] for k in places))


def make_harness(folder: Path, *tasks: str, **options: Any) -> Harness:
    from transformers import ByT5Tokenizer

    return Harness(tasks, str(folder), ByT5Tokenizer(), length=64, **options)


def test_scores_are_those_of_plain_arithmetic(folder: Path, model: Pretrained) -> None:
    found = make_harness(folder, "both").evaluate(model.eval())
    right = []
    for item in SUMS:
        likely = [log_likelihood(model, item["asked"], choice) for choice in item["choices"]]
        right.append(float(max(range(3), key=likely.__getitem__) == item["right"]))
    rows = {(row["domain"], row["metric"]): row for row in found.rows}
    assert set(rows) == {("sums", "acc"), ("texts", "bits_per_byte")}
    sums, texts = rows["sums", "acc"], rows["texts", "bits_per_byte"]
    mean = sum(right) / 7
    assert 0 < mean < 1
    assert sums["value"] == pytest.approx(mean)
    assert sums["score_se"] == pytest.approx(math.sqrt(mean * (1 - mean) / 6))
    assert (sums["n_examples"], texts["n_examples"]) == (7, 4)
    nats = -sum(log_likelihood(model, "", row["text"]) for row in TEXTS)
    assert texts["value"] == pytest.approx(nats / math.log(2) / sum(len(row["text"]) for row in TEXTS), rel=1e-4)
    assert "score_se" not in texts  # of the whole corpus
    own = [item for item in found.items if item["domain"] == "sums"]
    assert [item["value"] for item in sorted(own, key=lambda item: item["example"])] == right


def test_it_leaves_the_module_and_the_streams_as_they_were(folder: Path, model: Pretrained) -> None:
    model.train()
    torch.manual_seed(5)
    rows = make_harness(folder, "sums")(model, few=True)
    after = torch.rand(())
    assert model.network.training
    torch.manual_seed(5)
    assert torch.equal(after, torch.rand(()))
    assert [row.get("example") for row in rows] == [None, 0, 1]
    assert rows[0]["value"] == pytest.approx((rows[1]["value"] + rows[2]["value"]) / 2)


def test_other_items_or_other_prompts_are_another_test(folder: Path, model: Pretrained, tmp_path: Path) -> None:
    (tmp_path / "sums.yaml").write_text(MULTIPLE.replace('"{{asked}}"', '"What is {{asked}}"'))
    (tmp_path / "sums.jsonl").write_text((folder / "sums.jsonl").read_text())
    hashes = [
        make_harness(where, "sums", limit=limit).evaluate(model).rows[0]["eval_hash"]
        for where, limit in ((folder, 4), (folder, 4), (folder, 5), (tmp_path, 4))
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_tokenizer_that_ends_texts_is_kept_from_it() -> None:
    class Begins:
        def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
            return [1] * add_special_tokens + [ord(c) for c in text]

    from transformers import ByT5Tokenizer

    assert begins_only(Begins())
    assert not begins_only(ByT5Tokenizer())  # writes </s> behind a text


def test_a_task_that_there_is_not_is_named(folder: Path, model: Pretrained) -> None:
    with pytest.raises(TrialError, match=r"no task 'sum'(?s:.*)sums"):
        make_harness(folder, "sum").evaluate(model)


class Sayings(LightningDataModule):
    """A few texts to learn by heart, and one to be tested on."""

    def _load(self, texts: list[str]) -> DataLoader[Any]:
        return DataLoader(texts, 2, collate_fn=self._collate)  # type: ignore[arg-type]

    def _collate(self, texts: list[str]) -> dict[str, torch.Tensor]:
        ids = torch.tensor([[b + 3 for b in text.encode()] for text in texts])
        return {"input_ids": ids, "labels": ids}

    def train_dataloader(self) -> DataLoader[Any]:
        return self._load([f"{n}+1={n + 1}" for n in range(7)] * 4)

    def test_dataloader(self) -> dict[str, DataLoader[Any]]:
        return {"seen": self._load(["3+1=4"])}


def test_a_trial_of_a_language_model_has_the_tasks_as_domains(folder: Path) -> None:
    sizes = {"vocab_size": 384, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    llama = {"_target_": "transformers.LlamaConfig", **sizes, "num_attention_heads": 2, "pad_token_id": 0}
    network = {"_target_": "transformers.LlamaForCausalLM", "config": llama}
    harness = {"_target_": "ablate.zoo.harnesses.Harness", "tasks": ["sums"], "folder": str(folder), "length": 64}
    config = OmegaConf.create({
        "seed": 0,
        "model": {"_target_": "ablate.zoo.transformers.Pretrained", "network": network, "learning_rate": 0.01},
        "data": {"_target_": f"{__name__}.Sayings"},
        "trainer": {"accelerator": "cpu", "max_epochs": 6},
        "evaluators": {"harness": {**harness, "tokenizer": {"_target_": "transformers.ByT5Tokenizer"}}},
    })  # fmt: skip
    rows = {(row["domain"], row["metric"]): row for row in run_trial(config)}
    assert rows["sums", "acc"]["n_examples"] == 7
    assert rows["seen", "nll"]["value"] < 3
    told = {row["domain"]: row for row in preflight(config)}
    assert told["sums"]["n_examples"] == 2
