"""One trial: the user's LightningModule on the user's data, seeded, fitted, measured on every domain, and its cost."""

from ablate.training.audits import audit, fingerprint_training
from ablate.training.trials import preflight, preflight_search, run_trial, validate_trial

__all__ = ["audit", "fingerprint_training", "preflight", "preflight_search", "run_trial", "validate_trial"]
