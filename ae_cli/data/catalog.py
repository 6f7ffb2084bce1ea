"""The known data sets: what each contains, and whether it is on disk."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import Path

from ae_cli.files.cache import CachedSet


@dataclass(frozen=True)
class KnownSet:
    """A data set that ``--data`` accepts by name.

    Attributes:
        content: What its images show.
        train_images: Number of images in the training split.
        test_images: Number of images in the test split.
        classes: Names of the labels.
        folder: The folder of its files within the data folder: the name of torchvision's class;
            empty if the set is installed with a library.
        files: Names of its files in that folder, as published.
        megabytes: Size of its download.
        archive: Name of the one file that is downloaded instead of `files`, if several sets share
            it.
        division: Which part of that archive this set is.
        shape: Channels, height and width of an image.
    """

    content: str
    train_images: int
    test_images: int
    classes: tuple[str, ...]
    folder: str
    files: tuple[str, ...]
    megabytes: int
    archive: str = ""
    division: str = ""
    shape: tuple[int, int, int] = (1, 28, 28)

    @property
    def kept(self) -> str:
        """The path of its decoded pixels, within the data folder."""
        return f"{self.folder}/decoded{self.division and '-'}{self.division}.safetensors"


DIGITS = tuple(string.digits)
_CAPITALS = tuple(string.ascii_uppercase)
_LETTERS = tuple(string.ascii_lowercase)
# A small letter that looks like its capital is in the same class.
_MERGED = (*DIGITS, *_CAPITALS, *"abdefghnqrt")
_CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_SYLLABLES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")

_MNIST_FILES = tuple(
    f"raw/{split}-{kind}-ubyte.gz"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)
_QMNIST_FILES = tuple(
    f"raw/qmnist-{split}-{kind}.gz"
    for split in ("train", "test")
    for kind in ("images-idx3-ubyte", "labels-idx2-int")
)


def _like_mnist(content: str, classes: tuple[str, ...], folder: str, megabytes: int) -> KnownSet:
    return KnownSet(content, 60_000, 10_000, classes, folder, _MNIST_FILES, megabytes)


def _emnist(
    content: str, division: str, train_images: int, test_images: int, classes: tuple[str, ...]
) -> KnownSet:
    return KnownSet(
        content,
        train_images,
        test_images,
        classes,
        folder="EMNIST",
        files=tuple(
            f"raw/emnist-{division}-{split}-{kind}-ubyte"
            for split in ("train", "test")
            for kind in ("images-idx3", "labels-idx1")
        ),
        megabytes=562,
        archive="raw/gzip.zip",
        division=division,
    )


KNOWN_SETS: dict[str, KnownSet] = {
    "mnist": _like_mnist("handwritten digits", DIGITS, "MNIST", 12),
    "fashion-mnist": _like_mnist("clothes and shoes", _CLOTHES, "FashionMNIST", 31),
    "kmnist": _like_mnist("cursive Japanese characters", _SYLLABLES, "KMNIST", 21),
    "emnist": _emnist("letters and digits, balanced", "balanced", 112_800, 18_800, _MERGED),
    "emnist-byclass": _emnist(
        "letters and digits", "byclass", 697_932, 116_323, (*DIGITS, *_CAPITALS, *_LETTERS)
    ),
    "emnist-bymerge": _emnist("the same, look-alikes merged", "bymerge", 697_932, 116_323, _MERGED),
    "emnist-letters": _emnist("letters", "letters", 124_800, 20_800, _LETTERS),
    "emnist-digits": _emnist("digits", "digits", 240_000, 40_000, DIGITS),
    "emnist-mnist": _emnist("digits, as many as MNIST's", "mnist", 60_000, 10_000, DIGITS),
    "qmnist": KnownSet(
        "MNIST, with 60,000 test images", 60_000, 60_000, DIGITS, "QMNIST", _QMNIST_FILES, 20
    ),
    "usps": KnownSet(
        "digits from envelopes",
        7_291,
        2_007,
        DIGITS,
        "USPS",
        ("usps.bz2", "usps.t.bz2"),
        8,
        shape=(1, 16, 16),
    ),
    "digits": KnownSet("scikit-learn's small digits", 1_500, 297, DIGITS, "", (), 0),
}


def on_disk(name: str, data_dir: Path) -> bool:
    """Whether a set can be read without a download: decoded, as published, or unpacked."""
    known = KNOWN_SETS[name]
    folder = data_dir / known.folder
    files = [folder / file for file in known.files]
    return (
        all(path.exists() or path.with_suffix("").exists() for path in files)
        or bool(known.archive and (folder / known.archive).exists())
        or (data_dir / known.kept).exists()
    )


def cached_sets() -> dict[str, CachedSet]:
    """The files of each set within the cache folder."""
    return {
        name: CachedSet(known.folder, known.kept, published)
        for name, known in KNOWN_SETS.items()
        for published in [(known.archive,) if known.archive else known.files]
    }
