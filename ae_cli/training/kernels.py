"""The kernels of the fused step, and the list of them that a step calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ae_cli.config import Activation

# Multiplications that keep a thread busy for about 10 µs, several times what waking it up costs
PRODUCTS_PER_THREAD = 1_000_000

_aten = torch.ops.aten


class Kernels(NamedTuple):
    """The kernels of an activation function.

    Attributes:
        forward: Takes the layer's linear part, and writes the activation to ``out``.
        backward: Takes the gradient with respect to the activation's output, and that output or the
            linear part; writes the gradient with respect to the linear part to ``grad_input``.
        needs_linear: Whether `backward` takes the linear part, which must then be kept.
    """

    forward: Callable[..., object]
    backward: Callable[..., object]
    needs_linear: bool


def _relu_backward(gradient: Tensor, output: Tensor, *, grad_input: Tensor) -> None:
    _aten.threshold_backward.grad_input(gradient, output, 0, grad_input=grad_input)


KERNELS: dict[Activation, Kernels] = {
    "tanh": Kernels(torch.tanh, _aten.tanh_backward.grad_input, needs_linear=False),
    "relu": Kernels(_aten.relu.out, _relu_backward, needs_linear=False),
    "silu": Kernels(_aten.silu.out, _aten.silu_backward.grad_input, needs_linear=True),
    "gelu": Kernels(_aten.gelu.out, _aten.gelu_backward.grad_input, needs_linear=True),
}


class Program:
    """A list of kernels with their arguments, to be called in order at every step.

    Args:
        threads: Number of threads for the larger kernels.
    """

    def __init__(self, threads: int) -> None:
        self._most = self._threads = threads
        self._kernels: list[Callable[[], object]] = []
        self.then(torch.set_num_threads, threads)

    def then(self, kernel: Callable[..., object], *arguments: object, **options: object) -> None:
        """Add a kernel."""
        self._kernels.append(partial(kernel, *arguments, **options))

    def then_multiply(self, a: Tensor, b: Tensor, factor: float = 1, *, out: Tensor) -> None:
        """Add `out` = `factor` × `a` @ `b`. Later kernels run with the same number of threads."""
        worth = a.numel() * b.shape[1] >= 2 * PRODUCTS_PER_THREAD
        self._then_threads(self._most if worth else 1)
        if factor == 1:
            self.then(torch.mm, a, b, out=out)
        else:
            self.then(torch.addmm, out, a, b, beta=0, alpha=factor, out=out)

    def finish(self) -> list[Callable[[], object]]:
        """The kernels, which end with the number of threads that they start with."""
        self._then_threads(self._most)
        return self._kernels

    def _then_threads(self, threads: int) -> None:
        if threads != self._threads:
            self.then(torch.set_num_threads, threads)
            self._threads = threads
