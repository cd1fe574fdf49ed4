"""Guesses: what the columns of a table are, where names and contents leave no doubt; each is said."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from ablate.errors import RecordsError
from ablate.readers.columns import MISSING, as_numbers, as_text
from ablate.readers.readings import check_roles, columns_of

# role -> names that mean it, the most telling first; compared in lower case, without what is not a letter or digit.
NAMES = {
    "run": "runid run trialid trial seed randomseed replicate replication rep repeat",
    "domain": "domain task dataset environment env benchmark subset",
    "shift": "shift corruption perturbation",
    "block": "block",
    "status": "status state",
    "metric": "metric metricname measure",
    "value": "value score result accuracy acc testaccuracy testacc loss testloss error f1 auc auroc bleu reward return "
    "ppl perplexity rmse mae mse nll bpb",
    "se": "se stderr standarderror scorese sem",
    "example": "example exampleid item itemid docid sampleid questionid",
    "cluster": "cluster itemgroup",
    "folds": "fold cvfold",
    "hpo_trials": "hpotrials tuningtrials",
    "eval_hash": "evalhash taskhash",
    "phase": "phase",
    "budget": "budget step globalstep epoch iteration",
}
# Columns of bookkeeping, which are never factors.
ASIDE = frozenset(
    "file sourcefile seconds duration runtime time timestamp date created start end starttime endtime host hostname "
    "hardware device gpu user notes note tags tag name runname comment reason info attempt nexamples std sd index "
    "unnamed id uuid experimentid version path url".split()
)
LOWER = re.compile(
    r"(^|[^a-z])(loss|error|err|ppl|perplexity|rmse|mae|mse|nll|bpb|bits_per_byte|logloss|wer|cer|fid|regret|latency|"
    r"seconds|brier|ece|cross_entropy)($|[^a-z])"
)
HIGHER = re.compile(
    r"(^|[^a-z])(acc|accuracy|f1|auc|auroc|bleu|rouge|reward|return|r2|map|recall|precision|exact_match|em|success|"
    r"balacc|win_rate|dice|iou|miou|ndcg|mrr)($|[^a-z])"
)
LEVELS = 50  # more distinct values than this are no levels

Direction = Literal["minimize", "maximize"]


def guess(frame: pd.DataFrame, given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Roles of a table's columns, and a sentence for each that was guessed.

    What is given is kept. A role is guessed from the column's name; `value` also where one column of fractions is
    left. `factors` are the columns of text and whole numbers that remain, have 2 to 50 levels and are no bookkeeping.
    `block` is taken only from a column of that name. Nothing is guessed from scores.

    Args:
        frame: a row per score.
        given: role -> column (`factors`: a list), as `Reading.columns` or a user has it.

    Raises:
        RecordsError: a given role or column is not there; two columns answer to one role; no column of scores or no
            factor is left, or some factors say the same as the others.
    """
    check_roles(frame, given, "the columns given")
    roles = dict(given)
    said: list[str] = []
    taken = {column for role, named in roles.items() for column in columns_of(role, named)}
    for role, names in NAMES.items():
        if role in roles:
            continue
        found = _match(frame, names.split(), taken)
        column = _choose(frame, role, found, roles)
        if column is not None:
            roles[role] = column
            taken.add(column)
            said.append(f"The column {column!r} is read as {role}.")
    if "value" not in roles:
        roles["value"] = _only_fraction(frame, taken)
        taken.add(roles["value"])
        said.append(f"The column {roles['value']!r} is read as value: no other holds fractions.")
    if "run" not in roles and "folds" in roles:
        roles["run"] = roles["folds"]
        said.append(f"Runs are told apart by the fold {roles['folds']!r}.")
    if "factors" not in roles:
        roles["factors"], left = _find_factors(frame, taken)
        said.append(f"Factors: {', '.join(roles['factors'])}.")
        said += [f"Left alone: {', '.join(left)}."] * bool(left)
    check_roles(frame, roles, "the columns guessed")
    return roles, tuple(said)


def guess_direction(metric: str) -> Direction | None:
    """Whether less or more of a metric is better, by its name; None where the name does not say."""
    word = metric.lower().replace("-", "_").replace("/", "_")
    spaced = re.sub(r"[_\W]+", "_", word)
    if spaced.startswith("neg_"):
        return "maximize"
    low, high = (bool(pattern.search(spaced)) or bool(pattern.search(word)) for pattern in (LOWER, HIGHER))
    return None if low == high else "minimize" if low else "maximize"


def assign_types(frame: pd.DataFrame, roles: Mapping[str, Any]) -> pd.DataFrame:
    """The frame with scores and standard errors as float64 and level, run and domain names as text.

    Raises:
        RecordsError: a score is no number, or a level, a run or a domain is missing.
    """
    typed = frame.copy(deep=False)
    for role in ("value", "se"):
        if role in roles:
            typed[roles[role]] = as_numbers(frame[roles[role]])
    names = [
        *roles.get("factors", []),
        *(roles[role] for role in ("run", "domain", "shift", "metric") if role in roles),
    ]
    for name in dict.fromkeys(names):
        typed[name] = as_text(frame[name])
        if typed[name].isna().any() and name != roles.get("metric"):
            row = int(np.flatnonzero(typed[name].isna())[0])
            remedy = "fill the field, or leave the row out"
            raise RecordsError("a level or name is missing", where=f"column {name!r}, row {row}", remedy=remedy)
    return typed


def _match(frame: pd.DataFrame, names: list[str], taken: set[str]) -> list[str]:
    """Columns with one of these names, in the order of the names."""
    plain = {c: _plain(c) for c in frame.columns if c not in taken and not frame[c].isna().all()}
    return [column for name in names for column, other in plain.items() if other == name]


def _plain(column: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(column).lower())


def _choose(frame: pd.DataFrame, role: str, found: list[str], roles: Mapping[str, Any]) -> str | None:
    """The one column among those whose name means a role."""
    if role in ("value", "se"):
        found = [column for column in found if _holds_numbers(frame[column])]
    if role == "budget":
        found = [column for column in found if frame[column].nunique() > 1][:1]
    if role == "run":  # an identifier first; the seed beside it is not a second one
        return found[0] if found else None
    if role == "value" and found and _plain(found[0]) in ("value", "score", "result"):
        return found[0]
    if len(found) > 1:
        raise RecordsError(
            f"several columns could be the {role}: {', '.join(found)}", allowed=found, remedy=f"name one as {role}"
        )
    return found[0] if found else None


def _holds_numbers(column: pd.Series) -> bool:
    if pd.api.types.is_numeric_dtype(column):
        return True
    words = column.dropna().astype("str").str.strip()
    numbers = pd.to_numeric(words, errors="coerce")
    return bool(numbers.notna().any()) and bool(words[numbers.isna()].str.lower().isin(MISSING).all())


def _only_fraction(frame: pd.DataFrame, taken: set[str]) -> str:
    free = [c for c in frame.columns if c not in taken and _plain(c) not in ASIDE]
    fractions = [c for c in free if pd.api.types.is_float_dtype(frame[c])]
    if not fractions:
        for column in _match(frame, NAMES["value"].split(), taken):
            as_numbers(frame[column])  # says which field of what is called a score is no number
    if len(fractions) != 1:
        what = f"several columns could be scores: {', '.join(fractions)}" if fractions else "no column of scores"
        remedy = "name the column as value; where there is a column per arm, name these as wide"
        numbers = [c for c in free if pd.api.types.is_numeric_dtype(frame[c])]
        raise RecordsError(what, where="value", allowed=numbers, remedy=remedy)
    return fractions[0]


def _find_factors(frame: pd.DataFrame, taken: set[str]) -> tuple[list[str], list[str]]:
    """The factors, and the columns that are neither a factor nor anything else."""
    free = [c for c in frame.columns if c not in taken]
    seeds = {c for c in free if _plain(c) in NAMES["run"].split()}
    counts = {c: frame[c].nunique(dropna=False) for c in free}
    factors = [
        c
        for c in free
        if c not in seeds
        and _plain(c) not in ASIDE
        and not pd.api.types.is_float_dtype(frame[c])
        and 2 <= counts[c] <= LEVELS
        and counts[c] < len(frame)
    ]
    factors = [f for f in factors if f not in _find_labels(frame, factors)]
    if not factors:
        raise RecordsError(
            "no column is left that could be a factor", where="factors", allowed=free, remedy="name the factors"
        )
    doubtful = _find_redundant(frame, factors)
    if doubtful:
        raise RecordsError(
            f"some columns say the same as others: {', '.join(doubtful)}",
            where="factors",
            allowed=factors,
            remedy="name those that were switched as factors",
        )
    return factors, [c for c in free if c not in factors]


def _find_labels(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """The one column that names the cells of all other factors, such as `cell` beside `data` and `size`."""
    cells = frame[factors].drop_duplicates()
    labels = []
    for name in factors:
        others = cells.drop(columns=name)
        named = len(cells) == cells[name].nunique() == len(others.drop_duplicates())
        if named and others.shape[1] > 1 and not _find_redundant(frame, [*others.columns]):
            labels.append(name)
    return labels if len(labels) == 1 else []


def _find_redundant(frame: pd.DataFrame, factors: Sequence[str]) -> list[str]:
    """Factors whose level follows from the others: without them there are as many cells."""
    if len(factors) < 2:
        return []
    cells = frame[factors].drop_duplicates()
    return [f for f in factors if len(cells.drop(columns=f).drop_duplicates()) == len(cells)]
