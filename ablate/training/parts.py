"""Parts from configs: the one place where a `_target_` becomes an object, with errors that name key and target."""

from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate.errors import TrialError


def build(config: DictConfig, key: str, kind: type | None = None) -> Any:
    """The object, or plain values with objects inside, that a key of the config describes.

    Args:
        config: a composed config.
        key: `model`, `data`, `trainer`, or a path such as `domains.noise`.
        kind: what it must be an instance of.

    Raises:
        TrialError: the key is absent, its target cannot be found or built, or it is of another kind.
    """
    node = config[key] if key in config else OmegaConf.select(config, key)
    if node is None:
        raise TrialError(f"the config has no {key!r}", where=key, remedy=f"add it: `{key}: {{_target_: your.Class}}`")
    target = node.get("_target_", "") if isinstance(node, DictConfig) else ""
    try:
        made = instantiate(node, _convert_="all")
    except (HydraException, OmegaConfBaseException) as error:
        cause = error.__cause__ or error
        raise TrialError(
            f"cannot build {key!r}: {type(cause).__name__}: {cause}",
            where=f"{key}._target_ = {target}" if target else key,
            remedy="check the dotted path and the arguments; parts.py of the study's folder is on the path",
        ) from error
    if kind is not None and not isinstance(made, kind):
        raise TrialError(
            f"{key!r} is a {type(made).__name__}", where=f"{key}._target_ = {target}", allowed=[kind.__qualname__]
        )
    return made
