"""A hand-written training step of the multilayer perceptron for the CPU.

Autograd makes a graph and new tensors at every step. Here the same arithmetic is laid out once for
each batch size, as a list of torch kernels with the buffers they read and write, and a step calls
them in order.

A bias is the weight of an input that is always 1. So each layer has one *block*, (outputs,
inputs + 1): its weight, with its bias as the last column. A layer's input is stored as
(inputs + 1, batch) with a constant last row. One matrix product then replaces two kernels: in the
forward pass it adds the bias as well, and in the backward pass it computes both gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ae_cli.config import Loss
from ae_cli.models import AutoEncoder
from ae_cli.training.kernels import KERNELS, PRODUCTS_PER_THREAD, Program
from ae_cli.training.optimizer import Adam, Moments

_aten = torch.ops.aten


class _Pass(NamedTuple):
    """A pass from images to gradients, for one batch size.

    Attributes:
        images: (batch, input_size), from 0 to 255: to be filled before the pass.
        kernels: To be called in order.
        loss: (), the loss summed over images and pixels, after the pass.
    """

    images: Tensor
    kernels: list[Callable[[], object]]
    loss: Tensor


class FusedStep:
    """Optimisation steps with Adam. The model's parameters become views of one flat tensor.

    A step may change torch's number of threads, and does not restore it.

    Args:
        model: On the CPU; float32, or float64 for comparison.
        loss: What to minimise, as a mean over pixels.

    Attributes:
        optimizer: Adam for the one flat tensor.
        moments: Adam's moments, as views in the order of the model's parameters.
    """

    def __init__(self, model: AutoEncoder, loss: Loss) -> None:
        self._loss = loss
        self._activation = KERNELS[model.config.activation]
        linears = [part for part in model.modules() if isinstance(part, nn.Linear)]
        shapes = [(outputs, inputs + 1) for inputs, outputs in pairwise(model.config.sizes)]
        parameters = linears[0].weight.detach().new_empty(sum(map(math.prod, shapes)))
        gradients = torch.zeros_like(parameters)
        self._blocks = _split(parameters, shapes)
        self._block_gradients = _split(gradients, shapes)
        for linear, block in zip(linears, self._blocks, strict=True):
            block[:, :-1] = linear.weight.detach()
            block[:, -1] = linear.bias.detach()
            linear.weight.data = block[:, :-1]
            linear.bias.data = block[:, -1]
        self._flat_gradients = [gradients]
        self.optimizer = Adam([parameters])
        self.moments = Moments(
            *(_weights_and_biases(_split(flat, shapes)) for (flat,) in self.optimizer.moments)
        )
        self._passes: dict[int, _Pass] = {}
        self._threads = torch.get_num_threads()  # from OMP_NUM_THREADS, or one per core

    def __call__(self, images: Tensor, lr: float) -> Tensor:
        """Take one step.

        Args:
            images: uint8 (batch, channels, height, width).
            lr: Learning rate.

        Returns:
            (): the loss, summed over images and pixels. The next step overwrites it.
        """
        # Cheaper than no_grad: torch skips all autograd bookkeeping.
        with torch.inference_mode():
            loss = self._differentiate(images)
            self.optimizer.update(self._flat_gradients, lr)
        return loss

    def gradients(self, images: Tensor) -> list[Tensor]:
        """The gradients of the mean loss, in the order of the model's parameters; takes no step."""
        with torch.inference_mode():
            self._differentiate(images)
        return _weights_and_biases(self._block_gradients)

    def _differentiate(self, images: Tensor) -> Tensor:
        batch = len(images)
        if batch not in self._passes:  # there may be two sizes, as the last batch is often smaller
            self._passes[batch] = self._write_pass(batch)
        buffer, kernels, loss = self._passes[batch]
        buffer.copy_(images.flatten(1))
        for kernel in kernels:
            kernel()
        return loss

    def _write_pass(self, batch: int) -> _Pass:
        """Make the buffers for a batch size, and bind the kernels to them."""
        new = self._blocks[0].new_empty
        size = self._blocks[0].shape[1] - 1  # of an image
        # Within a step, kernels use either one thread or this number. With a third number, OpenMP
        # would end threads and start new ones.
        largest = batch * max(block.numel() for block in self._blocks)
        program = Program(max(1, min(self._threads, largest // PRODUCTS_PER_THREAD)))

        # Matrix products can multiply by a factor at no cost. They do two divisions: of pixels by
        # 255 (so the constant 1 beside them is 255), and of the loss's gradient by the number of
        # pixels.
        unit = 1 / 255
        x = new(batch, size + 1).fill_(255)
        images = x[:, :-1]

        # Forward. A layer's output is the next one's input, without the row of ones. The latents
        # have no activation, and that of the reconstruction is part of the loss.
        latent, last = len(self._blocks) // 2 - 1, len(self._blocks) - 1
        inputs, linears = [x.t()], []
        reconstruction = new(batch, size)
        for k, block in enumerate(self._blocks):
            output = reconstruction.t()
            if k < last:
                inputs.append(new(len(block) + 1, batch).fill_(1))
                output = inputs[-1][:-1]
            activated = k not in (latent, last)
            keep = activated and self._activation.needs_linear
            linear = torch.empty_like(output) if keep else output
            program.then_multiply(block, inputs[k], unit if k == 0 else 1, out=linear)
            if activated:
                program.then(self._activation.forward, linear, out=output)
            linears.append(linear)

        # The loss, and delta: its gradient with respect to the logits, up to a constant factor.
        loss = new(())
        delta = new(batch, size)
        flat = delta.view(-1)
        if self._loss == "mse":  # (y - x)², with the gradient 2 (y - x) y (1 - y)
            program.then(torch.sigmoid, reconstruction, out=reconstruction)
            program.then(torch.sub, reconstruction, images, alpha=unit, out=delta)
            program.then(torch.dot, flat, flat, out=loss)
            program.then(_aten.sigmoid_backward.grad_input, delta, reconstruction, grad_input=delta)
        else:  # log(1 + exp(z)) - x z for logits z, with the gradient sigmoid(z) - x
            program.then(_aten.softplus.out, reconstruction, out=delta)
            program.then(delta.addcmul_, images, reconstruction, value=-unit)
            program.then(torch.sum, flat, 0, out=loss)
            program.then(torch.sigmoid, reconstruction, out=reconstruction)
            program.then(torch.sub, reconstruction, images, alpha=unit, out=delta)

        # Backward. Each gradient, (size, batch), is with respect to the layer's linear part.
        gradient, factor = delta.t(), (2 if self._loss == "mse" else 1) / flat.numel()
        for k in range(last, -1, -1):
            by_block = self._block_gradients[k]
            by_input = factor * unit if k == 0 else factor
            program.then_multiply(gradient, inputs[k].t(), by_input, out=by_block)
            if k == 0:
                break
            before = new(len(self._blocks[k - 1]), batch)
            program.then_multiply(self._blocks[k][:, :-1].t(), gradient, factor, out=before)
            if k - 1 != latent:
                kept = linears[k - 1] if self._activation.needs_linear else inputs[k][:-1]
                program.then(self._activation.backward, before, kept, grad_input=before)
            gradient, factor = before, 1
        return _Pass(images, program.finish(), loss)


def _split(flat: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Split a flat tensor into matrices, which are views of it."""
    parts = flat.split([math.prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _weights_and_biases(blocks: Sequence[Tensor]) -> list[Tensor]:
    """The weights and biases in blocks, as views, in the order of the model's parameters."""
    return [part for block in blocks for part in (block[:, :-1], block[:, -1])]
