"""The page of refusals, from `ablate.stats.refusals`.

python docs/refusals.py [--check]
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ablate.stats import refusals

PAGE = Path(__file__).parent / "methods" / "refusals.md"
HEAD = """# Refusals

Written by `python docs/refusals.py`; do not edit. What the data cannot carry is declined with a code, a sentence and
what to do. A refused effect keeps its estimate, and its interval where the last column says so; it has no p-value and
no star, and it still counts in the size of its family.

| code | what is wrong | what to do | interval |
|---|---|---|---|
"""
FOOT = """
R14 is a flag: the test stands. R11 appears where a comparison was declared without margin; effects without one are
merely never called equivalent. The rows of a table carry the codes in column `refusal`, its notes the sentences:

```python
one = ab.attribute(scores[scores["seed"] == 0], **asked, families="main")
assert set(one.frame["refusal"]) == {"R01"}
one.notes[-1]
```

Declarations that lead to fewer of them:

```yaml
analysis:
  target: these_domains
  families: [main, simple]
```
"""


def write_page() -> str:
    """The page as Markdown."""
    known = [value for value in vars(refusals).values() if isinstance(value, refusals.Refusal)]
    rows = [f"| {r.code} | {r.sentence} | {r.remedy} | {'kept' if r.interval else ''} |\n" for r in known]
    return HEAD + "".join(sorted(rows)) + FOOT


def main(arguments: Sequence[str]) -> int:
    """Write the page, or say whether it is up to date."""
    if "--check" not in arguments:
        PAGE.write_text(write_page(), encoding="utf-8")
        return 0
    stale = PAGE.read_text(encoding="utf-8") != write_page()
    print("refusals.md is stale: run `python docs/refusals.py`" if stale else "refusals.md is up to date")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
