"""The training step with torch's autograd, for every model and device."""

from __future__ import annotations

import torch
from torch import Tensor

from ae_cli.config import Loss
from ae_cli.data.images import scale
from ae_cli.models import AutoEncoder, supports_half
from ae_cli.models.objectives import choose_objective
from ae_cli.training.optimizer import Adam


class AutogradStep:
    """Optimisation steps with Adam and torch's autograd: for any device, and for comparison.

    Args:
        model: On any device.
        loss: What to minimise, as a mean over pixels.

    Attributes:
        optimizer: Adam for the model's parameters.
        moments: Adam's moments.
    """

    def __init__(self, model: AutoEncoder, loss: Loss) -> None:
        self._model, self._objective = model, choose_objective(loss)
        self._parameters = list(model.parameters())
        device = self._parameters[0].device
        self._autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=model.may_use_half and supports_half(device)
        )
        self.optimizer = Adam(self._parameters)
        self.moments = self.optimizer.moments

    def __call__(self, images: Tensor, lr: float) -> Tensor:
        """Take one step.

        Args:
            images: uint8 (batch, channels, height, width), on the model's device.
            lr: Learning rate.

        Returns:
            (): the loss, summed over images and pixels.
        """
        x = scale(images)
        with self._autocast:
            loss = self._objective.loss(self._model, x)
        self.optimizer.update(torch.autograd.grad(loss, self._parameters), lr)
        return loss.detach() * x.numel()
