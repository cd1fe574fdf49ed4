"""What the tests of the report share: one study that was tuned and run for real."""

import pytest

from tests.report.studies import write_tuned_study


@pytest.fixture(scope="session")
def tuned(tmp_path_factory):
    """Its folder; nobody writes into it."""
    return write_tuned_study(tmp_path_factory.mktemp("tuned") / "study")
