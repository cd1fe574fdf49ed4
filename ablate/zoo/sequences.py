"""Sequences to sequences: a Transformer and an LSTM with attention, from commands to actions, with any objective."""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torchmetrics.classification import MulticlassAccuracy, MulticlassExactMatch

from ablate.errors import TrialError

Positions = Literal["absolute", "relative"]
Scaling = Literal["none", "up", "down"]

PAD, START = 0, 1  # the start of the output is the number that ends it


def make_waves(positions: Tensor, width: int) -> Tensor:
    """Sines and cosines (n, width) of positions or distances (n,) (Vaswani 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, width, 2, device=positions.device) * (-math.log(10_000) / width))
    angles = positions[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :width]


class Attention(nn.Module):
    """Attention with several heads; relative, a score also depends on how far query and key are apart.

    Relative positions as in Transformer-XL (Dai 2019, section 3.3): a learnt map of the distance's waves, and a learnt
    bias of the queries for content and one for distance.

    Args:
        width: of queries and keys.
        heads: how many; they share the width.
        relative: whether distances count. The queries are then the last of the keys.
    """

    def __init__(self, width: int, heads: int, relative: bool = False) -> None:
        super().__init__()
        self.heads, self.relative = heads, relative
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        if relative:
            self.distance = nn.Linear(width, width, bias=False)
            self.content_bias, self.distance_bias = (nn.Parameter(torch.zeros(heads, 1, width // heads)) for _ in "cd")

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """What (n, q, width) queries find among (n, k, width) keys, where the mask (n or 1, 1, q or 1, k) is true."""
        query, (key, value) = self._split(self.query(queries)), map(self._split, self.key_value(keys).chunk(2, -1))
        if self.relative:
            scores = self._score_distances(query + self.distance_bias, key.shape[2])
            mask, query = scores.masked_fill(~mask, -torch.inf), query + self.content_bias
        found: Tensor = self.out(scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2))
        return found

    def _split(self, states: Tensor) -> Tensor:
        return states.view(*states.shape[:2], self.heads, -1).transpose(1, 2)

    def _score_distances(self, query: Tensor, keys: int) -> Tensor:
        queries, width = query.shape[2], self.heads * query.shape[3]
        distances = torch.arange(keys - 1, -queries, -1, device=query.device)
        waves = self._split(self.distance(make_waves(distances, width))[None])
        return shift_rows(query @ waves.transpose(2, 3), keys) / math.sqrt(query.shape[3])


def shift_rows(scores: Tensor, keys: int) -> Tensor:
    """Scores (..., q, q + k - 1) by falling distance, from k - 1, as scores (..., q, k) of the pairs q, k.

    The queries are the last of the keys, so the distance of query i and key j is i + k - q - j: row i begins at column
    q - 1 - i.
    """
    queries = scores.shape[-2]
    if queries == 1:
        return scores
    flat = scores.flatten(-2)[..., queries - 1 :]
    rows = flat[..., : queries * (queries + keys - 2)].reshape(*scores.shape[:-1], queries + keys - 2)
    return rows[..., :keys]


class Block(nn.Module):
    """Self-attention, attention to a memory where there is one, and a perceptron, each after its normalisation."""

    def __init__(self, width: int, heads: int, relative: bool, dropout: float, remembers: bool) -> None:
        super().__init__()
        self.own, self.own_norm = Attention(width, heads, relative), nn.LayerNorm(width)
        if remembers:
            self.other, self.other_norm = Attention(width, heads), nn.LayerNorm(width)
        layers = nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width)
        self.perceptron, self.norm = nn.Sequential(*layers), nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, mask: Tensor, memory: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        """States (n, steps, width), each improved by what its attention finds."""
        normed = self.own_norm(states)
        states = states + self.dropout(self.own(normed, normed, mask))
        if memory is not None:
            states = states + self.dropout(self.other(self.other_norm(states), memory, seen))
        improved: Tensor = states + self.dropout(self.perceptron(self.norm(states)))
        return improved


class Embedding(nn.Module):
    """Tokens as vectors, with the waves of their position added where positions are absolute.

    Scaling (Csordás 2021, section 2.1): `up` draws small vectors (Glorot) and multiplies them by √width; `none` draws
    them from N(0, 1); `down` draws them as Kaiming does and divides the positions by √width.
    """

    def __init__(self, tokens: int, width: int, positions: Positions, scaling: Scaling) -> None:
        super().__init__()
        self.table = nn.Embedding(tokens, width)
        self.absolute, self.scaling = positions == "absolute", scaling
        if scaling == "up":
            nn.init.xavier_uniform_(self.table.weight)
        elif scaling == "down":
            nn.init.kaiming_normal_(self.table.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """Vectors (n, steps, width) of tokens (n, steps)."""
        vectors: Tensor = self.table(tokens)
        root = math.sqrt(vectors.shape[-1])
        if self.scaling == "up":
            vectors = vectors * root
        if not self.absolute:
            return vectors
        waves = make_waves(torch.arange(tokens.shape[1], device=tokens.device), vectors.shape[-1])
        return vectors + (waves / root if self.scaling == "down" else waves)


class Transformer(nn.Module):
    """An encoder and a decoder of the same depth; normalisation comes first (Xiong 2020).

    Args:
        width: of every state; the perceptrons are twice as wide.
        depth: blocks of the encoder, and of the decoder.
        heads: of every attention.
        words: in the vocabulary of the input, padding among them.
        actions: in that of the output, padding and end among them.
        positions: `absolute` (waves added to the embeddings) or `relative` (distances in every self-attention).
        scaling: of the embeddings: see `Embedding`.
        dropout: share of every improvement that is dropped in training.

    Raises:
        TrialError: unknown positions or scaling, or heads that cannot share the width.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        heads: int,
        words: int,
        actions: int,
        positions: Positions = "absolute",
        scaling: Scaling = "none",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, given, kind in (("positions", positions, Positions), ("scaling", scaling, Scaling)):
            if given not in get_args(kind):
                what = f"unknown {name} {given!r}"
                raise TrialError(what, where=f"model.net.{name}", allowed=get_args(kind), word=given)
        if width % (2 * heads):
            raise TrialError(f"{heads} heads cannot share a width of {width} evenly", where="model.net.heads")
        self.embed_words = Embedding(words, width, positions, scaling)
        self.embed_actions = Embedding(actions, width, positions, scaling)
        options = heads, positions == "relative", dropout
        self.encoder = nn.ModuleList(Block(width, *options, remembers=False) for _ in range(depth))
        self.decoder = nn.ModuleList(Block(width, *options, remembers=True) for _ in range(depth))
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.head = nn.Linear(width, actions)

    def encode(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """States (n, m, width) of words (n, m), and where they are no padding (n, 1, 1, m)."""
        seen = (words != PAD)[:, None, None]
        states = self.embed_words(words)
        for block in self.encoder:
            states = block(states, seen)
        return self.encoder_norm(states), seen

    def decode(self, given: Tensor, memory: tuple[Tensor, Tensor]) -> Tensor:
        """Logits (n, steps, actions) of what follows each of the actions given (n, steps)."""
        steps = given.shape[1]
        earlier = torch.ones(steps, steps, dtype=torch.bool, device=given.device).tril()[None, None]
        states = self.embed_actions(given)
        for block in self.decoder:
            states = block(states, earlier, *memory)
        logits: Tensor = self.head(self.decoder_norm(states))
        return logits


class Recurrent(nn.Module):
    """An LSTM that reads and one that writes, which attends to all states of the first (Luong 2015, dot product).

    Args:
        width: of every state.
        depth: layers of each LSTM.
        words: in the vocabulary of the input, padding among them.
        actions: in that of the output, padding and end among them.
        dropout: share of the embeddings that is dropped in training.
    """

    def __init__(self, width: int, depth: int, words: int, actions: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed_words, self.embed_actions = nn.Embedding(words, width), nn.Embedding(actions, width)
        self.reader, self.writer = (nn.LSTM(width, width, depth, batch_first=True) for _ in "rw")
        self.mix, self.head = nn.Linear(2 * width, width), nn.Linear(width, actions)
        self.dropout = nn.Dropout(dropout)

    def encode(self, words: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """States (n, m, width) of words (n, m), where they are no padding (n, 1, m), and the state after the last."""
        seen = words != PAD
        packed = nn.utils.rnn.pack_padded_sequence(
            self.dropout(self.embed_words(words)), seen.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, last = self.reader(packed)
        padded, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=words.shape[1])
        return padded, seen[:, None], last

    def decode(self, given: Tensor, memory: tuple[Tensor, Tensor, tuple[Tensor, Tensor]]) -> Tensor:
        """Logits (n, steps, actions) of what follows each of the actions given (n, steps)."""
        keys, seen, last = memory
        states, _ = self.writer(self.dropout(self.embed_actions(given)), last)
        found = scaled_dot_product_attention(states, keys, keys, seen, scale=1.0)
        logits: Tensor = self.head(torch.tanh(self.mix(torch.cat([states, found], -1))))
        return logits


class Translator(LightningModule):
    """A net with `encode` and `decode`, trained to write the actions of a command, each given the true ones before it.

    Logs, when tested, `exact_match` (the share of commands whose every action, and the end, is right),
    `token_accuracy` (the share of actions and ends that are right after the true ones before them) and `nll` (their
    mean cross-entropy, nats); with the prefix `val_` when validated. The exact match is that of greedy decoding, seen
    without decoding: that writes the true output if and only if, after every true beginning, the likeliest action is
    the true next one.

    Args:
        net: `Transformer` or `Recurrent`, or one with their `encode`, `decode`.
        objective: (logits, labels) -> loss, over all actions that are no padding.
        learning_rate: the highest of AdamW; it rises for `warm_up` of the steps, then falls to nought, in straight
            lines.
        actions: in the vocabulary of the output, padding and end among them.
        longest: actions after which greedy decoding gives up.
        warm_up: the share of the steps.
    """

    def __init__(
        self,
        net: nn.Module,
        objective: Callable[[Tensor, Tensor], Tensor],
        learning_rate: float,
        actions: int,
        longest: int = 49,
        warm_up: float = 0.1,
    ) -> None:
        super().__init__()
        self.net, self.objective, self.learning_rate = net, objective, learning_rate
        self.longest, self.warm_up = longest, warm_up
        self.exact_match = MulticlassExactMatch(actions, ignore_index=PAD)
        self.token_accuracy = MulticlassAccuracy(actions, average="micro", ignore_index=PAD)

    def forward(self, words: Tensor) -> Tensor:
        """The actions (n, steps) that greedy decoding writes for words (n, m), padded after their end."""
        memory = self.net.encode(words)  # type: ignore[operator]
        written = torch.full_like(words[:, :1], START)
        done = torch.zeros_like(words[:, 0], dtype=torch.bool)
        while not done.all() and written.shape[1] <= self.longest:
            likeliest = self.net.decode(written, memory)[:, -1].argmax(-1)  # type: ignore[operator]
            written = torch.cat([written, likeliest.masked_fill(done, PAD)[:, None]], 1)
            done = done | (likeliest == START)
        return written[:, 1:]

    def predict_next(self, words: Tensor, acts: Tensor) -> Tensor:
        """Logits (n, steps, actions) of every action (n, steps), given the words and the true actions before it."""
        given = torch.cat([torch.full_like(acts[:, :1], START), acts[:, :-1]], 1)
        logits: Tensor = self.net.decode(given, self.net.encode(words))  # type: ignore[operator]
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The objective on the actions of a batch."""
        words, acts = batch
        real = acts != PAD
        return self.objective(self.predict_next(words, acts)[real], acts[real])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """`val_exact_match`, `val_token_accuracy` and `val_nll`, over the validation set."""
        self._log_scores(batch, "val_")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """`exact_match`, `token_accuracy` and `nll`, over the test set."""
        self._log_scores(batch, "")

    def _log_scores(self, batch: tuple[Tensor, Tensor], prefix: str) -> None:
        words, acts = batch
        logits = self.predict_next(words, acts).transpose(1, 2)
        for name in ("exact_match", "token_accuracy"):
            metric = getattr(self, name)
            metric.update(logits.argmax(1), acts)
            self.log(f"{prefix}{name}", metric, on_step=False, on_epoch=True)
        nll = nn.functional.cross_entropy(logits, acts, ignore_index=PAD)
        self.log(f"{prefix}nll", nll, on_step=False, on_epoch=True, batch_size=int((acts != PAD).sum()))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its rate changed at every step."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate)
        steps = max(1, int(self.trainer.estimated_stepping_batches))
        rising = max(1, round(self.warm_up * steps))
        rate = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": rate, "interval": "step"}}
