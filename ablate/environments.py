"""Where a trial ran: interpreter, packages, processor, accelerator, code commit, digests of source files."""

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

# Packages whose version can change what a training computes.
PACKAGES = ("ablate-studies", "lightning", "numpy", "scikit-learn", "scipy", "torch", "torchmetrics")


@cache
def packages() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result; read from metadata, nothing is imported."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def hardware() -> str:
    """The processor and, where torch is loaded and sees one, the accelerator, with the threads in use."""
    processor = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        processor = names[0] if names else processor
    threads = os.environ.get("OMP_NUM_THREADS") or str(os.cpu_count())
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {processor}"
    return f"{processor}, {threads} thread(s)"


@cache
def commit(folder: Path) -> dict[str, Any]:
    """The git commit of a folder and whether its tracked files differ from it; empty outside a repository."""
    try:
        head = _git(folder, "rev-parse", "HEAD")
        return {"commit": head, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()


def sources(modules: Iterable[str], search: Iterable[Path] = ()) -> dict[str, str]:
    """SHA-256 of the source files behind top-level modules that are no installed packages.

    Nothing is imported. A package counts with all its Python files. Packages have versions; see `packages`.

    Args:
        modules: dotted names; their first part is looked up.
        search: folders to look in before `sys.path`.
    """
    found: dict[str, str] = {}
    path = [*map(str, search), *sys.path]
    for name in sorted({module.partition(".")[0] for module in modules}):
        spec = PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None or name == "ablate":
            continue
        origin = Path(spec.origin)
        if not origin.is_file() or "site-packages" in origin.parts or origin.is_relative_to(sys.base_prefix):
            continue
        files = sorted(origin.parent.rglob("*.py")) if spec.submodule_search_locations else [origin]
        for file in files:
            found[f"{name}/{file.relative_to(origin.parent).as_posix()}"] = file_digest(file)
    return found


def file_digest(file: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def describe(provenance: dict[str, Any]) -> dict[str, Any]:
    """What a trial's record says of the process it ran in."""
    return {
        "packages": packages(),
        "platform": platform.platform(),
        "hardware": hardware(),
        "host": platform.node(),
        **{key: provenance[key] for key in ("commit", "dirty") if key in provenance},
    }
