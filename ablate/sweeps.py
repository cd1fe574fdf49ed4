"""Hydra's sweep grammar and configs, to factors and a plan, and back to overrides.

A study is whatever Hydra composes: its factors are sweep overrides (`data=a,b`), its cells are ordinary overrides.
"""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ablate.drifts import flatten
from ablate.environments import commit, file_digest, sources
from ablate.errors import PlanError
from ablate.factors import Cell, Level, level_name
from ablate.plans import Plan, plan
from ablate.runs import folder_name


def conf_dir() -> Path:
    """The folder of the shipped config groups: the wheel's `ablate/conf`, else the checkout's `conf`."""
    here = Path(__file__).resolve().parent
    return here / "conf" if (here / "conf").is_dir() else here.parent / "conf"


def study_dir(hydra: Any) -> Path | None:
    """The folder given with `-cd`, where a study lives, from a config's `hydra` node; None without one."""
    found = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
    return Path(found[-1]) if found else None


def add_study_to_path(hydra: Any) -> None:
    """Let a study's own `parts.py` be found by `_target_`, given a config's `hydra` node."""
    home = study_dir(hydra)
    if home and str(home) not in sys.path:
        sys.path.insert(0, str(home))


@dataclass(frozen=True)
class Study:
    """A study as Hydra composes it.

    Attributes:
        plan: its plan, with the config of every cell.
        folder: where it is kept.
        configs: the composed config of every cell, with its `hydra` node; unresolved.
        overrides: what was typed or declared for every cell, without the seed.
        seed_key: the override key of the seed.
        preflight: dotted path of a function (config) -> rows that tries a config on one batch; None skips it.
    """

    plan: Plan
    folder: Path
    configs: Mapping[Cell, DictConfig] = field(repr=False)
    overrides: Mapping[Cell, list[str]] = field(repr=False)
    seed_key: str
    preflight: str | None


@dataclass(frozen=True)
class Swept:
    """A factor as declared: its levels and the override that sets each."""

    key: str
    levels: tuple[Level, ...]
    overrides: tuple[str, ...]
    group: str

    def override(self, level: Level) -> str:
        """The override that sets a level; by its name, since 1 equals 1.0 and true."""
        return dict(zip(map(level_name, self.levels), self.overrides, strict=True))[level_name(level)]


def read_study(config: DictConfig, arguments: Sequence[str], loader: ConfigLoader, task: Callable[..., Any]) -> Study:
    """The study that a multirun config and its command line declare; every cell is composed, nothing is run.

    Args:
        config: the composed multirun config; its `hydra.sweeper` node declares the study.
        arguments: the task overrides of the command line.
        loader: Hydra's config loader.
        task: the app's function, for the digest of its source.

    Raises:
        PlanError: unknown factor or level, a fixed override of a factor, a cell that does not compose, and
            whatever `plans.plan` refuses.
    """
    settings: dict[str, Any] = OmegaConf.to_container(config.hydra.sweeper, resolve=True)  # type: ignore[assignment]
    parser = OverridesParser.create(config_loader=loader)
    fixed, swept = _read_overrides(parser, settings, arguments)
    seeds = swept.pop(settings["seed_key"], None)
    for factor in swept.values():
        _check_factor(factor, config, loader)
    home = study_dir(config.hydra)
    name = settings["name"] or (home.name if home else str(config.hydra.job.name))
    made = plan(
        {factor.key: factor.levels for factor in swept.values()},
        seeds=[int(str(level)) for level in seeds.levels] if seeds else settings["seeds"],
        domains=settings["domains"] or (),
        name=name,
        **{key: settings[key] for key in ("metric", "direction", "design", "baseline", "across", "exclude")},
        **{key: settings[key] for key in ("margin", "blocking", "analysis")},
    )
    typed = {cell: [*fixed, *(f.override(cell[f.key]) for f in swept.values())] for cell in made.cells}
    configs = {cell: _compose(cell, typed[cell], config, loader) for cell in made.cells}
    flat = [_task_config(configs[cell], settings["seed_key"]) for cell in made.cells]
    code = _sources(flat, task, home)
    made = replace(
        made,
        config=flat[0],
        changes=tuple(_changes(flatten(flat[0]), flatten(values)) for values in flat),
        provenance={**commit(home or Path.cwd()), **({"sources": code} if code else {})},
    )
    folder = settings["folder"] or home or Path("multirun") / folder_name(made)
    return Study(made, Path(folder), configs, typed, settings["seed_key"], settings["preflight"])


def _read_overrides(
    parser: OverridesParser, settings: Mapping[str, Any], arguments: Sequence[str]
) -> tuple[list[str], dict[str, Swept]]:
    """Fixed overrides, and the factors by key: those of `params`, then those of the command line, which win."""
    fixed: list[str] = []
    swept: dict[str, Swept] = {}
    declared = [f"{key}={value}" for key, value in settings["params"].items()]
    for override in parser.parse_overrides(declared):
        _sort(override, fixed, swept)
    for override in parser.parse_overrides(list(arguments)):
        key = override.key_or_group
        if not override.is_sweep_override() and key in swept:
            raise PlanError(
                f"{override.input_line!r} fixes {key!r}, which is a factor of this study",
                where="command line",
                remedy=f"give it levels (`{key}=a,b`), or take it out first with `~hydra.sweeper.params.{key}`",
            )
        fixed = [word for word in fixed if word.partition("=")[0].lstrip("+") != key]
        _sort(override, fixed, swept)
    return fixed, swept


def _sort(override: Override, fixed: list[str], swept: dict[str, Swept]) -> None:
    if not override.is_sweep_override():
        fixed.append(str(override.input_line))
        return
    if not override.is_discrete_sweep():
        raise PlanError(
            f"{override.input_line!r} is a range of values, not a list of levels",
            where="factors",
            remedy="name the levels: `a,b` or `choice(a,b)`",
        )
    values = list(override.sweep_iterator(transformer=Transformer.identity))
    texts = list(override.sweep_string_iterator())
    element = override.get_key_element()
    swept[override.key_or_group] = Swept(
        key=override.key_or_group,
        levels=tuple(v.text if isinstance(v, QuotedString) else v for v in values),  # type: ignore[misc]
        overrides=tuple(f"{element}={text}" for text in texts),
        group=override.key_or_group if not element.startswith("+") else "",
    )


def _check_factor(factor: Swept, config: DictConfig, loader: ConfigLoader) -> None:
    """Say which factor or level is unknown before Hydra composes anything."""
    where = f"factor {factor.key!r}"
    options = loader.get_group_options(factor.key, results_filter=ObjectType.CONFIG)
    if options:
        for level in factor.levels:
            if level is not None and str(level) not in options:
                raise PlanError(f"{level_name(level)!r} is not a level", where=where, allowed=options, word=level)
    elif factor.group and OmegaConf.select(config, factor.key, default=_ABSENT) is _ABSENT:
        groups = [g for g in loader.get_group_options("", results_filter=ObjectType.GROUP) if g != "hydra"]
        keys = [str(key) for key in config if key != "hydra" and key not in groups]
        raise PlanError(f"unknown factor {factor.key!r}", where=where, allowed=[*groups, *keys], word=factor.key)


_ABSENT = object()


def _compose(cell: Cell, overrides: list[str], master: DictConfig, loader: ConfigLoader) -> DictConfig:
    try:
        return loader.load_sweep_config(master, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise PlanError(
            f"the config of cell {cell} does not compose: {error}",
            where=" ".join(overrides),
            remedy="mend the config or the level; nothing was run",
        ) from error


def _task_config(config: DictConfig, seed_key: str) -> dict[str, Any]:
    """The app's own config as plain values: interpolations kept, without `hydra` and the seed."""
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    values.pop("hydra", None)
    *parents, last = seed_key.lstrip("+").split(".")
    node = values
    for parent in parents:
        node = node.get(parent, {})
    node.pop(last, None)
    return values


def _changes(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the base, key by key; a key that is gone is null."""
    return {key: values.get(key) for key in {**base, **values} if base.get(key, _ABSENT) != values.get(key, _ABSENT)}


def _targets(values: object) -> Iterator[str]:
    if isinstance(values, Mapping):
        for key, value in values.items():
            if key == "_target_" and isinstance(value, str):
                yield value
            else:
                yield from _targets(value)
    elif isinstance(values, list):
        for value in values:
            yield from _targets(value)


def _sources(configs: Sequence[Mapping[str, Any]], task: Callable[..., Any], home: Path | None) -> dict[str, str]:
    found = sources({target for values in configs for target in _targets(values)}, [home] if home else [])
    function = inspect.unwrap(task)
    file = Path(getattr(getattr(function, "__code__", None), "co_filename", ""))
    if file.is_file() and not file.is_relative_to(Path(__file__).parent):
        found[file.name] = file_digest(file)
    return found
