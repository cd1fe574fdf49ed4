"""Shifts of picture test sets: dataset -> dataset, the same pictures changed in one way at a stated severity.

Each takes a dataset of (picture, label) with pictures (1, height, width) in [0, 1] and gives one of the same length.
What is random in a shift is drawn from the seed in its definition, never from a trial's: all trials see the same items.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

Pictures = Dataset[tuple[Tensor, Tensor]]
Array = NDArray[np.float64]
SEED = 20  # of every random shift


def add_noise(dataset: Pictures, sd: float) -> TensorDataset:
    """Gaussian noise of standard deviation `sd`, clipped to [0, 1]."""
    x, labels = _arrays(dataset)
    return _dataset(x + np.random.default_rng(SEED).normal(0, sd, x.shape), labels)


def blur(dataset: Pictures, sd: float) -> TensorDataset:
    """Gaussian blur, `sd` in pixels."""
    x, labels = _arrays(dataset)
    return _dataset(ndimage.gaussian_filter(x, (0, sd, sd)), labels)


def lower_contrast(dataset: Pictures, factor: float) -> TensorDataset:
    """Every pixel moved towards its picture's mean: distance times `factor`."""
    x, labels = _arrays(dataset)
    mean = x.mean((1, 2), keepdims=True)
    return _dataset(mean + factor * (x - mean), labels)


def occlude(dataset: Pictures, side: int) -> TensorDataset:
    """A black square of `side` pixels somewhere in each picture."""
    x, labels = _arrays(dataset)
    rng = np.random.default_rng(SEED)
    n, height, width = x.shape
    tops, lefts = rng.integers(0, height - side + 1, n), rng.integers(0, width - side + 1, n)
    for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
        x[i, top : top + side, left : left + side] = 0
    return _dataset(x, labels)


def rotate(dataset: Pictures, degrees: float) -> TensorDataset:
    """Turned by `degrees`, every second picture the other way."""
    x, labels = _arrays(dataset)
    turned = [ndimage.rotate(p, degrees * (-1) ** i, reshape=False, order=1) for i, p in enumerate(x)]
    return _dataset(np.stack(turned), labels)


def rescale(dataset: Pictures, factor: float) -> TensorDataset:
    """Shrunk (`factor` below 1) or grown about the centre, on a canvas of the same size."""
    x, labels = _arrays(dataset)
    centre = (np.array(x.shape[1:]) - 1) / 2
    offset = centre - centre / factor
    scaled = [ndimage.affine_transform(p, np.eye(2) / factor, offset, order=1) for p in x]
    return _dataset(np.stack(scaled), labels)


def deform(dataset: Pictures, pixels: float) -> TensorDataset:
    """Elastic deformation: a smooth random field that moves the average pixel by about `pixels` (Simard 2003)."""
    x, labels = _arrays(dataset)
    rng = np.random.default_rng(SEED)
    fields = ndimage.gaussian_filter(rng.uniform(-1, 1, (len(x), 2, *x.shape[1:])), (0, 0, 1.5, 1.5))
    fields *= pixels / np.hypot(fields[:, 0], fields[:, 1]).mean()
    grid = np.indices(x.shape[1:], dtype=float)
    moved = [ndimage.map_coordinates(p, grid + f, order=1) for p, f in zip(x, fields, strict=True)]
    return _dataset(np.stack(moved), labels)


def change_stroke(dataset: Pictures, strength: float) -> TensorDataset:
    """Thicker strokes (`strength` above 0: blended with a grey dilation) or thinner ones (below 0: an erosion)."""
    x, labels = _arrays(dataset)
    footprint = ndimage.generate_binary_structure(2, 1)[None]
    operate = ndimage.grey_dilation if strength > 0 else ndimage.grey_erosion
    changed = operate(x, footprint=footprint)
    return _dataset((1 - abs(strength)) * x + abs(strength) * changed, labels)


def _arrays(dataset: Pictures) -> tuple[Array, Tensor]:
    """Pictures (n, height, width) as a new array, and labels."""
    size = len(dataset)  # type: ignore[arg-type]  # a sized dataset; Dataset itself declares no length
    pictures, labels = zip(*(dataset[i] for i in range(size)), strict=True)
    return torch.stack(pictures).squeeze(1).numpy().astype(float), torch.stack(labels)


def _dataset(pictures: Array, labels: Tensor) -> TensorDataset:
    return TensorDataset(torch.from_numpy(pictures.clip(0, 1)).float().unsqueeze(1), labels)
