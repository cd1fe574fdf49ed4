"""Somebody's Hydra app: it knows nothing of studies, and nothing in it was changed."""

import os
import random
import signal
import time

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig


@hydra.main(version_base="1.3", config_path="conf", config_name="app")
def train(cfg: DictConfig) -> object:
    """A loss that the deep model and the small learning rate lower; a float, or a mapping of metrics."""
    rng = random.Random(f"{cfg.model.name} {cfg.lr} {cfg.seed}")
    print("output goes to", HydraConfig.get().runtime.output_dir)
    time.sleep(cfg.pause)
    if cfg.kill and cfg.model.name == "deep" and cfg.seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.fail and cfg.model.name == "deep" and cfg.seed == 1:
        raise RuntimeError("no convergence")
    loss = 1 / cfg.model.depth + cfg.lr + rng.gauss(0, 0.01)
    return {"loss": loss, "steps": cfg.model.depth * 10} if cfg.mapping else loss


if __name__ == "__main__":
    train()
