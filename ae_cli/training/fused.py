"""A hand-written training step of the multilayer perceptron for the CPU.

Autograd makes a graph and new tensors at every step. Here the same arithmetic is laid out once for
each batch size, as a list of torch kernels with the buffers they read and write, and a step calls
them in order.

A bias is the weight of an input that is always 1. So each layer has one *block*, (outputs,
inputs + 1): its weight, with its bias as the last column. A layer's input is stored as
(inputs + 1, batch) with a constant last row. One matrix product then replaces two kernels: in the
forward pass it adds the bias as well, and in the backward pass it computes both gradients.

PCA as part of the model, which is not trained, takes part in the same products. Its two matrices
are in memory beside the first block and the last one: its rows above the first block's, and its
columns right of the last one's, whose input has the latents below.
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
from ae_cli.models.pca import LEAST_PIXEL, PcaAutoEncoder
from ae_cli.processes import Team
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


class _Values(NamedTuple):
    """What a pass computes on its way forward.

    Attributes:
        inputs: Of each layer, (inputs + 1, batch). Where PCA is part of the model, the last one
            has the latents below.
        linears: The linear part of each layer, (outputs, batch).
        reconstruction: The last of these as (batch, input_size): logits, or with PCA the pixels
            without the mean image.
    """

    inputs: list[Tensor]
    linears: list[Tensor]
    reconstruction: Tensor


class FusedStep:
    """Optimisation steps with Adam. The model's parameters become views of one flat tensor.

    A step may change torch's number of threads, and does not restore it.

    Args:
        model: On the CPU; float32, or float64 for comparison.
        loss: What to minimise, as a mean over pixels.
        team: The processes that share each batch; by default this one alone.

    Attributes:
        optimizer: Adam for the one flat tensor.
        moments: Adam's moments, as views in the order of the model's parameters.
    """

    def __init__(self, model: AutoEncoder, loss: Loss, team: Team | None = None) -> None:
        self._loss, self._team = loss, team or Team()
        self._activation = KERNELS[model.config.activation]
        self._pca = model if isinstance(model, PcaAutoEncoder) else None
        linears = [part for part in model.modules() if isinstance(part, nn.Linear)]
        self._shapes = [(outputs, inputs + 1) for inputs, outputs in pairwise(model.config.sizes)]
        count, size = sum(map(math.prod, self._shapes)), model.config.input_size
        # Where PCA's matrices are before and after the parameters
        rows = 0 if self._pca is None else model.config.latent_dim
        memory = linears[0].weight.detach().new_empty(rows * (size + 1) + count + rows * size)
        parameters = memory[rows * (size + 1) :][:count]
        gradients = torch.zeros_like(parameters)
        self._blocks = self._split(parameters)
        self._block_gradients = self._split(gradients)
        # What the layers' inputs are multiplied with, and by which factors besides
        self._matrices, self._scales = [*self._blocks], [1 / 255, *[1.0] * (len(linears) - 1)]
        if self._pca is not None:
            self._add_pca(self._pca, memory)
        for linear, block in zip(linears, self._blocks, strict=True):
            block[:, :-1] = linear.weight.detach()
            block[:, -1] = linear.bias.detach()
            linear.weight.data = block[:, :-1]
            linear.bias.data = block[:, -1]
        self._flat_gradients = [gradients]
        self.optimizer = Adam([parameters])
        self.moments = Moments(
            *(_weights_and_biases(self._split(flat)) for (flat,) in self.optimizer.moments)
        )
        self._passes: dict[int, _Pass] = {}
        self._threads = torch.get_num_threads()  # from OMP_NUM_THREADS, or one per core

    def __call__(self, images: Tensor, lr: float, key: tuple[int, ...] = ()) -> Tensor:
        """Take one step.

        Args:
            images: uint8 (batch, channels, height, width).
            lr: Learning rate.
            key: Not used: nothing here is random.

        Returns:
            (): the loss, summed over images and pixels. The next step overwrites it.
        """
        # Cheaper than no_grad: torch skips all autograd bookkeeping.
        share = self._team.place.share(len(images))
        with torch.inference_mode():
            if share.start < share.stop:
                loss = self._differentiate(images[share])
            else:  # a batch of fewer images than processes
                loss = self._flat_gradients[0].new_zeros(())
            weight = (share.stop - share.start) / len(images)
            gradients, loss = self._team.add(self._flat_gradients, loss, weight)
            self.optimizer.update(gradients, lr)
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
        # Within a step, kernels use either one thread or this number. With a third number, OpenMP
        # would end threads and start new ones.
        largest = batch * max(matrix.numel() for matrix in self._matrices)
        program = Program(max(1, min(self._threads, largest // PRODUCTS_PER_THREAD)))

        # Matrix products can multiply by a factor at no cost. They do the divisions: of pixels by
        # 255 and by their deviation (so the constant 1 beside them is the product of both), and of
        # the loss's gradient by the number of pixels.
        x = self._blocks[0].new_empty(batch, self._blocks[0].shape[1])
        x.fill_(1 / self._scales[0])
        images = x[:, :-1]
        if self._pca is not None:
            program.then(images.sub_, 255 * self._pca.encoder.mean.flatten())
        values = self._write_forward(program, x)
        loss, delta = self._write_loss(program, values.reconstruction, images)
        self._write_backward(program, values, delta)
        return _Pass(images, program.finish(), loss)

    @property
    def _latent(self) -> int:
        """The layer that has the latents as its output."""
        return len(self._blocks) // 2 - 1

    def _write_forward(self, program: Program, x: Tensor) -> _Values:
        """Compute every layer of a batch, (batch, input_size + 1)."""
        new, batch = x.new_empty, len(x)
        # A layer's output is the next one's input, without the row of ones. The latents have no
        # activation, and that of the reconstruction is part of the loss.
        inputs = [x.t(), *(new(m.shape[1], batch).fill_(1) for m in self._matrices[1:])]
        reconstruction = new(batch, len(self._blocks[-1]))
        last, linears = len(self._blocks) - 1, []
        for k, block in enumerate(self._blocks):
            output = inputs[k + 1][: len(block)] if k < last else reconstruction.t()
            activated = k not in (self._latent, last)
            keep = activated and self._activation.needs_linear
            linear = product = torch.empty_like(output) if keep else output
            if k == 0 and self._pca is not None:
                product = new(len(self._matrices[0]), batch)
                pca, linear = product[: -len(output)], product[-len(output) :]
            program.then_multiply(self._matrices[k], inputs[k], self._scales[k], out=product)
            if activated:
                program.then(self._activation.forward, linear, out=output)
            elif k == self._latent and self._pca is not None:
                program.then(torch.add, linear, pca, out=output)
                program.then(inputs[-1][-len(output) :].copy_, output)
            linears.append(linear)
        return _Values(inputs, linears, reconstruction)

    def _write_loss(
        self, program: Program, reconstruction: Tensor, images: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Compute the loss and its gradient.

        Args:
            program: What computes them.
            reconstruction: As in `_Values`; overwritten.
            images: (batch, input_size), from 0 to 255; with PCA without the mean image.

        Returns:
            The loss, (), summed; and delta, (batch, input_size): its gradient with respect to
            `reconstruction`, up to a constant factor.
        """
        loss, delta = reconstruction.new_empty(()), torch.empty_like(reconstruction)
        flat = delta.view(-1)
        if self._loss == "bce":
            inside = torch.empty_like(delta)
            x, level = images, 1 / 255
            if self._pca is not None:
                mean = self._pca.decoder.mean.flatten()
                x, level = torch.empty_like(delta), 1
                program.then(torch.add, mean, images, alpha=1 / 255, out=x)
                program.then(reconstruction.add_, mean)
                _write_logits(program, reconstruction, inside, delta)
            # log(1 + exp(z)) - x z for logits z, with the gradient sigmoid(z) - x
            program.then(_aten.softplus.out, reconstruction, out=delta)
            program.then(delta.addcmul_, x, reconstruction, value=-level)
            program.then(torch.sum, flat, 0, out=loss)
            program.then(torch.sigmoid, reconstruction, out=reconstruction)
            program.then(torch.sub, reconstruction, x, alpha=level, out=delta)
            if self._pca is not None:
                program.then(_aten.logit_backward.grad_input, delta, inside, grad_input=delta)
            return loss, delta
        # (y - x)², with the gradient 2 (y - x); with respect to logits, this times y (1 - y)
        if self._pca is None:
            program.then(torch.sigmoid, reconstruction, out=reconstruction)
        program.then(torch.sub, reconstruction, images, alpha=1 / 255, out=delta)
        program.then(torch.dot, flat, flat, out=loss)
        if self._pca is None:
            program.then(_aten.sigmoid_backward.grad_input, delta, reconstruction, grad_input=delta)
        return loss, delta

    def _write_backward(self, program: Program, values: _Values, delta: Tensor) -> None:
        """Compute the gradients of all blocks, from delta, (batch, input_size)."""
        batch, last = len(delta), len(self._blocks) - 1
        # Each gradient, (size, batch), is with respect to the layer's linear part.
        gradient, factor = delta.t(), (2 if self._loss == "mse" else 1) / delta.numel()
        for k in range(last, -1, -1):
            factor *= self._scales[k]
            by_block, inputs = self._block_gradients[k], values.inputs[k]
            program.then_multiply(gradient, inputs[: by_block.shape[1]].t(), factor, out=by_block)
            if k == 0:
                break
            size, beside = len(self._blocks[k - 1]), k == last and self._pca is not None
            matrix = self._matrices[k] if beside else self._matrices[k][:, :-1]
            product = delta.new_empty(matrix.shape[1], batch)
            program.then_multiply(matrix.t(), gradient, factor, out=product)
            before = product[:size]
            if beside:
                by_latents = product[size + 1 :]
            if k - 1 != self._latent:
                kept = values.linears[k - 1] if self._activation.needs_linear else inputs[:size]
                program.then(self._activation.backward, before, kept, grad_input=before)
            elif self._pca is not None:
                program.then(before.add_, by_latents)
            gradient, factor = before, 1

    def _add_pca(self, model: PcaAutoEncoder, memory: Tensor) -> None:
        """Write PCA's matrices beside the first block and the last one in `memory`.

        The network's part is in units of a pixel's deviation, and the products multiply by it. So
        they have to undo it for PCA's part.
        """
        latents, size = model.encoder.line.shape
        rows, columns = latents + len(self._blocks[0]), self._blocks[-1].shape[1] + latents
        first = memory[: rows * (size + 1)].view(rows, size + 1)
        last = memory[-columns * size :].view(columns, size)
        unit = float(model.decoder.unit)
        first[:latents, :-1] = model.encoder.line * unit
        first[:latents, -1] = 0
        last[-latents:] = model.decoder.line.t() / unit
        self._matrices[0], self._matrices[-1] = first, last.t()
        self._scales[0], self._scales[-1] = 1 / (255 * unit), unit

    def _split(self, flat: Tensor) -> list[Tensor]:
        """Split a tensor with room for all parameters into blocks, which are views of it."""
        parts = flat.split([math.prod(shape) for shape in self._shapes])
        blocks = [part.view(shape) for part, shape in zip(parts, self._shapes, strict=True)]
        if self._pca is not None:  # transposed in memory, so that PCA's matrix can follow
            blocks[-1] = parts[-1].view(self._shapes[-1][::-1]).t()
        return blocks


def _write_logits(program: Program, pixels: Tensor, inside: Tensor, outside: Tensor) -> None:
    """Turn pixels into logits in place, as `PcaAutoEncoder.decode_logits` does.

    Args:
        program: What computes them.
        pixels: Any shape.
        inside: Shaped like `pixels`; the pixels within the limits are written to it.
        outside: Shaped like `pixels`; what is beyond the limits is written to it.
    """
    program.then(torch.clamp, pixels, LEAST_PIXEL, 1 - LEAST_PIXEL, out=inside)
    program.then(torch.sub, pixels, inside, out=outside)
    program.then(torch.logit, inside, out=pixels)
    program.then(pixels.add_, outside, alpha=1 / (LEAST_PIXEL * (1 - LEAST_PIXEL)))


def _weights_and_biases(blocks: Sequence[Tensor]) -> list[Tensor]:
    """The weights and biases in blocks, as views, in the order of the model's parameters."""
    return [part for block in blocks for part in (block[:, :-1], block[:, -1])]
