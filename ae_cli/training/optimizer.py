"""Adam with torch's own fused kernel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Moments(NamedTuple):
    """Adam's running averages of the gradients, shaped like the parameters and in their order.

    Attributes:
        first: Running means of the gradients.
        second: Running means of their squares.
    """

    first: list[Tensor]
    second: list[Tensor]


class Adam:
    """Adam (Kingma and Ba, 2015, algorithm 1), as ``torch.optim.Adam(fused=True)`` computes it.

    It calls the same kernel. The class in ``torch.optim`` is not used because it imports
    ``torch._dynamo`` when it is first instantiated, which takes longer than an epoch on MNIST.

    Args:
        parameters: The parameters to optimise, contiguous, of any shapes, on one device.

    Attributes:
        moments: The moments of the parameters.
        count: float32 (), the steps taken.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = [parameter.detach() for parameter in parameters]
        self.moments = Moments(*([torch.zeros_like(p) for p in self._parameters] for _ in range(2)))
        # The kernel wants a count for each parameter: they all share one.
        self.count = torch.zeros((), dtype=torch.float32, device=self._parameters[0].device)
        self._counts = [self.count] * len(self._parameters)

    def update(self, gradients: Sequence[Tensor], lr: float) -> None:
        """Update the parameters in place.

        Args:
            gradients: Shaped like the parameters and in their order.
            lr: Learning rate.
        """
        self.count += 1
        torch._fused_adam_(
            self._parameters,
            # The kernel reads memory in order, and gradients of convolutions may be strided in
            # another way than their weights.
            [gradient.contiguous() for gradient in gradients],
            *self.moments,
            [],
            self._counts,
            lr=lr,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )
