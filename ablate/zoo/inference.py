"""Inference: ways to use a trained module without training it again; each takes a module and gives one to be tested.

They need nothing of ours in the module but a plain `forward` that its `test_step` calls as `self(...)`. What a module
can do by itself (leave early, decode with beams, keep its keys and values, vote over samples) it offers as attributes,
which `Switched` sets.
"""

import warnings
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from ablate.errors import TrialError


def keep(model: LightningModule) -> LightningModule:
    """The module as it was trained."""
    return model


def quantise(model: LightningModule) -> LightningModule:
    """Linear layers and LSTMs in int8: weights quantised once, activations anew in every call (PyTorch's dynamic mode).

    Raises:
        TrialError: the module has no such layer, or PyTorch cannot quantise it.
    """
    kinds = {nn.Linear, nn.LSTM}
    if not any(type(part) in kinds for part in model.modules()):
        raise TrialError("no layer to quantise", where="inference", allowed=["nn.Linear", "nn.LSTM"])
    with warnings.catch_warnings():  # that this mode moves to a library of its own, which has no CPU kernels yet
        warnings.simplefilter("ignore")
        made: LightningModule = torch.ao.quantization.quantize_dynamic(model, kinds, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    return made.cpu()


@dataclass(frozen=True)
class Cast:
    """Weights, activations and floating-point inputs in another precision; outputs are given back in float32.

    Attributes:
        dtype: `bfloat16` or `float16`.

    Raises:
        TrialError: another precision.
    """

    dtype: str = "bfloat16"

    def __post_init__(self) -> None:
        if self.dtype not in ("bfloat16", "float16"):
            raise TrialError(f"dtype is {self.dtype!r}", where="inference.dtype", allowed=["bfloat16", "float16"])

    def __call__(self, model: LightningModule) -> LightningModule:
        """The module with its parameters and buffers cast."""
        kind: torch.dtype = getattr(torch, self.dtype)
        (nn.Module.bfloat16 if kind == torch.bfloat16 else nn.Module.half)(model)  # metrics keep their own precision
        model.register_forward_pre_hook(lambda _, args: tuple(_cast(each, kind) for each in args))
        model.register_forward_hook(lambda _, args, output: _cast(output, torch.float32))
        return model


def _cast(value: Any, kind: torch.dtype) -> Any:
    """Floating-point tensors in another precision, also those in lists, tuples and mappings."""
    if isinstance(value, Tensor):
        return value.to(kind) if value.is_floating_point() else value
    if isinstance(value, list | tuple):
        return type(value)([_cast(each, kind) for each in value])
    return {key: _cast(each, kind) for key, each in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True)
class Compiled:
    """`forward` compiled by `torch.compile` when it is first called; a compiler of C++ must be there for a CPU.

    Attributes:
        backend: of `torch.compile`.
        dynamic: whether one kernel serves all batch sizes; else each new size is compiled anew.
    """

    backend: str = "inductor"
    dynamic: bool = True

    def __call__(self, model: LightningModule) -> LightningModule:
        """The module with a compiled `forward`."""
        with warnings.catch_warnings():  # of PyTorch about itself, when its compiler is first loaded
            warnings.simplefilter("ignore", DeprecationWarning)
            vars(model)["forward"] = torch.compile(model.forward, backend=self.backend, dynamic=self.dynamic)
        return model


class Switched:
    """Attributes that a module offers, set for testing: `exit_above`, `beams`, `temperature`, `cached`, `votes`, ...

    This is the whole protocol for what a module does by itself: it reads such an attribute in `forward` or `test_step`.

    Args:
        attributes: name -> value; a dotted name reaches a part of the module (`net.cached`).

    Raises:
        TrialError: (called) the module has no such attribute.
    """

    def __init__(self, **attributes: Any) -> None:
        self.attributes = attributes

    def __call__(self, model: LightningModule) -> LightningModule:
        """The module with its attributes set."""
        for name, value in self.attributes.items():
            *path, last = name.split(".")
            part: Any = model
            for step in path:
                part = getattr(part, step, None)
            if not hasattr(part, last):
                known = [key for key in vars(model) if not key.startswith("_") and key != "prepare_data_per_node"]
                what = f"{type(model).__name__} has no {name!r} to switch"
                raise TrialError(what, where=f"inference.{name}", allowed=sorted(known), word=name)
            setattr(part, last, value)
        return model


@dataclass(frozen=True)
class Ensemble:
    """The mean output of the module with several weights: the checkpoints that its training kept, or as many samples.

    Attributes:
        samples: how often the module as trained is called, its dropout drawing anew (Gal and Ghahramani 2016); 0 takes
            the weights of the checkpoints in the run's folder instead (`ModelCheckpoint(save_top_k=-1)`).
        seed: of what is drawn.
    """

    samples: int = 0
    seed: int = 0

    def __call__(self, model: LightningModule) -> LightningModule:
        """The module whose `forward` gives the mean over its members.

        Raises:
            TrialError: no checkpoints were kept; or nothing in the module draws.
        """
        members = self._sampled(model) if self.samples else self._kept(model)

        def forward(*args: Any, **options: Any) -> Tensor:
            return torch.stack([member(*args, **options) for member in members]).mean(0)

        vars(model)["forward"] = forward
        return model

    def _sampled(self, model: LightningModule) -> list[Any]:
        dropouts = [part for part in model.modules() if isinstance(part, nn.modules.dropout._DropoutNd)]
        if not dropouts:
            raise TrialError("nothing in the module draws: all samples would be one", where="inference.samples")
        plain = model.forward

        def sample(*args: Any, **options: Any) -> Any:
            for part in dropouts:
                part.train()
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(next(numbers))
                return plain(*args, **options)

        numbers = iter(range(self.seed, 2**62))
        return [sample] * self.samples

    def _kept(self, model: LightningModule) -> list[Any]:
        keepers = [each for each in model.trainer.checkpoint_callbacks if isinstance(each, ModelCheckpoint)]
        files = sorted({file for each in keepers if each.dirpath for file in Path(each.dirpath).glob("*.ckpt")})
        if getattr(model.trainer, "fast_dev_run", False) and any(each.save_top_k not in (0, 1) for each in keepers):
            return [model.forward]  # a run of one batch keeps nothing
        if len(files) < 2:
            remedy = "keep them: a ModelCheckpoint with `save_top_k: -1` among `trainer.callbacks`"
            raise TrialError(f"{len(files)} checkpoints were kept", where="inference", remedy=remedy)
        members = [*(deepcopy(model) for _ in files[1:]), model]
        for member, file in zip(members, files, strict=True):
            member.load_state_dict(torch.load(file, map_location="cpu", weights_only=False)["state_dict"])
        forwards = [member.forward for member in members]
        model.add_module("members", nn.ModuleList(members[:-1]))  # they move with the module and count in its size
        return forwards
