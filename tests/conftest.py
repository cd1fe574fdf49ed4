"""Settings for every test: one numerical thread, no window, and hypothesis without a stop-watch."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Set here, before the first test module imports numpy, torch or matplotlib.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")

settings.register_profile("default", deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", settings.get_profile("default"), max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where processes share the run, let one import torch and Lightning, and one write reports: each takes seconds."""
    for item in items:
        if item.nodeid.startswith(("tests/training", "tests/zoo", "tests/test_conf")):
            item.add_marker(pytest.mark.xdist_group("torch"))
        elif item.nodeid.startswith(("tests/report/test_reports", "tests/report/test_figures")):
            item.add_marker(pytest.mark.xdist_group("report"))
