"""Whatever a cell holds, a reader of each format gets it back, and nothing of it is markup."""

import csv as csv_module
import io
import re
import shutil
import string
import subprocess
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ablate.report import rendering
from ablate.report.tables import Entry, Table
from ablate.report.wordings import clean
from tests.report.studies import HOSTILE

MARKUP = [
    *string.punctuation,
    *["<b>", "<!--", "-->", "&lt;", "](x)", "[x]: y", "![i](j)", "http://a.b", "|", "\\|", "==", "1.", "{{x}}"],
    *["--", "''", "−0.5", "×", "Δ", "é", "漢", "@SUM(A1)", "\n", "\r\n", "\t", " ", "\x00", "\u2028", "\u202e"],
]
texts = st.one_of(st.text(max_size=12), st.lists(st.sampled_from(MARKUP), max_size=6).map("".join))


def make_table(*cells: str, title: str = "title", notes: tuple[str, ...] = ()) -> Table:
    rows = tuple((Entry("x"), Entry(cell)) for cell in cells)
    return Table(title, ("name", "value"), rows, notes)


class Reader(HTMLParser):
    """Collects the tags, and the text of cells and notes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.notes: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag in ("td", "li"):
            self._open.append(tag)
            (self.cells if tag == "td" else self.notes).append("")

    def handle_endtag(self, tag):
        if tag in ("td", "li"):
            self._open.remove(tag)

    def handle_data(self, data):
        if self._open:
            (self.cells if self._open[-1] == "td" else self.notes)[-1] += data

    def handle_comment(self, data):
        raise AssertionError(f"a comment: {data!r}")


def squeeze(text: str) -> str:
    return " ".join(clean(text).split())


@given(cell=texts, title=texts, note=texts)
def test_html_gives_back_the_text(cell, title, note):
    text = rendering.html(make_table(cell, title=title, notes=(note,)))
    plain = Reader(rendering.html(make_table("c", notes=("n",))))
    read = Reader(text)
    assert read.tags == plain.tags
    assert read.cells == ["x", clean(cell).replace("\r", "\n")]
    assert read.notes == [clean(note)]


@given(cell=texts, title=texts, note=texts.filter(str.strip))
def test_markdown_gives_back_the_text(cell, title, note):
    text = rendering.markdown(make_table(cell, title=f"a{title}z", notes=(f"{note}z",)))
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    read = Reader(page)
    assert [squeeze(c) for c in read.cells] == ["x", squeeze(cell)]
    assert [squeeze(n) for n in read.notes] == [squeeze(f"{note}z")]
    assert sorted(set(read.tags) - {"p", "strong"}) == ["li", "table", "tbody", "td", "th", "thead", "tr", "ul"]


def test_markdown_leaves_ordinary_text_alone():
    ordinary = "label_smoothing [−0.01, 0.02] <.001 100 % a-b #1 (n=4)"
    assert ordinary in rendering.markdown(make_table(ordinary))


def test_markdown_is_aligned_for_the_terminal():
    lines = [line for line in rendering.markdown(make_table("漢字", "é", "long text")).splitlines() if line[:1] == "|"]
    widths = {sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) for line in lines}
    assert len(widths) == 1


@given(cells=st.lists(texts, min_size=1, max_size=4))
def test_csv_gives_back_the_text_and_no_formula(cells):
    rows = list(csv_module.reader(io.StringIO(rendering.csv(make_table(*cells)), newline="")))
    assert rows[0] == ["name", "value"]
    for cell, (_, read) in zip(cells, rows[1:], strict=True):
        if rendering.NUMBER.fullmatch(clean(cell).replace("−", "-")) and cell:
            assert float(read) == float(clean(cell).replace("−", "-").replace(",", ""))
        else:
            assert read.removeprefix("'") == clean(cell).removeprefix("'")
            assert not read.lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize(
    ("shown", "written"),
    [
        *[("+0.031", "0.031"), ("−0.5", "-0.5"), ("40,330", "40330"), (".013", ".013"), ("1e-3", "1e-3"), ("-", "'-")],
        *[("−x", "−x"), ("=A1", "'=A1"), (" =A1", "' =A1"), ("<.001", "<.001"), ("1,2", "1,2"), ("", "")],
        ("[−0.1, 0.2]", "[−0.1, 0.2]"),
    ],
)
def test_csv_keeps_numbers_and_disarms_formulas(shown, written):
    assert rendering.disarm(shown) == written


def test_csv_names_the_section_of_a_row():
    shown = Table(
        "t", ("a", "b"), ((Entry("one"),), (Entry("x"), Entry("1")), (Entry("two"),), (Entry("y"), Entry("2")))
    )
    assert rendering.csv(shown) == "section,a,b\none,x,1\ntwo,y,2\n"


@given(cell=texts, title=texts, note=texts)
def test_latex_leaves_no_special_character_unescaped(cell, title, note):
    text = rendering.latex(make_table(cell, title=title, notes=(note,)))
    frame = rendering.latex(make_table("c", title="c", notes=("c",)))
    text = re.sub(r"\\providecommand.*\n", "", text)
    bare = re.sub(r"\\[&%$#_{}]|\\\\", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("&") == frame.replace(r"\\", "").count("&")
    assert not set(re.sub(r"\\[a-zA-Z]+", "", bare)) & set('%#_^\\"')
    assert len(re.findall(r"(?<!\\)\$", bare)) % 2 == 0
    letters = {c for c in bare if not c.isascii()}
    assert all(unicodedata.category(c)[0] == "L" or rf"\ablateunicode{{{ord(c):04X}}}" in text for c in letters)


def test_every_cell_leads_to_its_trials():
    ids = ("aa", "bb")
    shown = Table("t", ("n", "v"), ((Entry("aa", ("aa",)), Entry("1", ids)), (Entry("y"), Entry("2", ("cc",)))))
    text = rendering.html(shown, link="trial-")
    sets = dict(re.findall(r'data-trials="(\d)"[^>]*>(\d)<', text))
    for number, cell in sets.items():
        listed = re.search(rf'<li id="[^"]*-{number}">(.*?)</li>', text, re.DOTALL).group(1)
        assert re.findall(r"<code>(.*?)</code>", listed) == list(ids if cell == "1" else ("cc",))
        assert re.search(rf'<a href="#t[0-9a-f]+-{number}">{number}</a>', text)
    assert 'id="trial-aa"' in text
    assert 'href="#trial-bb"' in text


@pytest.mark.tex
def test_latex_compiles_and_says_what_it_should(tmp_path):
    assert shutil.which("pdflatex"), "pdflatex is not installed (Debian: texlive-latex-recommended)"
    ascii_all = "".join(map(chr, range(32, 127)))
    latin = "".join(map(chr, range(0xA0, 0x180)))
    hostile = [
        *HOSTILE,
        *(level for levels in HOSTILE.values() for level in levels),
        "\\\\[2em]",
        "*",
        "漢字 🙂 \u0301",
        "a\n\nb",
    ]
    rows = tuple(
        (Entry(text), Entry("−0.5 × Δ ≈ ↑ ± ≤ ∞ α …"), Entry("−1,234.5")) for text in [ascii_all, latin, *hostile]
    )
    shown = Table(
        f"All of {ascii_all}", ("left\nbelow", "[right]", "n"), ((Entry("heading_%"),), *rows), tuple(hostile), "llr"
    )
    (tmp_path / "table.tex").write_text(rendering.latex(shown), encoding="utf-8")
    document = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{table}\input{table}\end{document}"
    (tmp_path / "page.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stdout[-3000:]
    assert not re.search(r"Missing character|undefined", done.stdout)
