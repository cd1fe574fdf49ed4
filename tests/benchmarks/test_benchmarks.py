import sys

import pytest

from tests.benchmarks import bench_stats
from tests.benchmarks.peers import Row, ask_python, compare


def test_the_suite_runs_without_peers(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")  # no Rscript
    assert bench_stats.main(["--quick"]) == 0
    out = capsys.readouterr().out
    peers = [line for line in out.splitlines() if line.endswith("not installed")]
    assert [
        line.split("  ")[0].split(": ")[1] for line in peers
    ] == "rliable deepsig MixedLM lme4 lme4 pbkrtest".split()
    assert out.count("agree: ") == 2  # what is ours alone is compared with the reference table and the planted truth
    assert "MixedLM was not run on 6,000 rows" in out


def test_no_speed_where_answers_differ():
    def judge(answer):
        return answer["value"] == 1, "values"

    row = compare("x: y", 0.5, {"seconds": 50.0, "value": 1}, 200, judge)
    assert row.ratio == 100
    assert bench_stats.format_row(row) == ("x: y", "500 ms", "50 s", "100 ×", "≥ 200 ×", "agree: values  (aim missed)")
    row = compare("x: y", 0.5, {"seconds": 50.0, "value": 2}, 200, judge)
    assert row.ratio is None
    assert bench_stats.format_row(row)[3:] == ("", "≥ 200 ×", "ANSWERS DIFFER: values")
    assert compare("x: y", 0.5, None, 200, judge) == Row("x: y", "not installed", None, 0.5, None, 200)


def test_answers_that_differ_fail_the_run(monkeypatch, capsys):
    monkeypatch.setattr(bench_stats, "run_all", lambda *_: iter([Row("x: y", "values", False, 0.5, 50.0, 200)]))
    assert bench_stats.main([]) == 1
    assert "ANSWERS DIFFER: values" in capsys.readouterr().out


def test_a_peer_answers_absent_or_fails():
    script = "found, seconds = measure(lambda: values['x'].sum(), 2)\nanswer = {'seconds': seconds, 'sum': int(found)}"
    assert ask_python(sys.executable, script, x=[1, 2, 3])["sum"] == 6
    assert ask_python(sys.executable, "import no_such_package", x=[1]) is None
    assert ask_python("no-such-python", script, x=[1]) is None
    with pytest.raises(RuntimeError, match="no such value"):
        ask_python(sys.executable, "raise KeyError('no such value')", x=[1])
