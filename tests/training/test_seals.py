"""The seal: what would open a test set on purpose is refused while a trial tunes, and only then."""

import pytest

from ablate.errors import TrialError
from ablate.training.seals import require_open, seal


def test_a_test_set_is_closed_while_a_trial_tunes_and_open_again_after():
    require_open("data")
    with pytest.raises(TrialError, match="while nuisances are tuned"), seal():
        require_open("data.changes")
    require_open("data")
