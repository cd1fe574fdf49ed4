"""What is recorded of where a trial ran."""

import subprocess
import sys
from pathlib import Path

from ablate.environments import commit, describe, file_digest, hardware, packages, sources


def test_packages_are_read_without_importing_them():
    code = "import sys; from ablate.environments import packages; packages(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert packages()["python"] == ".".join(map(str, sys.version_info[:3]))


def test_commit_and_dirt_of_a_repository(tmp_path):
    assert commit(tmp_path) == {}
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (tmp_path / "file").write_text("one")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *words], check=True)
    commit.cache_clear()
    clean = commit(tmp_path)
    assert (len(clean["commit"]), clean["dirty"]) == (40, False)
    (tmp_path / "file").write_text("two")
    commit.cache_clear()
    assert commit(tmp_path) == {**clean, "dirty": True}


def test_sources_are_digested_by_file_and_packages_are_not(tmp_path):
    (tmp_path / "parts.py").write_text("x = 1\n")
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "kit" / "losses.py").write_text("y = 2\n")
    found = sources(["parts.Module", "kit.losses.Loss", "pandas.DataFrame", "json", "no_such_module"], [tmp_path])
    assert found == {
        "parts/parts.py": file_digest(tmp_path / "parts.py"),
        "kit/__init__.py": file_digest(tmp_path / "kit" / "__init__.py"),
        "kit/losses.py": file_digest(tmp_path / "kit" / "losses.py"),
    }


def test_a_description_names_processor_and_platform():
    described = describe({"commit": "abc", "dirty": True, "sources": {}})
    assert described["hardware"] == hardware()
    assert described["commit"] == "abc"
    assert "sources" not in described
    assert Path("/proc/cpuinfo").exists() is ("thread" in hardware())
