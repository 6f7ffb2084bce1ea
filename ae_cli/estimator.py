"""An autoencoder as a scikit-learn estimator."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OutlierMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from ae_cli.analysis.judge import threshold_at
from ae_cli.config import QUANTILE, Device, Family, Preset
from ae_cli.errors import AeError
from ae_cli.latents import infer
from ae_cli.latents.model import load_model
from ae_cli.models import AutoEncoder, choose_device
from ae_cli.models.objectives import reconstruction_errors
from ae_cli.python import train

BATCH = 4096  # rows that are transformed at once


class AutoEncoderTransformer(TransformerMixin, OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Reduce images to a few numbers, and tell unusual ones, in scikit-learn's way.

    Each row of X is an image, or any other row of numbers. Values are mapped to [0, 1] by the
    lowest and the highest one of the training data, and rounded to 256 levels while training.

    Args:
        latent_dim: Latent values per row; None for the recipe's.
        image_shape: Height and width of the images that the rows are, or height, width and 3 for
            colours in this order; None if they are not images.
        epochs: How many times to see every row; None for the recipe's.
        model: ``mlp`` or ``conv``; None for ``mlp`` if the rows are not images, else the recipe's.
        preset: The recipe to start from; None for the usual one.
        options: Further arguments of `ae_cli.train`; None for none.
        quantile: Share of the held-out rows whose error is below that from which on `predict` calls
            a row an outlier.
        random_state: A seed, or a RandomState from which one is drawn.
        device: Where to compute.

    Attributes:
        model_: The trained `ae_cli.Model`.
        data_range_: The lowest and the highest value of the training data.
        offset_: The score below which a row is an outlier. It comes from a tenth of the rows, which
            are held out.
        n_features_in_: Number of values in a row.
        feature_names_in_: Their names, if X had any.
    """

    def __init__(
        self,
        latent_dim: int | None = None,
        *,
        image_shape: tuple[int, ...] | None = None,
        epochs: int | None = None,
        model: Family | None = None,
        preset: Preset | None = None,
        options: dict[str, Any] | None = None,
        quantile: float = QUANTILE,
        random_state: Any = 0,
        device: Device = "auto",
    ) -> None:
        self.latent_dim = latent_dim
        self.image_shape = image_shape
        self.epochs = epochs
        self.model = model
        self.preset = preset
        self.options = options
        self.quantile = quantile
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any = None) -> AutoEncoderTransformer:  # noqa: N803
        """Train on rows, (n, features), n at least 2. `y` is not used.

        Raises:
            ValueError: X or an argument is not valid.
        """
        rows = validate_data(self, X, dtype=np.float64, ensure_min_samples=2)
        low, high = float(rows.min()), float(rows.max())
        self.data_range_ = (low, high if high > low else low + 1)
        shape = (1, rows.shape[1]) if self.image_shape is None else tuple(self.image_shape)
        with _value_errors():
            if np.prod(shape) != rows.shape[1]:
                raise ValueError(f"image_shape is {shape}, but rows have {rows.shape[1]} values")
            levels = np.rint(255 * self._scale(rows)).astype(np.uint8)
            is_image = self.image_shape is not None
            family: Family | None = self.model or (None if is_image else "mlp")
            self.model_ = train(
                levels.reshape(len(rows), *shape),
                latent_dim=self.latent_dim,
                epochs=self.epochs,
                model=family,
                preset=self.preset,
                seed=self._seed(),
                device=self.device,
                progress=False,
                **(self.options or {}),
            )
        quantiles = self.model_.metrics.error_quantiles
        self.offset_ = -threshold_at(self.quantile, quantiles)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The latents of rows, float32 (n, latent_dim)."""
        return self._run(X, lambda network, images: network.encoder(images))

    def inverse_transform(self, X: Any) -> NDArray[np.float32]:  # noqa: N803
        """The rows that latents, (n, latent_dim), stand for: float32 (n, features)."""
        check_is_fitted(self)
        latents = np.asarray(X, np.float32)
        if latents.ndim != 2 or latents.shape[1] != self._n_features_out:
            raise ValueError(
                f"latents have the shape {latents.shape}, not (n, {self._n_features_out})"
            )
        device = choose_device(self.device)
        images = infer.decode(self.model_.model, latents, device=device)
        low, high = self.data_range_
        return low + (high - low) * self._to_rows(images)

    def score_samples(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """The negative reconstruction error of rows, float64 (n,): lower for unusual ones.

        The error is the mean squared difference of the values as they are mapped to [0, 1].
        """

        def errors(network: AutoEncoder, images: torch.Tensor) -> torch.Tensor:
            return reconstruction_errors(network(images)[1], images).double()

        scores: NDArray[np.float64] = -self._run(X, errors)
        return scores

    def decision_function(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """`score_samples` less `offset_`, float64 (n,): negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> NDArray[np.int64]:  # noqa: N803
        """Tell outliers, -1, from others, 1: int64 (n,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The names of the latents, as in the table of `ae_cli.embed`: z1, z2 and so on."""
        check_is_fitted(self)
        return np.array([f"z{k}" for k in range(1, self._n_features_out + 1)], object)

    @property
    def _n_features_out(self) -> int:
        return self.model_.model.config.latent_dim

    def _seed(self) -> int:
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _scale(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        low, high = self.data_range_
        return (rows - low) / (high - low)

    def _run(self, X: Any, compute: Any) -> NDArray[Any]:  # noqa: N803
        """Compute something of each row of X by the network."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=np.float64, reset=False)
        channels, height, width = self.model_.model.config.shape
        device = choose_device(self.device)
        network = self.model_.model.to(device)
        scaled = self._scale(rows).astype(np.float32).reshape(-1, height, width, channels)
        batches = torch.from_numpy(scaled).permute(0, 3, 1, 2).split(BATCH)
        with torch.inference_mode():
            return np.concatenate(
                [compute(network, batch.contiguous().to(device)).cpu().numpy() for batch in batches]
            )

    def _to_rows(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images, (n, channels, height, width), as rows in the order of X."""
        return images.transpose(0, 2, 3, 1).reshape(len(images), -1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]  # whatever goes in
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the model by its checkpoint, which holds nothing but numbers and text."""
        state = dict(super().__getstate__())
        if "model_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.safetensors")
                self.model_.save(path)
                state["model_"] = path.read_bytes()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "model_" in state:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "model.safetensors")
                path.write_bytes(state["model_"])
                state = {**state, "model_": load_model(path)}
        super().__setstate__(state)


@contextmanager
def _value_errors() -> Iterator[None]:
    """Turn an `AeError` of the block into a `ValueError`, as scikit-learn's users expect."""
    try:
        yield
    except AeError as error:
        raise ValueError(str(error)) from error
