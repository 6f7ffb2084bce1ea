"""The training step with torch's autograd, for every model and device."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from ae_cli.config import TrainConfig
from ae_cli.data.images import scale
from ae_cli.models import AutoEncoder, supports_half
from ae_cli.models.objectives import Objective, Random
from ae_cli.processes import Team
from ae_cli.training.optimizer import Adam


class AutogradStep:
    """Optimisation steps with Adam and torch's autograd: for any device, and for comparison.

    Args:
        model: On any device.
        config: How it is trained.
        team: The processes that share each batch; by default this one alone.

    Attributes:
        optimizer: Adam for the model's parameters.
        moments: Adam's moments.
    """

    def __init__(self, model: AutoEncoder, config: TrainConfig, team: Team | None = None) -> None:
        self._model, self._objective, self._team = model, Objective(config), team or Team()
        self._parameters = list(model.parameters())
        device = self._parameters[0].device
        self._autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=model.may_use_half and supports_half(device)
        )
        self.optimizer = Adam(self._parameters)
        self.moments = self.optimizer.moments
        self._random = torch.Generator(device)
        self._is_random = bool(config.denoise) or model.config.variational

    def __call__(self, images: Tensor, lr: float, key: tuple[int, ...]) -> Tensor:
        """Take one step.

        Args:
            images: uint8 (batch, channels, height, width), on the model's device.
            lr: Learning rate.
            key: Decides the noise, if the objective has any.

        Returns:
            (): the loss, summed over images and pixels.
        """
        share = self._team.place.share(len(images))
        x = scale(images[share])
        weight = len(x) / len(images)
        if self._is_random:
            # numpy mixes the numbers, of which torch's CPU generator keeps 32 bits only.
            self._random.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        random = Random(self._random, len(images), share)
        with self._autocast:
            loss = self._objective.loss(
                self._model, x, random, partial(self._team.average, weight=weight)
            )
        own = torch.autograd.grad(loss, self._parameters)
        gradients, total = self._team.add(own, loss.detach() * x.numel(), weight)
        self.optimizer.update(gradients, lr)
        return total
