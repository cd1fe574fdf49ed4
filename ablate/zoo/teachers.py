"""Objectives with a second network that is not trained: distillation from a teacher, preferences over a reference."""

from copy import deepcopy
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor, nn

from ablate.errors import TrialError
from ablate.zoo.objectives import UNLABELLED, Batch, BatchObjective, LossObjective, supervise

PREFIX = "network."  # of a network's weights in the checkpoint of a `Learner`


class Distillation(BatchObjective):
    """The labels, and the probabilities of a teacher on the same inputs (Hinton 2015).

    The loss is (1 - weight) · objective + weight · T² · KL(teacher at T, network at T). The teacher is neither trained
    nor counted among the parameters nor saved with them; the operations of training count its forward pass.

    Args:
        teacher: gives logits as the network does: a network, or a whole LightningModule.
        checkpoint: a file with its weights, as Lightning or `state_dict` write them; None: it has them.
        temperature: T, by which both logits are divided.
        weight: 0 to 1; 0 learns from labels alone, 1 from the teacher alone.
        objective: of the labels; None: cross-entropy.

    Raises:
        TrialError: the weight is not in 0..1, the temperature not above 0, or the checkpoint does not fit.
    """

    def __init__(
        self,
        teacher: nn.Module,
        checkpoint: str | Path | None = None,
        temperature: float = 2.0,
        weight: float = 0.5,
        objective: LossObjective | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise TrialError(f"weight is {weight}", where="objective.weight", allowed=["0 to 1"])
        _require_positive(temperature, "temperature")
        self.temperature, self.weight, self.objective = temperature, weight, objective or nn.CrossEntropyLoss()
        self._held = (freeze(teacher if checkpoint is None else load_weights(teacher, checkpoint)),)

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss at labelled positions."""
        inputs, labels = batch
        logits = network(inputs)
        asked = labels != UNLABELLED
        with torch.no_grad():
            taught = self._held[0].to(inputs.device)(inputs)
        own, its = ((part[asked] / self.temperature).log_softmax(-1) for part in (logits, taught))
        apart = nn.functional.kl_div(own, its, reduction="batchmean", log_target=True) * self.temperature**2
        return (1 - self.weight) * supervise(self.objective, logits, labels) + self.weight * apart


class Preference(BatchObjective):
    """Of two answers, the chosen one becomes likelier than a reference has it, the other less (DPO, Rafailov 2023).

    A batch is (inputs, labels) of the chosen answers and (inputs, labels) of the rejected ones, four tensors, row by
    row a pair; positions of the question and of padding are `UNLABELLED`. The loss is equation 7 of the paper.

    Args:
        beta: above 0; the higher, the dearer it is to leave the reference.
        reference: gives logits as the network does; None: the network as it was before its first step.
        checkpoint: a file with the reference's weights; None: it has them.

    Raises:
        TrialError: beta is not above 0, the checkpoint does not fit or has no reference to go to; when training, the
            batch is not of pairs.
    """

    def __init__(
        self, beta: float = 0.1, reference: nn.Module | None = None, checkpoint: str | Path | None = None
    ) -> None:
        super().__init__()
        _require_positive(beta, "beta")
        if reference is None and checkpoint is not None:
            remedy = "describe the reference's network; `load_weights` loads those to begin from"
            raise TrialError("there is a checkpoint and no reference", where="objective.reference", remedy=remedy)
        self.beta = beta
        loaded = load_weights(reference, checkpoint) if reference is not None and checkpoint is not None else reference
        self._held = () if loaded is None else (freeze(loaded),)

    def loss(self, network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
        """The mean over pairs."""
        if len(batch) != 4:
            what = f"Preference needs pairs of answers, and a batch has {len(batch)} parts"
            raise TrialError(what, where="data", allowed=["inputs and labels of the chosen, and of the rejected"])
        if not self._held:
            self._held = (freeze(deepcopy(network)),)
        reference = self._held[0].to(batch[0].device)
        with torch.no_grad():
            before = prefer(reference, batch)
        gains: Tensor = self.beta * (prefer(network, batch) - before)
        return -nn.functional.logsigmoid(gains).mean()


def prefer(network: nn.Module, batch: Batch) -> Tensor:
    """By how much the chosen answers are likelier than the rejected ones, (n,), nats."""
    chosen, rejected = (score_answers(network, *batch[start : start + 2]) for start in (0, 2))
    return chosen - rejected


def score_answers(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Log-probability (n,) of every row's labels, all positions together; those unlabelled are certain."""
    known = labels != UNLABELLED
    found: Tensor = network(inputs).log_softmax(-1).gather(-1, labels.where(known, 0)[..., None])[..., 0]
    return (found * known).reshape(len(labels), -1).sum(1)


def load_weights(network: nn.Module, checkpoint: str | Path) -> nn.Module:
    """The network with the weights of a checkpoint, of its own or of a `Learner` that trained its like.

    Args:
        network: of any weights.
        checkpoint: as Lightning or `state_dict` write it; nothing but tensors and plain values is unpickled.

    Raises:
        TrialError: there is no such file, it holds objects, or its weights are those of another network.
    """
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise TrialError(f"there is no checkpoint {str(checkpoint)!r}", where="objective.checkpoint") from error
    except (UnpicklingError, EOFError, RuntimeError) as error:
        what = f"the checkpoint {str(checkpoint)!r} is broken or holds objects, and objects are not unpickled"
        raise TrialError(what, where="objective.checkpoint", remedy="save weights and plain values only") from error
    weights = saved.get("state_dict", saved)
    if all(PREFIX + name in weights for name in network.state_dict()):
        weights = {name: weights[PREFIX + name] for name in network.state_dict()}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        what = f"the checkpoint {str(checkpoint)!r} is not of this {type(network).__name__}: {error}"
        raise TrialError(what, where="objective.checkpoint", remedy="describe the network that was trained") from error
    return network


def freeze(network: nn.Module) -> nn.Module:
    """The network, never trained again: no gradients, no dropout."""
    return network.eval().requires_grad_(False)


def _require_positive(value: float, name: str) -> None:
    if not value > 0:
        raise TrialError(f"{name} is {value}", where=f"objective.{name}", allowed=["above 0"])
