"""Ways to use a trained module, as a stranger would write them."""

import torch
from lightning.pytorch import LightningModule


def invert(model: LightningModule) -> LightningModule:
    """The module with every weight of the other sign: what it liked best it likes least."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.neg_()
    return model
