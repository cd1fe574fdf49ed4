"""Ablation studies: which of my changes caused the gain, how sure am I, and does it hold elsewhere?

    import ablate as ab

    plan = ab.plan({"data": ["raw", "clean"], "size": ["small", "large"]}, seeds=5, metric="accuracy")
    records = ab.run(plan, task)        # task(trial) -> a number, {metric: number}, or rows per domain
    effects = ab.attribute(records)     # estimates, intervals, corrected tests, verdicts
    ab.table(effects)                   # the ablation table

Verbs: plan run load attribute table. Nouns: Factor Plan Records Effects Table.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablate.driving import run as run
    from ablate.engine import load as load
    from ablate.factors import Factor as Factor
    from ablate.plans import Plan as Plan
    from ablate.plans import plan as plan
    from ablate.records import Records as Records
    from ablate.report.tables import Table as Table
    from ablate.report.tables import table as table
    from ablate.stats.attribution import attribute as attribute
    from ablate.stats.effects import Effects as Effects

__version__ = "0.1.0"
__all__ = ["Effects", "Factor", "Plan", "Records", "Table", "attribute", "load", "plan", "run", "table"]

# Names are looked up when first used, so that `import ablate` stays under a second.
_HOME = {
    "Effects": "ablate.stats.effects",
    "Factor": "ablate.factors",
    "Plan": "ablate.plans",
    "Records": "ablate.records",
    "Table": "ablate.report.tables",
    "attribute": "ablate.stats.attribution",
    "load": "ablate.engine",
    "plan": "ablate.plans",
    "run": "ablate.driving",
    "table": "ablate.report.tables",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'ablate' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
