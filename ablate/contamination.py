"""Contamination: which items of a test set the training data repeat, exactly, normalised, or nearly.

An item is a text (or bytes, or a row of token numbers), a picture, or another array. Each level holds the one before:

- exact: the same bytes, type and shape.
- normalised: text after NFKC, case folding, and with punctuation and white space collapsed; pictures whatever their
  layout, number type, brightness and contrast; other arrays to six significant digits.
- near: text whose character 5-grams overlap; pictures with like perceptual hashes and like thumbnails.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, get_args

from ablate.errors import PlanError, require_one_of
from ablate.resemblances import THUMBNAIL, Pictures, Texts

Kind = Literal["auto", "text", "image", "array"]

THRESHOLDS = {"text": 0.7, "image": 0.98}  # least Jaccard index; least correlation of thumbnails
LEVELS, OFFSET = 64, 0.6180339887  # of normalised brightness; whose steps fall on no round number
SMALL = (
    f"pictures under {THUMBNAIL} × {THUMBNAIL} pixels: perceptual hashes of different ones are as much alike as those "
    "of copies"
)
ARRAYS = "arrays that are neither text nor pictures have no near level"


@dataclass(frozen=True)
class Overlap:
    """The test items that training items repeat, by number from 0, in ascending order; each level holds the one before.

    Attributes:
        items: in the test set.
        exact: numbers of the items repeated exactly.
        normalised: of those repeated once both are normalised.
        near: of those nearly repeated; the same as `normalised` where this level was left out.
        skipped: why the near level was left out, or None.
    """

    items: int
    exact: tuple[int, ...]
    normalised: tuple[int, ...]
    near: tuple[int, ...]
    skipped: str | None = None


def find_overlap(
    train: Iterable[Any], test: Iterable[Any], kind: Kind = "auto", near: bool = True, threshold: float | None = None
) -> Overlap:
    """Compare the items of a training set with those of a test set, labels left out.

    Args:
        train: text, bytes, arrays or Pillow's pictures, in any order; those of another kind than the test's are passed
            over.
        test: the same.
        kind: of the test items; `auto` goes by the first: one-dimensional whole numbers are text in tokens, matrices
            with or without 1, 3 or 4 channels are pictures, other arrays are arrays.
        near: whether to look for near copies, which needs the extra `contamination`.
        threshold: least similarity of a near copy, above 0, up to 1: Jaccard index of text (default .7), correlation of
            pictures' thumbnails (default .98).

    Raises:
        PlanError: an unknown kind, a threshold out of range, or a test item that is not of the kind.
        StudyError: near copies are asked for without the extra.
    """
    return Index(test, kind, near, threshold).find(train)


class Index:
    """A test set made ready to be looked for in training data; arguments are those of `find_overlap`."""

    def __init__(
        self, test: Iterable[Any], kind: Kind = "auto", near: bool = True, threshold: float | None = None
    ) -> None:
        require_one_of(kind, get_args(Kind), "kind", "kind of items")
        if threshold is not None and not 0 < threshold <= 1:
            raise PlanError(f"the threshold is {threshold}", where="threshold", allowed=["above 0, up to 1"])
        given = list(test)
        self.items, self.kind = len(given), tell_kind(given[0]) if kind == "auto" and given else kind
        forms = [_form(item, self.kind) for item in given]
        if None in forms:
            raise PlanError(f"test item {forms.index(None)} is no {self.kind}", where="kind", allowed=get_args(Kind))
        found = [form for form in forms if form is not None]
        self.exact = _group(form.exact for form in found)
        self.normalised = _group(form.normalised for form in found)
        self.skipped = None if near else "not asked for"
        self.near: Texts | Pictures | None = None
        if near and found:
            self.skipped = _refuse_near(self.kind, found)
            if not self.skipped:
                maker = Texts if self.kind == "text" else Pictures
                self.near = maker([form.content for form in found], threshold or THRESHOLDS[self.kind])

    def find(self, train: Iterable[Any]) -> Overlap:
        """The overlap with training items, which are gone through once and not kept."""
        return find_overlaps(train, [self])[0]


class _Hits:
    """What has been found of one test set."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.exact: set[int] = set()
        self.normalised: set[int] = set()
        self.near: set[int] = set()

    def conclude(self) -> Overlap:
        first = self.exact
        second = first | self.normalised
        third = second | self.near
        levels = tuple(sorted(first)), tuple(sorted(second)), tuple(sorted(third))
        return Overlap(self.index.items, *levels, self.index.skipped)


def find_overlaps(train: Iterable[Any], indexes: Sequence[Index]) -> list[Overlap]:
    """The overlap of training items with each of several test sets; the items are gone through once and not kept."""
    hits = [_Hits(index) for index in indexes]
    kinds = {index.kind: [hit for hit in hits if hit.index.kind == index.kind] for index in indexes}
    seen: set[tuple[str, bytes]] = set()
    for item in train:
        for kind, group in kinds.items():
            form = _form(item, kind)
            if form is None or (kind, form.exact) in seen:
                continue
            fresh = (kind, form.normalised) not in seen
            seen |= {(kind, form.exact), (kind, form.normalised)}
            for hit in group:
                hit.exact.update(hit.index.exact.get(form.exact, ()))
                hit.normalised.update(hit.index.normalised.get(form.normalised, ()) if fresh else ())
            looking = [(hit, hit.index.near) for hit in group if fresh and hit.index.near]
            sketch: Any = looking[0][1].sketch(form.content) if looking else None
            for hit, near in looking:
                hit.near.update(near.find(sketch))
    return [hit.conclude() for hit in hits]


def tell_kind(item: Any) -> Kind:
    """What kind an item is, by its type and shape."""
    import numpy as np

    if isinstance(item, str | bytes):
        return "text"
    array = np.asarray(item)
    if array.ndim == 1 and array.dtype.kind in "iu":
        return "text"
    return "image" if _arrange(array) is not None else "array"


@dataclass(frozen=True)
class _Form:
    """An item in the three forms that are compared: two digests, and codes of characters or a picture in 0..1."""

    exact: bytes
    normalised: bytes
    content: Any


def _refuse_near(kind: Kind, forms: Sequence[_Form]) -> str | None:
    """Why there is no near level for these items."""
    if kind == "array":
        return ARRAYS
    small = kind == "image" and min(min(form.content.shape[:2]) for form in forms) < THUMBNAIL
    return SMALL if small else None


def _form(item: Any, kind: Kind) -> _Form | None:
    """None where the item is not of the kind."""
    import numpy as np

    if isinstance(item, str | bytes):
        return _form_text(item) if kind == "text" else None
    if getattr(item, "mode", None) == "P":  # a picture whose numbers stand for colours
        item = item.convert("RGB")
    try:
        array = np.asarray(item)
    except ValueError:  # a ragged list
        return None
    if array.dtype.kind not in "biufc":
        return None
    exact = _digest(f"{array.dtype.str} {array.shape} ", array)
    if kind == "text":
        whole = array.ndim == 1 and array.dtype.kind in "iu"
        return _Form(exact, _digest("tokens ", array.astype(np.int64)), array) if whole else None
    if kind == "array":
        return _Form(exact, _digest(f"{array.shape} ", _round(array)), None)
    picture = _arrange(array)
    if picture is None:
        return None
    picture = np.nan_to_num(picture.astype(float))
    low, high = picture.min(), picture.max()
    scaled = (picture - low) / (high - low) if high > low else picture
    steps = np.floor(scaled * LEVELS + OFFSET).astype(np.int64)
    return _Form(exact, _digest(f"{picture.shape} ", steps), scaled)


def _form_text(text: str | bytes) -> _Form:
    import numpy as np

    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    plain = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    normal = normalise_text(plain) or plain  # a text of nothing but signs stays what it is
    coded = normal.encode("utf-32-le", "surrogatepass")
    return _Form(_digest("", raw), _digest("", coded), np.frombuffer(coded, np.uint32))


class _Spaces(dict[int, str]):
    """Translates punctuation, separators and control characters to blanks; other characters stay."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        self[code] = " " if unicodedata.category(sign)[0] in "PZC" else sign
        return self[code]


_SPACES = _Spaces()


def normalise_text(text: str) -> str:
    """NFKC, case folded, every run of punctuation, white space and control characters one blank; none at the ends."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return re.sub(" +", " ", folded.translate(_SPACES)).strip()


def _arrange(array: Any) -> Any:
    """A picture as (height, width) or (height, width, 3 colours); None where the array is none."""
    if array.dtype.kind not in "bf" and array.dtype.str[1:] not in ("u1", "u2"):
        return None
    if array.ndim == 3 and array.shape[-1] not in (1, 3, 4) and array.shape[0] in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[-1] in (1, 3, 4):
        array = array[..., 0] if array.shape[-1] == 1 else array[..., :3]
    elif array.ndim != 2:
        return None
    return array if array.size else None


def _round(array: Any) -> Any:
    """To six significant digits, as numbers of 64 bits."""
    import numpy as np

    if array.dtype.kind not in "fc":
        return array.astype(float)
    values = array.astype(np.complex128 if array.dtype.kind == "c" else float)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = 10.0 ** (5 - np.floor(np.log10(np.abs(values))))
        rounded = np.round(values * scale) / scale
    return np.where(np.isfinite(rounded), rounded, values) + 0.0  # and no negative zero


def _digest(head: str, content: Any) -> bytes:
    import numpy as np

    body = content if isinstance(content, bytes) else np.ascontiguousarray(content).tobytes()
    return blake2b(head.encode() + body, digest_size=16).digest()


def _group(keys: Iterable[bytes]) -> dict[bytes, list[int]]:
    numbers: dict[bytes, list[int]] = {}
    for number, key in enumerate(keys):
        numbers.setdefault(key, []).append(number)
    return numbers
