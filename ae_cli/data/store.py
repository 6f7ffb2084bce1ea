"""Where pixels are kept. Callers copy the images they need, by their place; never all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor


class PixelStore:
    """The pixels of many images. They are never copied as a whole.

    Args:
        parts: uint8 (n, channels, height, width) each, all with images of one shape. They may be
            views of arrays with another order of dimensions, or of mapped files, and are not
            written to.
    """

    def __init__(self, *parts: Tensor) -> None:
        self._parts = parts

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(map(len, self._parts)))

    def __repr__(self) -> str:
        return f"<PixelStore of {len(self):,} images of {' × '.join(map(str, self.shape))}>"

    def __len__(self) -> int:
        return self._ends[-1]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self._parts[0].shape
        return channels, height, width

    def gather(self, places: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Copy some images.

        Args:
            places: int64 (m,), which images, in any order.
            out: uint8 (m, channels, height, width), the tensor to fill; a new one by default.

        Returns:
            uint8 (m, channels, height, width).

        Raises:
            IndexError: There is no such image.
        """
        if len(self._parts) == 1:
            return _select(self._parts[0], places, out)
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(self):
            raise IndexError(f"there are {len(self)} images")
        gathered = self._parts[0].new_empty(len(places), *self.shape) if out is None else out
        begin = 0
        for part, end in zip(self._parts, self._ends, strict=True):
            mine = torch.nonzero((places >= begin) & (places < end)).squeeze(1)
            gathered[mine] = _select(part, places[mine] - begin)
            begin = end
        return gathered

    def view(self, start: int, stop: int) -> Tensor:
        """Consecutive images, uint8 (stop - start, …), without a copy where that is possible."""
        if len(self._parts) == 1:
            return self._parts[0][start:stop].contiguous()
        return self.gather(torch.arange(start, stop))


def join_stores(stores: Sequence[PixelStore]) -> PixelStore:
    """Join several stores, one after the other, without a copy."""
    return PixelStore(*(part for store in stores for part in store._parts))


def _select(part: Tensor, places: Tensor, out: Tensor | None = None) -> Tensor:
    """Copy some images of a tensor, contiguous, (m, channels, height, width)."""
    if part.is_contiguous():
        return torch.index_select(part, 0, places, out=out)
    # Whole images are copied first, in the order in which they lie in memory.
    lying = torch.index_select(part.permute(0, 2, 3, 1), 0, places).permute(0, 3, 1, 2)
    return lying.contiguous() if out is None else out.copy_(lying)
