"""Hydra's sweep grammar and configs, to factors and a plan, and back to overrides.

A study is whatever Hydra composes: its factors are sweep overrides (`data=a,b`), its cells are ordinary overrides.
"""

import inspect
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ablate.drifts import flatten
from ablate.environments import commit, file_digest, sources
from ablate.errors import PlanError
from ablate.factors import Cell, level_name
from ablate.overrides import Declared, Swept, read_overrides
from ablate.plans import Plan, plan
from ablate.rules import absent
from ablate.runs import folder_name
from ablate.targets import ALLOWED, check_targets, find_targets, modules_in


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
        allowed: packages and modules that a `_target_` may name.
        validate: dotted path of a function (config) -> validation rows, for tuning trials; None takes the app's own.
        preflight_search: as `preflight`, for tuning trials.
        audit: dotted path of a function (config) -> domain -> test items that are in the training data.
        fingerprint: dotted path of a function (config) -> a digest of the training data.
    """

    plan: Plan
    folder: Path
    configs: Mapping[Cell, DictConfig] = field(repr=False)
    overrides: Mapping[Cell, list[str]] = field(repr=False)
    seed_key: str
    preflight: str | None
    allowed: tuple[str, ...]
    validate: str | None = None
    preflight_search: str | None = None
    audit: str | None = None
    fingerprint: str | None = None


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
    declared = read_overrides(OverridesParser.create(config_loader=loader), settings, arguments)
    fixed, swept = declared.fixed, declared.swept
    seeds = swept.pop(settings["seed_key"].lstrip("+"), None)
    _check_seed_key(settings["seed_key"], config)
    for factor in swept.values():
        if factor.key not in settings["conditional"]:  # its key may be there under another level alone
            _check_factor(factor, config, loader)
    _check_nuisances(declared, settings["conditional"], config)
    _check_validation(declared, settings)
    home = study_dir(config.hydra)
    name = settings["name"] or (home.name if home else str(config.hydra.job.name))
    made = plan(
        {factor.key: factor.levels for factor in swept.values()},
        seeds=seeds.levels if seeds else settings["seeds"],  # type: ignore[arg-type] # it says what is no seed
        domains=settings["domains"] or (),
        name=name,
        **{key: settings[key] for key in ("metric", "direction", "design", "baseline", "across", "evaluation")},
        **{key: settings[key] for key in ("exclude", "margin", "blocking", "analysis", "conditional", "acknowledge")},
        max_seeds=settings["max_seeds"],
        tuning=_declare_tuning(declared, settings["tuning"]),
        divergence=settings["divergence"] or None,
        budget=settings["budget"] or None,
    )
    typed = {cell: [*fixed, *_set_levels(made, cell, swept)] for cell in made.cells}
    configs = {cell: _compose(cell, typed[cell], config, loader) for cell in made.cells}
    for cell in made.cells:
        _check_nuisances(declared, settings["conditional"], configs[cell], cell)
    flat = [_task_config(configs[cell], settings["seed_key"]) for cell in made.cells]
    allowed = (*ALLOWED, *settings["allow"], *_own_modules(task, home))
    check_targets(made.cells, flat, typed, allowed, [home] if home else [])
    code = _sources(flat, task, home)
    made = replace(
        made,
        config=flat[0],
        changes=tuple(_changes(flatten(flat[0]), flatten(values)) for values in flat),
        provenance={**commit(home or Path.cwd()), **({"sources": code} if code else {})},
    )
    folder = settings["folder"] or home or Path("multirun") / folder_name(made)
    functions = {name: settings[name] for name in ("preflight", "validate", "preflight_search", "audit", "fingerprint")}
    return Study(made, Path(folder), configs, typed, settings["seed_key"], allowed=allowed, **functions)


def _set_levels(plan: Plan, cell: Cell, swept: Mapping[str, Swept]) -> Iterator[str]:
    """The overrides of a cell's levels, without those of a factor that does not exist there."""
    for factor in plan.factors:
        if not absent(plan.conditional, factor, cell):
            yield from swept[factor.key].override(cell[factor.key])


def _check_factor(factor: Swept, config: DictConfig, loader: ConfigLoader) -> None:
    """Say which factor or level is unknown before Hydra composes anything."""
    for member in factor.members:
        _check_factor(member, config, loader)
    if not factor.group:
        return
    where = f"factor {factor.key!r}"
    options = loader.get_group_options(factor.group, results_filter=ObjectType.CONFIG)
    if options:
        for level in factor.levels:
            if isinstance(level, bool | int | float):
                remedy = f"""quote it, since Hydra takes options by text: `{factor.key}="'a','1'"`"""
                name = level_name(level)
                raise PlanError(f"{name} is a number, no option", where=where, allowed=options, remedy=remedy)
            if level is not None and level_name(level) not in options:
                raise PlanError(f"{level_name(level)!r} is not a level", where=where, allowed=options, word=level)
    elif not factor.added and not _has(config, factor.key):
        groups = [g for g in loader.get_group_options("", results_filter=ObjectType.GROUP) if g != "hydra"]
        known = _keys_beside(config, factor.key)
        allowed = known if "." in known[0] else dict.fromkeys([*groups, *(key for key in known if key != "hydra")])
        remedy = f"a key that the config does not have is added with `+{factor.key}=...`"
        raise PlanError(f"unknown factor {factor.key!r}", where=where, allowed=allowed, remedy=remedy, word=factor.key)


def _declare_tuning(declared: Declared, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the sweeper says of tuning, with the nuisances that overrides declare; None where there is neither."""
    if "space" in settings:
        remedy = "declare nuisances among the factors: `lr: tag(log, interval(1e-4, 1e-1))`"
        raise PlanError("a space of its own", where="hydra.sweeper.tuning", remedy=remedy)
    return {**settings, "space": list(declared.nuisances.values())} if settings or declared.nuisances else None


def _check_validation(declared: Declared, settings: Mapping[str, Any]) -> None:
    """Nuisances are searched on validation data alone, which is not what an app measures for the tables."""
    if declared.nuisances and settings["tuning"].get("scope") != "fixed" and not settings["validate"]:
        remedy = (
            "name a function of the config that trains with it, opens no test set and returns what validation says, "
            f"such as {{val_{settings['metric']}: 0.9}}: `validate: my_module.validate`"
        )
        raise PlanError("nothing says how a tuning trial is validated", where="hydra.sweeper.validate", remedy=remedy)


def _check_nuisances(
    declared: Declared, conditional: Mapping[str, Any], config: DictConfig, cell: Cell | None = None
) -> None:
    """A nuisance is a key of every cell's config: one that nothing reads would be tuned in vain."""
    for key in declared.nuisances:
        if key in conditional or (cell is not None and not _has(config, key)):
            remedy = "give it a value in every cell, or make it a conditional factor, whose levels are compared"
            where = f"hydra.sweeper.conditional.{key}" if cell is None else f"cell {cell}"
            raise PlanError(f"{key!r} is tuned, but exists under some levels alone", where=where, remedy=remedy)
        if not _has(config, key):
            remedy = "name a key of the config: it holds the value with which the app runs untuned"
            allowed = [name for name in _keys_beside(config, key) if name != "hydra"]
            raise PlanError(f"unknown nuisance {key!r}", where="factors", allowed=allowed, remedy=remedy, word=key)


def _check_seed_key(key: str, config: DictConfig) -> None:
    """A seed that nothing reads would make every seed the same run, or fail in every trial."""
    if key.startswith("+") or (key and _has(config, key)):
        return
    keys = flatten(OmegaConf.to_container(config, resolve=False))  # type: ignore[arg-type]
    likely = [name for name in keys if "seed" in name.lower() and not name.startswith("hydra.")]
    raise PlanError(
        f"the config has no key {key!r} to take the seed",
        where="hydra.sweeper.seed_key",
        allowed=likely or None,
        remedy=f"name the key that the app reads its seed from, or add one that it will read: `seed_key=+{key}`",
        word=key,
    )


def _has(config: DictConfig, key: str) -> bool:
    """Whether a dotted key stands in a config, also where its value is missing (`???`) or an interpolation."""
    return key in _keys_beside(config, key) or OmegaConf.select(config, key, default=_ABSENT) is not _ABSENT


def _keys_beside(config: DictConfig, key: str) -> list[str]:
    """The keys of the deepest node that a dotted key reaches."""
    node, path = config, ""
    for part in key.split(".")[:-1]:
        child = OmegaConf.select(node, part)
        if not isinstance(child, DictConfig) or not child:
            break
        node, path = child, f"{path}{part}."
    return [path + str(name) for name in node.keys()]  # noqa: SIM118 - a DictConfig hides keys whose value is missing


_ABSENT = object()


def _compose(cell: Cell, overrides: list[str], master: DictConfig, loader: ConfigLoader) -> DictConfig:
    try:
        return loader.load_sweep_config(master, list(overrides))
    except Exception as error:  # Hydra raises its own, OmegaConf's, and plain ValueErrors
        raise PlanError(
            f"the config of cell {cell} does not compose: {error}",
            where=" ".join(overrides),
            remedy="mend the config or the level; nothing was run",
        ) from error


def _task_config(config: DictConfig, seed_key: str) -> dict[str, Any]:
    """The app's own config as plain values: interpolations kept, without `hydra` and the seed."""
    values: dict[str, Any] = _plain(OmegaConf.to_container(config, resolve=False))
    values.pop("hydra", None)
    *parents, last = seed_key.lstrip("+").split(".")
    node: Any = values
    for parent in parents:
        node = node.get(parent) if isinstance(node, dict) else None
    if isinstance(node, dict):
        node.pop(last, None)
    return values


def _plain(value: Any) -> Any:
    """A config's value as JSON holds it: paths, enumerations, bytes, NaN and infinities as text, keys as text."""
    if isinstance(value, Mapping):
        return {level_name(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _changes(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the base, key by key; a key that is gone is null."""
    return {key: values.get(key) for key in {**base, **values} if base.get(key, _ABSENT) != values.get(key, _ABSENT)}


def _own_modules(task: Callable[..., Any], home: Path | None) -> tuple[str, ...]:
    """Modules beside the study's config, and those beside the app's function, unless it is ours."""
    file = _file_of(task)
    folders = [home] if home else []
    if file.is_file() and not file.is_relative_to(Path(__file__).parent):
        folders.append(file.parent)
    return tuple(dict.fromkeys(name for folder in folders for name in modules_in(folder)))


def _file_of(task: Callable[..., Any]) -> Path:
    return Path(getattr(getattr(inspect.unwrap(task), "__code__", None), "co_filename", ""))


def _sources(configs: Sequence[Mapping[str, Any]], task: Callable[..., Any], home: Path | None) -> dict[str, str]:
    found = sources({t for values in configs for t in find_targets(values).values()}, [home] if home else [])
    file = _file_of(task)
    if file.is_file() and not file.is_relative_to(Path(__file__).parent):
        found[file.name] = file_digest(file)
    return found
