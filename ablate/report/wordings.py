"""How numbers, verdicts and targets are said: formats and words that tables, figures and sentences share."""

import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

# target -> its short name (column heads, legends) and what it claims
TARGETS = {
    "these_domains": ("these domains", "new training runs on these domains"),
    "new_domains": ("new domains", "new domains of this kind"),
    "new_items": ("new examples", "these trained models on new examples"),
}
MARKS = {"better": "↑", "worse": "↓", "equivalent": "≈", "undecided": "?"}
REPLICATION_NOTE = "n: independent training runs (seeds per cell) × domain groups."
MARKS_NOTE = "↑ better, ↓ worse, ≈ equivalent (inside the margin), ? undecided: verdicts after correction."
FAMILY_WORDS = {
    "main": "Main effects (averaged over the other factors)",
    "leave_one_out": "Leave-one-out (one component removed from the full system)",
    "step": "Steps (each rung against the one before)",
    "simple": "Simple effects (cell against the baseline cell)",
    "noninferiority": "Non-inferiority (declared comparisons)",
    "interaction": "Interactions (differences of differences)",
    "omnibus": "Any effect at all (factors of three or more levels)",
    "pairs": "All pairs of cells",
    "retention": "Retained gains (declared comparisons)",
    "shapley": "Shapley values (what each factor adds, averaged over all orders)",
    "share": "Shares of the total gain (Fieller intervals)",
    "improvement": "Probability of improvement (a run of the cell beats one of the baseline cell)",
    "iqm": "Interquartile means (cell against the baseline cell)",
    "robustness": "Robustness (what a shift costs within a run, and what changes it)",
    "efficiency": "Sample efficiency (learning curves of runs)",
    "prediction": "In one new domain (prediction intervals)",
    "heterogeneity": "Heterogeneity (standard deviation of the true effect between domains)",
    "best": "Against the best (Hsu's comparisons)",
    "tuning": "Tuning (expected best of so many trials)",
    "cost": "Costs (ratios)",
    "domain": "Within each domain group",
}
CORRECTIONS = {"max_t": "Max-t", "benjamini_hochberg": "Benjamini-Hochberg", "mcb": "MCB"}
MINUS = "−"
MISSING = "–"


def places(errors: Iterable[float]) -> int:
    """Decimals at which the median standard error shows two significant digits; 3 if there is none."""
    sizes = sorted(e for e in (float(e) for e in errors) if math.isfinite(e) and e > 0)
    if not sizes:
        return 3
    return min(8, max(0, 1 - math.floor(math.log10(sizes[len(sizes) // 2]))))


def plain(number: float, decimals: int) -> str:
    """A number with a true minus sign; never a negative zero."""
    if number is None or not math.isfinite(number):
        return MISSING if number is None or math.isnan(number) else ("∞" if number > 0 else f"{MINUS}∞")
    text = f"{abs(number):.{decimals}f}"
    negative = number < 0 and float(text) != 0
    return f"{MINUS}{text}" if negative else text


def signed(number: float, decimals: int) -> str:
    """A difference: always with its sign, unless it rounds to zero."""
    text = plain(number, decimals)
    unsigned = text.startswith((MINUS, MISSING)) or (text != "∞" and float(text) == 0)
    return text if unsigned else f"+{text}"


def interval(low: float, high: float, decimals: int) -> str:
    """`[low, high]`, with a round bracket at an end that is open."""
    if math.isnan(low) and math.isnan(high):
        return MISSING
    left, right = ("(" if math.isinf(low) else "["), (")" if math.isinf(high) else "]")
    return f"{left}{plain(low, decimals)}, {plain(high, decimals)}{right}"


def estimate(effect: Mapping[Any, Any], decimals: int) -> str:
    """The estimate of an effect as its quantity is read: `+0.012`, `.63`, `45 %`, `×1.20`."""
    return _told(effect["estimate"], effect["quantity"], decimals, signed)


def ends(effect: Mapping[Any, Any], decimals: int) -> str:
    """The interval of an effect, as its quantity is read."""
    low, high = effect["low"], effect["high"]
    if effect["quantity"] in ("difference", "sd", "score") or math.isnan(low):
        return interval(low, high, decimals)
    left, right = ("(" if math.isinf(low) else "["), (")" if math.isinf(high) else "]")
    return f"{left}{', '.join(_told(end, effect['quantity'], decimals, plain) for end in (low, high))}{right}"


def _told(number: float, kind: str, decimals: int, difference: Callable[[float, int], str]) -> str:
    if kind == "difference" or not math.isfinite(number):
        return difference(number, decimals)
    if kind == "share":
        return f"{plain(100 * number, 0)} %"
    if kind in ("ratio", "F"):
        return f"{'×' if kind == 'ratio' else ''}{plain(number, 2)}"
    return plain(number, 2 if kind == "probability" else decimals)


def p_value(p: float) -> str:
    """Three decimals without the leading zero; `<.001` below that."""
    if math.isnan(p):
        return MISSING
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def quantity(number: float) -> str:
    """A cost: whole numbers in full with commas, others to three significant digits, never an exponent."""
    if math.isnan(number):
        return MISSING
    if number == 0 or not math.isfinite(number):
        return plain(number, 0)
    if float(number).is_integer():
        return f"{int(number):,}"
    return f"{number:,.{max(0, 2 - math.floor(math.log10(abs(number))))}f}"


def percent(share: float) -> str:
    """`95 %`."""
    return f"{round(100 * share, 4):g} %"


def whole(number: Any) -> str:
    """A count, or a dash."""
    return MISSING if pd.isna(number) else f"{number:g}"


def listed(words: Iterable[object], last: str = "and") -> str:
    """`a, b and c`."""
    *head, tail = [str(w) for w in words] or [""]
    return f"{', '.join(head)} {last} {tail}" if head else tail


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def replication(effect: Mapping[Any, Any]) -> str:
    """What an estimate rests on: `60 (5) × 9`, training runs (seeds per cell) × domain groups."""
    return f"{whole(effect['n_runs'])} ({whole(effect['n_seeds'])}) × {whole(effect['n_domains'])}"


def note(effect: Mapping[Any, Any]) -> str:
    """What to add to a verdict: the margin of a question that has one of its own, and the effect's note.

    Nothing where it is refused: its code stands in the place of p, its sentence among the table's notes.
    """
    if effect["refusal"]:
        return ""
    margin = effect["margin"]
    own = f"margin {margin:g}" if effect["family"] == "noninferiority" and pd.notna(margin) else ""
    return "; ".join(filter(None, [own, str(effect["note"])]))


def contrast(effect: Mapping[Any, Any]) -> str:
    """`data: clean vs raw`."""
    return f"{effect['factor']}: {effect['level']} vs {effect['versus']}"


def family_heading(part: pd.DataFrame, before: Sequence[str] = ()) -> str:
    """The heading over the rows of one family: what it is, and what it was corrected for."""
    return ": ".join([*filter(None, before), f"{FAMILY_WORDS[part['family'].iloc[0]]}; {correction(part)}"])


def correction(part: pd.DataFrame) -> str:
    """`Holm over 5 tests`, as the rows of one family say it."""
    tested = part[part["family_size"] > 0]
    said = [
        "one test" if size == 1 else f"{CORRECTIONS.get(name, str(name).capitalize())} over {size:g} tests"
        for name, size in dict.fromkeys(zip(tested["correction"], tested["family_size"], strict=True))
    ]
    return ", ".join(said) or "not tested"


def clean(text: str, keep: str = "") -> str:
    """Text without what no format carries: control characters are spaces, surrogates and bidi overrides �."""
    return "".join(c if c in keep else _harmless(c) for c in text)


def _harmless(c: str) -> str:
    kind = unicodedata.category(c)
    if kind in ("Cc", "Zl", "Zp"):
        return " "
    if kind == "Cs" or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
        return "\ufffd"
    return c
