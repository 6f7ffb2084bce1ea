"""The recipe as in a tutorial, for comparison: a loader, one image at a time, and autograd.

Run as a program (``python -m tests.benchmarks.tutorial FOLDER``), it does what a user would run
instead of ``ae train``, and prints the loop's seconds and the error on the test images as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader

EPOCHS = 10
BATCH_SIZE = 64
LEARNING_RATE = 0.005


class Tutorial:
    """The model, its optimizer and its data."""

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.train, self.test = (
            torchvision.datasets.MNIST(
                folder, train=train, transform=torchvision.transforms.ToTensor()
            )
            for train in (True, False)
        )
        self.loader = DataLoader(self.train, batch_size=BATCH_SIZE, shuffle=True)
        sizes = (784, 128, 64, 12, 3)
        self.encoder = nn.Sequential(*_layers(sizes))
        self.decoder = nn.Sequential(*_layers(sizes[::-1]), nn.Sigmoid())
        self.loss_function = nn.MSELoss()
        self.optimizer = torch.optim.Adam(
            [*self.encoder.parameters(), *self.decoder.parameters()], lr=LEARNING_RATE
        )

    def run_epoch(self) -> float:
        """Train on every image once; return the mean loss over the steps."""
        losses = []
        for image, _ in self.loader:
            x = image.view(-1, 784)
            decoded = self.decoder(self.encoder(x))
            loss = self.loss_function(decoded, x)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).mean().item()

    def test_error(self) -> float:
        """The mean reconstruction error over the test images."""
        x = self.test.data.view(-1, 784) / 255
        with torch.no_grad():
            return self.loss_function(self.decoder(self.encoder(x)), x).item()


def _layers(sizes: tuple[int, ...]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    return layers[:-1]


def main() -> None:
    tutorial = Tutorial(Path(sys.argv[1]))
    started = time.perf_counter()
    for _ in range(EPOCHS):
        tutorial.run_epoch()
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "test_error": tutorial.test_error()}))


if __name__ == "__main__":
    main()
