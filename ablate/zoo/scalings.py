"""The maximal update parametrisation: first weights and learning rates by width, so that one rate fits every width."""

import math
from dataclasses import dataclass

import torch
from torch import nn

from ablate.errors import TrialError


@dataclass(frozen=True, eq=False)
class MaximalUpdate:
    """Scales a network's first weights in place, and says by what factor each parameter's rate differs (Yang 2021).

    With Adam, and r times as wide as the base (table 3 of the paper): the rate of a layer between widths is that of the
    base divided by r; so is the output layer's, whose weights are divided by √r besides; input layers, embeddings,
    biases and normalisations keep the rate, and a bias is drawn as at the base's width. At the base's width nothing
    changes. It is right for torch's layers as torch draws them (variance 1 / inputs), and for residual nets of one
    depth; attention must divide by the heads' width, not by its root, which no parameter can say.

    Args:
        base: the same network at the width at which the learning rate was chosen; only its shapes are looked at.

    Raises:
        TrialError: when called, base and network differ in more than widths, or hold an RNN or weights that an
            embedding shares with a layer, for which there is no such rule.
    """

    base: nn.Module

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Factor of the learning rate by the parameter's name, where it is not 1."""
        shapes = {name: p.shape for name, p in self.base.named_parameters(remove_duplicate=False)}
        own = {name: p.shape for name, p in network.named_parameters(remove_duplicate=False)}
        if {n: len(shape) for n, shape in shapes.items()} != {n: len(shape) for n, shape in own.items()}:
            raise TrialError(
                "the base of the scaling has other parameters than the network",
                where="model.scaling.base",
                allowed=["the same network with another width"],
            )
        rates: dict[str, float] = {}
        for place, module in network.named_modules():
            _refuse_unruled(module, place)
            ratios = {
                name: [wide / narrow for wide, narrow in zip(p.shape, shapes[name], strict=True)]
                for name, p in module.named_parameters(place, recurse=False)
            }
            for name, parameter in module.named_parameters(place, recurse=False):
                weight = ratios.get(f"{name.removesuffix('bias')}weight", [])
                start, rate = _factors(name, ratios[name], weight, isinstance(module, nn.Embedding))
                with torch.no_grad():
                    parameter.mul_(start)
                if rate != 1:
                    rates[name] = rate
        _refuse_shared(network)
        return rates


def _factors(name: str, ratios: list[float], weight: list[float], embeds: bool) -> tuple[float, float]:
    """Of first weights and of the rate, by how much wider each dimension is: outputs, inputs, and what a kernel has.

    `weight` is that of the weights beside a bias; torch draws both by the number of inputs.
    """
    if embeds:
        return 1.0, 1.0
    if len(ratios) < 2:
        return (math.sqrt(weight[1]) if len(weight) > 1 else 1.0), 1.0
    if not name.endswith("weight"):
        if sum(ratio != 1 for ratio in ratios) > 1:
            what = f"the parameter {name!r} grows in several dimensions, and which are inputs is not known"
            raise TrialError(what, where="model.scaling", allowed=["`weight` of torch's layers, vectors"])
        return 1.0, 1.0
    outputs, inputs = ratios[:2]
    return (1.0 if outputs != 1 else 1 / math.sqrt(inputs)), 1 / inputs


def _refuse_unruled(module: nn.Module, place: str) -> None:
    if isinstance(module, nn.RNNBase):
        what = f"{place} is a {type(module).__name__}, whose weights torch draws by another rule"
        raise TrialError(what, where="model.scaling", remedy="leave the scaling out, and tune the rate at every width")


def _refuse_shared(network: nn.Module) -> None:
    embedded = {id(m.weight): place for place, m in network.named_modules() if isinstance(m, nn.Embedding)}
    for place, module in network.named_modules():
        weight = getattr(module, "weight", None)
        if not isinstance(module, nn.Embedding) and id(weight) in embedded:
            what = f"{place} shares the weights of {embedded[id(weight)]}, an embedding: they need two rates"
            raise TrialError(what, where="model.scaling", remedy="leave them apart, or the scaling out")
