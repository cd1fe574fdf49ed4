"""Overrides: Hydra's sweep grammar as factors, each level the overrides that set it.

A comma or `choice` is a factor, an `interval` a nuisance that is tuned. Two settings make factors of more than one key:
`zip` pairs the levels of several, and `levels` gives a name to whole lists of overrides.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, QuotedString, Transformer
from hydra.errors import HydraException

from ablate.errors import PlanError, require_one_of
from ablate.factors import Level, is_list, level_name
from ablate.tunings import Nuisance


@dataclass(frozen=True)
class Swept:
    """A factor as declared: its levels, the overrides that set each, its group, whether it adds its key.

    `members` are the factors that were paired in it, `group` is empty where the levels are lists of overrides.
    """

    key: str
    levels: tuple[Level, ...]
    overrides: tuple[tuple[str, ...], ...]
    group: str = ""
    added: bool = False
    members: tuple["Swept", ...] = ()

    def override(self, level: Level) -> tuple[str, ...]:
        """The overrides that set a level; by its name, since 1 equals 1.0 and true."""
        return dict(zip(map(level_name, self.levels), self.overrides, strict=True))[level_name(level)]


@dataclass(frozen=True)
class Declared:
    """What overrides declare.

    Attributes:
        fixed: overrides that every cell has.
        swept: the factors by key.
        nuisances: what is tuned, by key.
    """

    fixed: list[str] = field(default_factory=list)
    swept: dict[str, Swept] = field(default_factory=dict)
    nuisances: dict[str, Nuisance] = field(default_factory=dict)


def read_overrides(parser: OverridesParser, settings: Mapping[str, Any], arguments: Sequence[str]) -> Declared:
    """Fixed overrides, factors and nuisances: those of `params`, then those of the command line, which win.

    Args:
        parser: Hydra's.
        settings: of the sweeper: `params`, `seed_key`, `levels`, `zip`.
        arguments: the task overrides of the command line.

    Raises:
        PlanError: what cannot be read, what fixes a factor or a nuisance, and pairs or lists of overrides that do not
            fit.
    """
    named = {key: _read_lists(parser, key, lists) for key, lists in settings["levels"].items()}
    found = Declared()
    seed = settings["seed_key"].lstrip("+")
    for key, value in settings["params"].items():
        try:
            override = parser.parse_override(f"{key}={value}")
        except HydraException as error:
            raise PlanError(
                f"{value!r} cannot be read: {str(error).splitlines()[0]}",
                where=f"hydra.sweeper.params.{key}",
                remedy="levels stand as in Hydra's sweeps: `a,b`, `1,2`, `choice('c, d',e)`; a single one is fixed",
            ) from error
        _sort(override, found, seed, named)
    found.swept.update({key: factor for key, factor in named.items() if key not in found.swept})
    for override in parser.parse_overrides(list(arguments)):
        key = _key(override)
        if not override.is_sweep_override() and (key in found.swept or key in found.nuisances) and key != seed:
            kind, other = ("factor", f"{key}=a,b") if key in found.swept else ("nuisance", f"{key}=interval(1,2)")
            raise PlanError(
                f"{override.input_line!r} fixes {key!r}, which is a {kind} of this study",
                where="command line",
                remedy=f"give it others (`{other}`), or take it out first with `~hydra.sweeper.params.{key}`",
            )
        found.fixed[:] = [word for word in found.fixed if word.partition("=")[0].lstrip("+") != key]
        _sort(override, found, seed, named)
    _check_lists(parser, named, {*found.swept, *found.nuisances}, seed)
    return Declared(found.fixed, _pair(found.swept, settings["zip"]), found.nuisances)


def _key(override: Override) -> str:
    """What an override sets: `data`, `model.depth`, `db@source`."""
    return str(override.get_key_element()).lstrip("+~")


def _sort(override: Override, found: Declared, seed: str, named: Mapping[str, Swept]) -> None:
    """Put an override where it belongs; the seed is always swept, over one value if need be."""
    key, value = _key(override), override.value()
    if not override.is_sweep_override() and key in named:
        remedy = "give it two levels or more, or put its overrides in its place"
        raise PlanError(f"{override.input_line!r} fixes a factor", where="factors", remedy=remedy)
    if not override.is_sweep_override() and key != seed:
        found.fixed.append(str(override.input_line))
        return
    if isinstance(value, IntervalSweep):
        found.swept.pop(key, None)
        found.nuisances[key] = _read_range(override, value, key == seed or key in named)
        return
    if getattr(value, "shuffle", False):
        remedy = "name the levels in the order of the tables; trials are shuffled within every seed in any case"
        raise PlanError(f"{override.input_line!r} gives another order each time", where="factors", remedy=remedy)
    found.nuisances.pop(key, None)
    swept_over = override.is_sweep_override()
    values = list(override.sweep_iterator(transformer=Transformer.identity)) if swept_over else [value]
    element = override.get_key_element()
    if key in named:
        found.swept[key] = _select(named[key], [v.text if isinstance(v, QuotedString) else v for v in values])
        return
    found.swept[key] = Swept(
        key=key,
        levels=tuple(v.text if isinstance(v, QuotedString) else v for v in values),  # type: ignore[misc]
        overrides=tuple((f"{element}={Transformer.encode(v)}",) for v in values),  # type: ignore[arg-type]
        group=override.key_or_group,
        added=element.startswith("+"),
    )


def _read_range(override: Override, value: IntervalSweep, refused: bool) -> Nuisance:
    """A range as a nuisance: `interval(a,b)`, `int(...)` for whole numbers, `tag(log, ...)` for a logarithmic scale."""
    word = str(override.input_line)
    if refused:
        remedy = "name the levels: `a,b` or `choice(a,b)`"
        raise PlanError(f"{word!r} is a range of values, no list of levels", where="factors", remedy=remedy)
    if override.get_key_element().startswith("+"):
        remedy = "give the config a value for it, with which it runs untuned"
        raise PlanError(f"{word!r} tunes a key that the config does not have", where="factors", remedy=remedy)
    for tag in sorted(value.tags):
        require_one_of(tag, ["log"], f"nuisance {_key(override)!r}", "tag")
    low, high = value.start, value.end
    assert low is not None
    assert high is not None
    return Nuisance(_key(override), low, high, log="log" in value.tags, integer=isinstance(low, int))


def _read_lists(parser: OverridesParser, key: str, lists: Any) -> Swept:
    """A factor whose levels are named lists of overrides."""
    where = f"hydra.sweeper.levels.{key}"
    if not isinstance(lists, Mapping) or not all(is_list(words) for words in lists.values()):
        allowed = ["level names with lists of overrides: {plain: [], strong: [lr=0.1, data=clean]}"]
        raise PlanError(f"{lists!r:.80} names no lists of overrides", where=where, allowed=allowed)
    for name, words in lists.items():
        for word in words:
            try:
                sweeps = parser.parse_override(str(word)).is_sweep_override()
            except HydraException as error:
                raise PlanError(f"{word!r} is no override", where=f"{where}.{name}") from error
            if sweeps:
                remedy = "a level is one value of each key; give another level a name of its own"
                raise PlanError(f"{word!r} has several values", where=f"{where}.{name}", remedy=remedy)
    return Swept(key, tuple(lists), tuple(tuple(map(str, words)) for words in lists.values()))


def _check_lists(parser: OverridesParser, named: Mapping[str, Swept], taken: Collection[str], seed: str) -> None:
    """A key that a list sets is no factor, nuisance or seed and in no other factor's lists: two would set it."""
    owner = {key: key for key in (*taken, seed)}
    for key, factor in named.items():
        for word in sorted({word for words in factor.overrides for word in words}):
            other = owner.setdefault(_key(parser.parse_override(word)), key)
            if other != key:
                remedy = "take it out of the lists, or out of the factors"
                raise PlanError(
                    f"{word!r} sets what {other!r} sets", where=f"hydra.sweeper.levels.{key}", remedy=remedy
                )


def _select(factor: Swept, words: Sequence[object]) -> Swept:
    """The named levels of a factor of lists, in the order of the words."""
    names = [level_name(level) for level in factor.levels]
    for word in words:
        require_one_of(level_name(word), names, f"factor {factor.key!r}", "level")
    places = [names.index(level_name(word)) for word in words]
    return Swept(factor.key, tuple(factor.levels[i] for i in places), tuple(factor.overrides[i] for i in places))


def _pair(swept: Mapping[str, Swept], pairs: Mapping[str, Any]) -> dict[str, Swept]:
    """The factors, those that are paired made into one, in the place of the first."""
    found = dict(swept)
    for name, keys in pairs.items():
        where = f"hydra.sweeper.zip.{name}"
        if not is_list(keys) or len(set(keys)) < 2:
            raise PlanError(f"{keys!r:.80} pairs nothing", where=where, allowed=["a list of two or more factors"])
        for key in keys:
            require_one_of(key, found, where, "factor (one is paired once)")
        if name in found and name not in keys:
            raise PlanError(f"{name!r} is a factor already", where=where, remedy="give the pair another name")
        members = [found[key] for key in keys]
        counts = {f"{m.key} has {len(m.levels)}" for m in members}
        if len({len(m.levels) for m in members}) > 1:
            remedy = "give each as many levels: the first goes with the first, the second with the second"
            raise PlanError(f"numbers of levels differ: {', '.join(sorted(counts))}", where=where, remedy=remedy)
        pair = Swept(
            key=name,
            levels=tuple(
                "/".join(map(level_name, levels)) for levels in zip(*(m.levels for m in members), strict=True)
            ),
            overrides=tuple(sum(words, ()) for words in zip(*(m.overrides for m in members), strict=True)),
            members=tuple(members),
        )
        found = {
            (name if key == keys[0] else key): (pair if key == keys[0] else factor)
            for key, factor in found.items()
            if key == keys[0] or key not in keys
        }
    return found
