"""Configs of small trials made of the stranger's parts."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

MOVED = {"_target_": "stranger.Moved", "by": 5.0}


def trial_config(
    data: str | dict[str, Any] = "Points",
    model: str = "Corners",
    *,
    seed: Any = 0,
    domains: Any = None,
    trainer: dict[str, Any] | None = None,
    **arguments: Any,
) -> DictConfig:
    """A trial of five epochs; `data` is a class or a class with arguments, `arguments` are the model's."""
    given = data if isinstance(data, dict) else {"_target_": data}
    return OmegaConf.create(
        {
            "seed": seed,
            "data": {**given, "_target_": f"stranger.{given['_target_']}"},
            "model": {"_target_": f"stranger.{model}", **arguments},
            "trainer": {"accelerator": "cpu", "max_epochs": 5, **(trainer or {})},
            "domains": domains,
        }
    )


def scores(rows: list[dict[str, Any]], metric: str = "hits") -> dict[str, float]:
    """Value by `domain/shift` of one metric."""
    return {f"{r['domain']}/{r['shift']}": r["value"] for r in rows if r["metric"] == metric}


def measured(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of domains, without the costs, which are never the same twice."""
    return [r for r in rows if r["domain"] != "all"]
