"""Generated tables in READMEs: writes what stands between `begin` and `end` marks anew, or checks that it is fresh.

    <!-- begin: PATH [sections: First words; ...] -->  ...  <!-- end -->

PATH is a written table (Markdown), relative to the README. With sections, only those are shown, and all notes.
"""

import re
import sys
from pathlib import Path

MARKS = re.compile(r"(<!-- begin: (\S+?)(?: sections: (.*?))? -->\n).*?(<!-- end -->)", re.DOTALL)
ROOT = Path(__file__).resolve().parents[1]


def embed(readme: Path) -> str:
    """The README's text with every marked table as its file has it now."""

    def fill(found: re.Match[str]) -> str:
        begin, path, sections, end = found.groups()
        text = (readme.parent / path).read_text(encoding="utf-8")
        return f"{begin}\n{choose(text, sections.split('; ') if sections else []).strip()}\n\n{end}"

    return MARKS.sub(fill, readme.read_text(encoding="utf-8"))


def choose(text: str, sections: list[str]) -> str:
    """A written table's title, the sections that begin with these words, and its notes."""
    if not sections:
        return text
    title, *parts = re.split(r"^(?=\*[^*])", text, flags=re.MULTILINE)
    tail = parts[-1].index("\n- ")
    notes, parts[-1] = parts[-1][tail:], parts[-1][:tail] + "\n"
    return title + "".join(part for part in parts if part.startswith(tuple(f"*{s}" for s in sections))) + notes


def main() -> int:
    """Write, or with `--check` compare; 1 if a README is stale."""
    stale = []
    for readme in [ROOT / "README.md", *sorted(ROOT.glob("studies/*/README.md"))]:
        text = embed(readme)
        if text != readme.read_text(encoding="utf-8"):
            stale.append(str(readme.relative_to(ROOT)))
            if "--check" not in sys.argv:
                readme.write_text(text, encoding="utf-8")
    print("\n".join(f"{'stale' if '--check' in sys.argv else 'written'}: {name}" for name in stale) or "all fresh")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
