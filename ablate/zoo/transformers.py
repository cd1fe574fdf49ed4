"""Networks of Hugging Face's `transformers` as LightningModules: language models and classifiers, by `_target_`.

Nothing of that library is imported here: a network is whatever its config names, from a folder or with random weights.
"""

from collections.abc import Mapping

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ablate.errors import TrialError

IGNORED = -100  # the label of a token that does not count, as `transformers` has it
Batch = Mapping[str, Tensor]


class Pretrained(LightningModule):
    """A network of `transformers`, trained on its own loss; for a causal language model or a classifier of sequences.

    Logs, when tested, `nll` (mean cross-entropy in nats, per token or sequence) and `accuracy` (per token or sequence),
    over all tokens or sequences of the test set; with the prefix `val_` when validated.

    Args:
        network: called with the tensors of a batch by name, it gives an output with `loss` and `logits`. In a config:
            `transformers.LlamaForCausalLM` with a `config`; `transformers.AutoModelForCausalLM.from_config`; or
            `...from_pretrained` with a local path and `local_files_only: true`.
        learning_rate: of AdamW.
        weight_decay: of AdamW.

    Batches are mappings with `input_ids` (n, steps), `labels` (n, steps), where -100 does not count and the network
    itself compares with the tokens before; or (n,) for a classifier; and whatever else the network takes
    (`attention_mask`).
    """

    def __init__(self, network: nn.Module, learning_rate: float, weight_decay: float = 0.01) -> None:
        super().__init__()
        if not isinstance(network, nn.Module):
            what = f"'network' is a {type(network).__name__}"
            raise TrialError(what, where="model.network", allowed=["a model of transformers, by `_target_`"])
        self.network = network.train()  # one that was loaded is not: its dropout would stay off
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    def forward(self, batch: Batch) -> Tensor:
        """Logits (n, steps, tokens), or (n, classes) of a classifier; labels are not looked at."""
        logits: Tensor = self.network(**{name: part for name, part in batch.items() if name != "labels"}).logits
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The network's own loss on a batch."""
        loss: Tensor = self.network(**batch).loss
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """`val_nll` and `val_accuracy`, over the validation set."""
        self._log_scores(batch, "val_")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """`nll` and `accuracy`, over the test set."""
        self._log_scores(batch, "")

    def _log_scores(self, batch: Batch, prefix: str) -> None:
        logits, labels = self(batch), batch["labels"]
        if labels.ndim == 2:  # what follows each token is to be said
            logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
        real = labels != IGNORED
        count = int(real.sum())
        if not count:
            return
        nll = nn.functional.cross_entropy(logits[real].float(), labels[real])
        scores = {"nll": nll, "accuracy": (logits[real].argmax(-1) == labels[real]).float().mean()}
        for name, value in scores.items():
            self.log(f"{prefix}{name}", value, on_step=False, on_epoch=True, batch_size=count)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW over what is to be trained."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.AdamW(parameters, lr=self.learning_rate, weight_decay=self.weight_decay)
