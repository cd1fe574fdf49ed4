"""A language model of bytes: a small Transformer that predicts every byte from those before it, with any objective."""

import math
from typing import Any

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from ablate.errors import TrialError
from ablate.zoo.learners import Learner
from ablate.zoo.objectives import Batch, BatchObjective, LossObjective

BYTES = 256


class Attention(nn.Module):
    """Causal attention with several heads and rotary positions (Su 2021, section 3.2.2).

    It is written in matrix products, since PyTorch counts no operations of its fused attention on a CPU.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.read, self.write = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, states: Tensor, turns: tuple[Tensor, Tensor], future: Tensor) -> Tensor:
        """States (n, steps, width) after attention; `future` (steps, steps) is 0 where a key may be seen, else -inf."""
        parts = self.read(states).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = turn(parts[0], turns), turn(parts[1], turns), parts[2]
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + future
        found: Tensor = self.write((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
        return found


def make_turns(steps: int, width: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """Cosines and sines (steps, width / 2) of the angles by which positions turn pairs of values."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=device) / width)
    angles = torch.arange(steps, device=device)[:, None] * rates
    return angles.cos(), angles.sin()


def turn(states: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Each value of the first half of the last dimension, with its partner in the second, turned by its position."""
    (one, other), (cos, sin) = states.chunk(2, -1), turns
    return torch.cat([one * cos - other * sin, one * sin + other * cos], -1)


class Block(nn.Module):
    """Attention and a perceptron, four times as wide, each added to what it reads normalised.

    The last weights of both are smaller by the root of twice the depth (Radford 2019, section 2.3).
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.attention, last = Attention(width, heads), nn.Linear(4 * width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), last)
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        for layer in (self.attention.write, last):
            nn.init.normal_(layer.weight, std=(2 * depth * layer.in_features) ** -0.5)

    def forward(self, states: Tensor, turns: tuple[Tensor, Tensor], future: Tensor) -> Tensor:
        """States (n, steps, width) after the block."""
        states = states + self.attention(self.before(states), turns, future)
        changed: Tensor = states + self.perceptron(self.between(states))
        return changed


class Decoder(nn.Module):
    """A Transformer of bytes; its output weights are its embeddings (Press 2017).

    Args:
        width: of every state; of its heads' shares, an even number each.
        depth: blocks.
        heads: of each attention.

    Raises:
        TrialError: the heads cannot share the width.
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        if width % (2 * heads):
            raise TrialError(f"{heads} heads cannot share a width of {width} evenly", where="model.network.heads")
        self.turned = width // heads
        self.table = nn.Embedding(BYTES, width)
        self.blocks = nn.ModuleList(Block(width, depth, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.table.weight, std=1 / width)  # logits begin small, though a state holds its own byte

    def features(self, given: Tensor) -> Tensor:
        """States (n, steps, width) after bytes (n, steps), each of those up to its own."""
        steps = given.shape[1]
        turns = make_turns(steps, self.turned, given.device)
        future = torch.full((steps, steps), -torch.inf, device=given.device).triu(1)
        states = self.table(given) * math.sqrt(self.table.embedding_dim)
        for block in self.blocks:
            states = block(states, turns, future)
        normalised: Tensor = self.norm(states)
        return normalised

    def head(self, states: Tensor) -> Tensor:
        """Logits (..., 256) of the byte that follows each state."""
        return states @ self.table.weight.T

    def forward(self, given: Tensor) -> Tensor:
        """Logits (n, steps, 256) of what follows each byte (n, steps)."""
        return self.head(self.features(given))


class LanguageModel(Learner):
    """A Learner of bytes; a batch is bytes (n, steps) and those that follow each of them (n, steps).

    Logs `bits_per_byte` when tested (mean cross-entropy in bits; guessing evenly costs 8), whatever it was trained
    with, and `val_bits_per_byte` when validated.

    Args:
        network: gives logits (n, steps, 256) of bytes (n, steps): `Decoder`, or another.
        objective: of either kind; see `ablate.zoo.objectives`.
        learning_rate: the highest of AdamW; it rises for `warm_up` of the steps, then falls to nought, in straight
            lines.
        seed: the trial's.
        warm_up: the share of the steps.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: LossObjective | BatchObjective,
        learning_rate: float,
        seed: int,
        warm_up: float = 0.1,
    ) -> None:
        super().__init__(network, objective, learning_rate, BYTES, seed)
        self.warm_up = warm_up

    def _log_scores(self, batch: Batch, prefix: str) -> None:
        given, following = batch
        options: dict[str, Any] = {"on_step": False, "on_epoch": True, "batch_size": following.numel()}
        self.log(f"{prefix}bits_per_byte", measure_bits(self(given), following), **options)

    def configure_optimizers(self) -> OptimizerLRScheduler:  # type: ignore[override]  # a Learner has no schedule
        """AdamW, its rate changed at every step."""
        optimizer = super().configure_optimizers()
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        rising = max(1, round(self.warm_up * steps))
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}


def measure_bits(logits: Tensor, following: Tensor) -> Tensor:
    """Mean cross-entropy in bits of bytes (n, steps) under logits (n, steps, 256)."""
    return nn.functional.cross_entropy(logits.flatten(0, -2), following.flatten()) / math.log(2)
