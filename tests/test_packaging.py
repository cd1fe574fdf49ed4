"""What is installed is what was written: from a wheel and editable, used from a directory outside the checkout."""

import json
import os
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]

APP = """
import hydra

@hydra.main(version_base="1.3", config_path=None, config_name="config")
def app(cfg):
    return float(cfg.width) + cfg.seed / 10

if __name__ == "__main__":
    from hydra.core.config_store import ConfigStore
    ConfigStore.instance().store("config", {"width": 1, "seed": 0})
    app()
"""
ASK = """
import json, importlib.metadata as metadata
import ablate
from ablate.sweeps import conf_dir
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper

found = {
    "ablate": ablate.__file__,
    "conf": str(conf_dir()),
    "sweepers": [p.__module__ for p in Plugins.instance().discover(Sweeper)],
    "launchers": [p.__module__ for p in Plugins.instance().discover(Launcher)],
    "doors": [e.load().__name__ for e in metadata.entry_points(group="hydra.plugins") if e.name.startswith("ablate")],
    "version": metadata.version("ablate-studies"),
}
print(json.dumps(found))
"""


def run(*command, cwd):
    """Run a command as a stranger would: from elsewhere, without this project's paths in the environment."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def install(folder: Path, *what: object) -> Path:
    """A fresh environment that sees the dependencies of this one, but not its installation of the project."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    quiet = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    run(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", *quiet, *what, cwd=folder.parent)
    return folder / "bin"


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request, tmp_path_factory):
    """The way of installation, the folder of the environment's programs, and an empty folder to work in."""
    home = tmp_path_factory.mktemp(request.param)
    elsewhere = home / "elsewhere"
    elsewhere.mkdir()
    what = [request.getfixturevalue("wheel")] if request.param == "wheel" else ["--editable", ROOT]
    return request.param, install(home / "venv", "--force-reinstall", *what), elsewhere


def test_the_installation_finds_its_configs_and_hydra_finds_its_doors(installed):
    way, programs, elsewhere = installed
    found = json.loads(run(programs / "python", "-c", ASK, cwd=elsewhere))
    home = ROOT if way == "editable" else next((programs.parent / "lib").glob("python3*/site-packages"))
    assert Path(found["ablate"]) == home / "ablate" / "__init__.py"
    assert Path(found["conf"]) == (home / "conf" if way == "editable" else home / "ablate" / "conf")
    assert "hydra_plugins.ablate_sweeper.sweeper" in found["sweepers"]
    assert "hydra_plugins.ablate_local.launcher" in found["launchers"]
    assert set(found["doors"]) == {"hydra_plugins.ablate_sweeper.sweeper", "hydra_plugins.ablate_local.launcher"}


@pytest.mark.parametrize("command", [["ablate"], ["python", "-m", "ablate"]], ids=" ".join)
def test_the_command_answers_from_anywhere(installed, command):
    _, programs, elsewhere = installed
    said = run(programs / command[0], *command[1:], "--help", cwd=elsewhere)
    assert "ablate" in said
    config = run(programs / command[0], *command[1:], "--cfg", "job", cwd=elsewhere)
    assert "seed: 0" in config
    assert list(elsewhere.iterdir()) == []


def test_a_strangers_app_gets_the_sweeper(installed, tmp_path):
    _, programs, _ = installed
    (tmp_path / "app.py").write_text(APP)
    words = ["hydra/sweeper=ablate", "hydra/launcher=basic", "hydra.sweeper.seeds=3", "width=1,2"]
    run(programs / "python", "app.py", "-m", *words, f"hydra.sweeper.folder={tmp_path / 'study'}", cwd=tmp_path)
    written = {path.name for path in (tmp_path / "study").iterdir()}
    assert {"plan.json", "records.csv"} <= written
    assert len((tmp_path / "study" / "records.csv").read_text().splitlines()) == 1 + 2 * 3


def test_the_wheel_holds_the_package_its_configs_and_the_doors_alone(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"ablate", "hydra_plugins", next(top for top in tops if top.endswith(".dist-info"))}
    conf = {str(path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*.yaml")}
    assert {name.removeprefix("ablate/") for name in names if name.startswith("ablate/conf/")} == conf
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "ablate").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == {n.removeprefix("ablate/plugin/") for n in code}
    assert "hydra_plugins/__init__.py" not in names, "others' plugins live in the same namespace"
    assert {"ablate/py.typed", "ablate/report/page.html"} <= names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_a_source_distribution_gives_the_same_wheel(wheel, tmp_path):
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as source:
        source.extractall(tmp_path, filter="data")
    (unpacked,) = (p for p in tmp_path.iterdir() if p.is_dir())
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, unpacked, cwd=tmp_path)
    (again,) = tmp_path.glob("*.whl")

    def content(path):
        return {i.filename: i.CRC for i in zipfile.ZipFile(path).infolist() if not i.filename.endswith("/RECORD")}

    assert content(again) == content(wheel)
