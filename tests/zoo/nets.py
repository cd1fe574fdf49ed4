"""The smallest networks that an objective can train, and batches for them."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


class Averages(nn.Module):
    """A language model: every position reads the average of the vectors up to its own."""

    def __init__(self, width: int = 8, tokens: int = 5) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(tokens, width), nn.Linear(width, tokens)

    def features(self, tokens: Tensor) -> Tensor:
        seen = torch.arange(1, tokens.shape[1] + 1)[:, None]
        return self.table(tokens).cumsum(1) / seen

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.features(tokens))


class Constant(nn.Module):
    """Logits that do not look at the inputs."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits.expand(*inputs.shape[:1], -1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(n: int = 12) -> tuple[Tensor, Tensor]:
    drawn = torch.rand(n, 1, 8, 8, generator=generator(1))
    return drawn, torch.arange(n) % 4


def sentences(n: int = 6, steps: int = 7) -> tuple[Tensor, Tensor]:
    drawn = torch.randint(5, (n, steps + 1), generator=generator(2))
    return drawn[:, :-1], drawn[:, 1:]


def load_pairs() -> DataLoader[tuple[Tensor, ...]]:
    """Batches of answers and of what is wrong with every token of them, the same question before both."""
    inputs, labels = sentences()
    return DataLoader(TensorDataset(inputs, labels, inputs, (labels + 1) % 5), 3)
