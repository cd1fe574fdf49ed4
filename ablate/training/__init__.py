"""One trial: the user's LightningModule on the user's data, seeded, fitted, tested on every domain, and its cost."""

from ablate.training.trials import preflight, run_trial

__all__ = ["preflight", "run_trial"]
