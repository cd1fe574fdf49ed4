"""Resemblances: near copies of texts and pictures, found among many by hashes and then compared one by one.

A library's hashes (MinHash, Broder 1997, with its locality-sensitive hashing; the perceptual hash of a picture's lowest
frequencies) give candidates. Each is compared with the item itself, so a threshold is of the similarity, not of a hash.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from ablate.errors import StudyError

GRAM = 5  # characters, or tokens
PERMUTATIONS = 64
MARGIN = 0.2  # candidates are looked for this much below the threshold, so that hardly any at it is missed
BITS = 6  # of 64, by which the perceptual hashes of two near pictures may differ
THUMBNAIL = 16  # pixels a side


def _missing(library: str) -> StudyError:
    return StudyError(
        f"near copies are found with {library}, which is not installed",
        where="near",
        remedy="pip install 'ablate-studies[contamination]', or leave the level out: near=False",
    )


def cut_grams(codes: Any) -> Any:
    """The distinct 5-grams of a sequence of codes, each as a number below 2^32; a shorter sequence is one gram."""
    import numpy as np

    codes, width = codes.astype(np.uint64), min(GRAM, len(codes))
    value = np.zeros(len(codes) - width + 1, np.uint64)
    for place in range(width):
        value = (value + codes[place : place + len(value)] + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        value ^= value >> np.uint64(29)
    return np.unique((value >> np.uint64(32)).astype(np.uint32))


class Texts:
    """Texts, as arrays of the codes of their characters or tokens, by their 5-grams in buckets of MinHash."""

    def __init__(self, contents: Sequence[Any], threshold: float) -> None:
        try:
            from datasketch import MinHashLSH
        except ImportError as error:
            raise _missing("datasketch") from error
        import numpy as np

        self.threshold = threshold
        self.grams: list[Any] = []
        self.buckets = MinHashLSH(max(threshold - MARGIN, 0.1), PERMUTATIONS)
        hashes = []
        for number, content in enumerate(contents):
            grams, hashed = self.sketch(content)
            self.grams.append(grams)
            self.buckets.insert(number, hashed)
            hashes.append(hashed.hashvalues)
        self.hashes = np.array(hashes)

    @staticmethod
    def sketch(content: Any) -> tuple[Any, Any]:
        """A text's grams and their MinHash, with which it is looked for."""
        grams, hashed = cut_grams(content), _start_hash().copy()
        hashed.update_batch(grams.tolist())
        return grams, hashed

    def find(self, sketch: tuple[Any, Any]) -> Iterator[int]:
        """Numbers of the texts whose Jaccard index with the sketched one is at least the threshold."""
        import numpy as np

        grams, hashed = sketch
        candidates = np.array(self.buckets.query(hashed), int)
        guesses = (self.hashes[candidates] == hashed.hashvalues).mean(1)  # of the Jaccard index, within .19: three SE
        for number in candidates[guesses >= self.threshold - MARGIN].tolist():
            shared = len(np.intersect1d(grams, self.grams[number], assume_unique=True))
            if shared >= self.threshold * (len(grams) + len(self.grams[number]) - shared):
                yield number


@cache
def _start_hash() -> Any:
    from datasketch import MinHash

    return MinHash(PERMUTATIONS, seed=1, hashfunc=int)


class Pictures:
    """Pictures with values in 0..1, (height, width) or (height, width, 3), by the bands of their perceptual hashes.

    Hashes that differ in at most 6 of 64 bits share one of 7 bands; such a pair is near where its thumbnails correlate.
    """

    def __init__(self, contents: Sequence[Any], threshold: float) -> None:
        try:
            import imagehash  # noqa: F401 - missed here, before anything is read
        except ImportError as error:
            raise _missing("ImageHash") from error
        self.threshold = threshold
        self.hashes: list[int] = []
        self.thumbnails: list[Any] = []
        self.buckets: dict[tuple[int, int], list[int]] = {}
        for number, content in enumerate(contents):
            value, grey = self.sketch(content)
            self.hashes.append(value)
            self.thumbnails.append(_shrink(grey))
            for band in _cut_bands(value):
                self.buckets.setdefault(band, []).append(number)

    @staticmethod
    def sketch(content: Any) -> tuple[int, Any]:
        """A picture's perceptual hash, and the picture in grey, with which it is looked for."""
        import numpy as np
        from imagehash import phash

        grey = _paint(content)
        return int.from_bytes(np.packbits(phash(grey).hash).tobytes()), grey

    def find(self, sketch: tuple[int, Any]) -> Iterator[int]:
        """Numbers of the pictures near to the sketched one."""
        value, grey = sketch
        candidates = {number for band in _cut_bands(value) for number in self.buckets.get(band, ())}
        close = [number for number in candidates if (value ^ self.hashes[number]).bit_count() <= BITS]
        thumbnail = _shrink(grey) if close else None
        for number in close:
            if float(thumbnail @ self.thumbnails[number]) >= self.threshold:
                yield number


def _paint(content: Any) -> Any:
    """The scaled picture as one of Pillow's, in grey."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.round(content * 255).clip(0, 255).astype(np.uint8)).convert("L")


def _shrink(grey: Any) -> Any:
    """The thumbnail's brightness about its mean, of length one: products of two are correlations."""
    import numpy as np
    from PIL import Image

    small = np.asarray(grey.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), float).ravel()
    centred = small - small.mean()
    return centred / (np.linalg.norm(centred) or 1.0)


def _cut_bands(value: int) -> Iterator[tuple[int, int]]:
    """A hash of 64 bits in one band more than bits may differ: one band of two near hashes is the same."""
    for band in range(BITS + 1):
        first, end = 64 * band // (BITS + 1), 64 * (band + 1) // (BITS + 1)
        yield band, value >> first & (1 << end - first) - 1
