"""The house keeps its shape: imports go down only, each heavy library has one room, the front page is complete.

See "Layout" in CONTRIBUTING.md for what the rooms are.
"""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ablate

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "ablate"

# room -> (floor, side). The running side (west) and the judging side (east) meet at the front desk (floor 5) alone.
ROOMS = {
    **dict.fromkeys(["errors", "signals", "factors", "files", "environments"], (0, "")),
    **dict.fromkeys(
        [
            *["aliases", "analyses", "declarations", "designs", "drifts", "optima", "plans", "rules", "safeguards"],
            *["schedules", "screenings", "targets", "tunings"],
        ],
        (1, ""),
    ),
    **dict.fromkeys(["accounts", "amendments", "carriers", "courses", "measurements", "records", "runs"], (2, "")),
    **dict.fromkeys(["contamination", "resemblances"], (2, "")),
    **dict.fromkeys(["ledger", "launchers", "overrides", "searches", "sweeps", "progress", "tuners"], (3, "west")),
    **dict.fromkeys(["stats", "readers"], (3, "east")),
    **dict.fromkeys(["drives", "engine", "jobs", "locks"], (4, "west")),
    "report": (4, "east"),
    **dict.fromkeys(
        [
            *["commands", "driving", "expectations", "judgements", "noises", "previews", "plugin"],
            *["revisions", "states"],
            *["__main__", "__init__", "testing"],
        ],
        (5, ""),
    ),
}
APART = {"training", "zoo"}  # one trial: knows neither plans nor statistics
OWN_ROOM = {
    "optuna": {"ledger", "searches", "readers"},
    "pebble": {"launchers"},
    "lightning": APART,
    "torch": APART,
    "torchmetrics": APART,
    "lm_eval": {"zoo"},
    "matplotlib": {"report"},
}
MODULES = sorted(HOUSE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    """The syntax of a module without what stands under `if TYPE_CHECKING`."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(module):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    return module


def imports(path: Path, *, lazy: bool = True) -> set[str]:
    """Dotted names that a module imports, with or without those inside functions."""
    found: set[str] = set()
    for node in ast.walk(tree(path)) if lazy else tree(path).body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: import by full name"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(names: set[str]) -> set[str]:
    """The rooms of the house among imported names."""
    return {name.split(".")[1] for name in names if name.startswith("ablate.")} & (ROOMS.keys() | APART)


def test_every_module_has_a_room_on_the_plan():
    assert {room(path) for path in MODULES} <= ROOMS.keys() | APART


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_imports_go_down_only(path):
    here = room(path)
    if here in APART:
        assert own(imports(path)) <= {*APART, "errors", "signals", "contamination"}
        return
    floor, side = ROOMS[here]
    for other in own(imports(path)) - {here}:
        if other in APART:
            assert here in ("__main__", "testing"), f"{here} imports {other}: without it the house must stand"
            continue
        assert ROOMS[other][0] <= floor, f"{here} (floor {floor}) imports {other} from above"
        assert floor == 5 or {side, ROOMS[other][1]} != {"east", "west"}, f"{here} imports {other} from the other side"


def test_no_module_imports_itself_in_a_circle():
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in MODULES}
    graph = {}
    for name, path in names.items():
        found = imports(path, lazy=False)
        graph[name] = {m for m in names for i in found if i == m or i.rpartition(".")[0] == m} - {name}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


@pytest.mark.parametrize("library", OWN_ROOM)
def test_a_heavy_library_lives_in_one_room(library):
    guests = {room(p) for p in MODULES if any(name.split(".")[0] == library for name in imports(p))}
    assert guests <= OWN_ROOM[library]


def test_the_ground_floors_need_only_the_standard_library():
    for path in MODULES:
        if ROOMS.get(room(path), (9, ""))[0] <= 1:
            outside = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"ablate"}
            if room(path) == "optima":  # linear algebra, inside the functions that need it
                outside -= {"numpy"} - {name.split(".")[0] for name in imports(path, lazy=False)}
            assert not outside, f"{path.name} imports {outside}"


def test_every_imported_library_is_a_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = project["optional-dependencies"]  # of which the house itself imports these
    lines = [*project["dependencies"], *extra["contamination"], *extra["energy"], *extra["lm"]]
    declared = {re.match(r"[\w-]+", line)[0] for line in lines}
    imported = {name.split(".")[0] for path in MODULES for name in imports(path)}
    outside = imported - sys.stdlib_module_names - {"ablate", "hydra_plugins"}
    named = {
        "hydra": "hydra-core",
        "sklearn": "scikit-learn",
        "markupsafe": "jinja2",
        "imagehash": "ImageHash",
        "PIL": "pillow",
        "lm_eval": "lm-eval",
        "pynvml": "nvidia-ml-py",
    }  # markupsafe: what jinja2 is made of
    missing = {library for library in outside if named.get(library, library) not in declared}
    assert not missing, f"imported, but not in pyproject.toml: {missing}"
    explained = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    extras = project["optional-dependencies"]
    for name in declared | extras.keys():
        assert re.search(rf"\b{name}\b", explained), f"CONTRIBUTING.md does not say why {name} is there"


def test_objects_are_built_from_configs_in_one_place():
    """`_target_` runs what it names: one door, so that one allow-list can stand at it."""
    doors = {"hydra.utils.instantiate", "hydra.utils.call", "hydra.utils.get_class", "hydra.utils.get_method"}
    users = [str(path.relative_to(HOUSE)) for path in MODULES if imports(path) & {*doors, "hydra.utils"}]
    assert len(users) == 1, f"objects are built from configs in {users}"
    assert users[0].startswith("training/")


def test_hydra_finds_doors_that_carry_nothing():
    """Hydra executes every plugin module without an underscore in every Hydra app of the environment."""
    for path in (HOUSE / "plugin").rglob("*.py"):
        assert not (path.parent.name == "hydra_plugins" and path.name == "__init__.py"), "it is a namespace"
        if not path.name.startswith("_"):
            outside = {name.split(".")[0] for name in imports(path, lazy=False)}
            assert outside - sys.stdlib_module_names <= {"hydra", "omegaconf"}, path
            assert "__future__" not in outside, f"{path}: postponed annotations break Hydra's scan"


# --- front page ------------------------------------------------------------------------------------------------------


def test_the_front_page_is_complete():
    assert set(dir(ablate)) == {*ablate.__all__, "__version__"}
    assert sorted(ablate.__all__) == ablate.__all__
    first = ast.parse((HOUSE / "__init__.py").read_text(encoding="utf-8"))
    typed = {a.asname for n in ast.walk(first) if isinstance(n, ast.ImportFrom) for a in n.names if a.asname}
    assert typed == set(ablate.__all__), "what a type checker sees is what there is"
    said = set(re.findall(r"\w+", ablate.__doc__.split("Verbs:")[1])) - {"Nouns"}
    assert said == set(ablate.__all__), "the docstring names every verb and noun, and nothing else"
    with pytest.raises(AttributeError, match="no attribute 'atribute'"):
        ablate.atribute  # noqa: B018 - looking it up is the test


@pytest.mark.parametrize("name", ablate.__all__)
def test_every_public_name_is_documented_with_all_its_parameters(name):
    thing = getattr(ablate, name)
    assert thing.__module__ in {f"ablate.{m}" for m in ("plans", "driving", "engine", "factors", "records")} | {
        "ablate.report.tables",
        "ablate.stats.attribution",
        "ablate.stats.effects",
    }
    text = inspect.getdoc(thing)
    assert text
    for parameter in inspect.signature(thing).parameters:
        assert re.search(rf"\b{parameter}\b", text), f"{name}: {parameter} is not explained"
    if inspect.isclass(thing):
        for attribute, value in vars(thing).items():
            if not attribute.startswith("_") and (callable(value) or isinstance(value, property | classmethod)):
                assert inspect.getdoc(getattr(thing, attribute)), f"{name}.{attribute} is not explained"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_every_module_and_public_function_says_what_it_is(path):
    module = tree(path)
    assert ast.get_docstring(module), f"{path}: a module opens with a sentence on what it holds"
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}: {node.name} says nothing"


def test_the_version_stands_in_the_package_and_its_metadata_alike():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == ablate.__version__
    assert f"[{ablate.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- light switch ----------------------------------------------------------------------------------------------------

HEAVY = ["torch", "lightning", "statsmodels", "matplotlib", "sklearn"]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import ablate", [*HEAVY, "hydra", "omegaconf", "optuna", "scipy", "pandas", "numpy"]),
        ("import ablate; ablate.plan({'a': [1, 2]})", [*HEAVY, "hydra", "optuna", "scipy", "pandas"]),
        ("import ablate; ablate.Records; ablate.run", [*HEAVY, "hydra", "scipy"]),
        ("import ablate.sweeps, ablate.commands", HEAVY),
    ],
)
def test_what_is_not_needed_is_not_imported(statement, absent):
    code = f"{statement}\nimport sys\nprint(*(set({absent!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []


def test_the_light_goes_on_in_under_a_second():
    code = "import time; start = time.perf_counter(); import ablate; print(time.perf_counter() - start)"
    seconds = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT).stdout)
        for _ in range(3)
    )
    assert seconds < 1, f"import ablate took {seconds:.2f} s"


def test_no_file_knows_the_machine_it_was_written_on():
    own_files = [
        p for folder in ("ablate", "conf", "tests", "studies", "notebooks", "docs") for p in (ROOT / folder).rglob("*")
    ]
    own_files += [*ROOT.glob("*.*"), ROOT / "Makefile", ROOT / ".ci" / "run"]
    kinds = {".py", ".yaml", ".md", ".toml", ".txt", ".ipynb", ".json", ".csv", ".html", ".tex", ""}
    paths = re.compile("|".join(f"(?<![\\w.])/{top}/" for top in ("work", "root", "home/[a-z]+", "Users")))
    for path in own_files:
        if path.is_file() and path.suffix in kinds and "runs" not in path.relative_to(ROOT).parts:
            found = paths.search(path.read_text(encoding="utf-8", errors="replace"))
            assert not found, f"{path.relative_to(ROOT)}: {found}"
