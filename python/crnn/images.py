"""Images from any source to the network's input.

`load` turns a path, bytes, a file object, a PIL image or an array into one greyscale image, or
raises `ImageError` with a message that names the source. `prepare` scales it for the network and
keeps the factor that leads back to the pixels of the original.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

Source: TypeAlias = (
    "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image"
    " | NDArray[Any]"
)

#: Pixels an image may have; a file that announces more is refused before it is decoded. Decoding
#: needs up to 4 bytes a pixel: 256 MB.
MAX_PIXELS = 64_000_000

#: What a folder's images are recognised by (a single file may have any name).
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".dib", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm"}
    | {".png", ".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)

# Pillow's filters widen with the reduction, so that shrinking does not alias; bicubic keeps the
# strokes of small letters apart where bilinear begins to merge them.
_RESAMPLING = Image.Resampling.BICUBIC

_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """An image that cannot be read; the message names it and says why."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image is scaled for the network (section 3.2).

    Attributes:
        height: pixels; every image is scaled to it.
        min_width: the width follows in proportion, but is at least this many pixels: a narrower
            image is stretched.
        max_width: and at most this many: a wider image is squeezed. It bounds the memory that one
            image can take.
        fixed_width: if given, every image gets this width (100 is the paper's choice in training).
        turn_above: an image more than so many times as high as wide is read turned by a quarter
            each way, too, see `crnn.orientation`; 0: never.

    Raises:
        ValueError: a size that is not a positive integer, ``min_width > max_width``, or a
            `turn_above` that is neither 0 nor at least 1.
    """

    height: int = 32
    min_width: int = 100
    max_width: int = 4096
    fixed_width: int | None = None
    turn_above: float = 0.0

    def __post_init__(self) -> None:
        for name in ("height", "min_width", "max_width", "fixed_width"):
            value = getattr(self, name)
            if name == "fixed_width" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**16:
                raise ValueError(
                    f"Preprocessing: {name} must be an integer in [1, 65535], got {value!r}"
                )
        above = self.turn_above
        number = isinstance(above, (int, float)) and not isinstance(above, bool)
        if not number or not (above == 0 or 1 <= above < math.inf):
            raise ValueError(f"Preprocessing: turn_above must be 0 or at least 1, got {above!r}")
        if self.min_width > self.max_width:
            raise ValueError(
                f"Preprocessing: min_width must be at most max_width = {self.max_width}, "
                f"got {self.min_width}"
            )

    def width_of(self, width: int, height: int) -> int:
        """The network's input width in pixels for an image of ``width x height`` pixels."""
        if self.fixed_width is not None:
            return self.fixed_width
        in_proportion = round(width * self.height / height)
        return min(max(in_proportion, self.min_width), self.max_width)

    def to_dict(self) -> dict[str, float | None]:
        """A plain form for JSON; `from_dict` reads it back."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Preprocessing:
        """What `to_dict` gave.

        Raises:
            ValueError: a name is unknown, or a value out of range.
        """
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"Preprocessing: not a preprocessing description ({error})") from error


@dataclass(frozen=True)
class Prepared:
    """An image as the network takes it.

    Attributes:
        pixels: ``[1, height, W]`` float32 in [-1, 1]; -1 is black, 1 is white.
        scale: columns of the original image for each column of `pixels`.
        turn: degrees counter-clockwise by which the original image was turned first: 0, 90 or 270.
    """

    pixels: Tensor
    scale: float
    turn: int = 0


def load(source: Source, name: str | None = None) -> Image.Image:
    """Read one greyscale image.

    Colour becomes grey by ITU-R 601 luma. EXIF rotation is applied: "the original image" below is
    the upright one. Of an animation the first frame is read. 16-bit grey is scaled, not clipped.
    What is transparent is put on white, or on black where that would hide light text: when less
    than half of the image is opaque and its visible part is lighter than mid-grey.

    Args:
        source: a path; an encoded image as bytes or as a binary file object; a PIL image; or an
            array ``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` (RGB) or ``[H, W, 4]`` (RGBA) of bool,
            uint8, uint16 or of floats in [0, 1].
        name: what errors call the source; found out by itself where it has a name.

    Returns:
        A PIL image of mode ``"L"``.

    Raises:
        ImageError: missing, empty, damaged or truncated; not an image; without pixels or with
            more than `MAX_PIXELS`; an array of another dtype or shape, with values outside
            [0, 1], NaN or infinity.
        TypeError: `source` is none of the above.
    """
    name = name_of(source) if name is None else name
    if isinstance(source, Image.Image):
        return _decode(source, name)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if isinstance(source, (str, os.PathLike)):
        return _from_path(source, name)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _from_stream(io.BytesIO(source), name)
    if callable(getattr(source, "read", None)):
        try:
            content = source.read()
        except (OSError, ValueError) as error:
            raise ImageError(f"load: {name} must be readable, got {error}") from error
        if not isinstance(content, bytes):
            raise ImageError(f"load: {name} must be a file opened in binary mode, got text")
        return _from_stream(io.BytesIO(content), name)
    raise TypeError(
        f"load: {name} must be a path, bytes, a binary file, a PIL image or an array, "
        f"got {type(source).__name__}"
    )


def name_of(source: object) -> str:
    """What messages and results call a source: its path, or the kind of thing it is."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or "<PIL image>")
    if isinstance(source, np.ndarray):
        return "<array>"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "<bytes>"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else f"<{type(source).__name__}>"


def images_in(folder: str | os.PathLike[str]) -> Iterator[str]:
    """The image files below `folder`, in natural order ("2" before "10"), folder by folder.

    A file counts as an image by its suffix (`IMAGE_SUFFIXES`). Hidden files and folders are
    skipped, and links to folders are not followed. The tree is walked while it is read, so a large
    one needs no memory.
    """

    def refuse(error: OSError) -> None:
        raise ImageError(f"load: {error.filename} must be a readable folder, got {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted((f for f in folders if not f.startswith(".")), key=_natural)
        for file in sorted(files, key=_natural):
            if not file.startswith(".") and Path(file).suffix.lower() in IMAGE_SUFFIXES:
                yield os.path.join(parent, file)


def turned(image: Image.Image, turn: int) -> Image.Image:
    """`image` turned counter-clockwise by 0, 90 or 270 degrees; no pixel is lost."""
    ways = {90: Image.Transpose.ROTATE_90, 270: Image.Transpose.ROTATE_270}
    return image.transpose(ways[turn]) if turn else image


def prepare(image: Image.Image, preprocessing: Preprocessing, turn: int = 0) -> Prepared:
    """Scale a greyscale image (mode ``"L"``), turned by `turn` degrees, for the network."""
    image = turned(image, turn)
    width = preprocessing.width_of(*image.size)
    scaled = image.resize((width, preprocessing.height), _RESAMPLING)
    grey = np.asarray(scaled, dtype=np.float32) / 127.5 - 1.0
    return Prepared(torch.from_numpy(grey[None]), image.width / width, turn)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts runs of digits by value; the name itself breaks ties ("1" and "01")."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def _from_path(path: str | os.PathLike[str], name: str) -> Image.Image:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ImageError(f"load: {name} must be an image file, got a folder")
        if not stat.S_ISREG(mode):
            raise ImageError(f"load: {name} must be a regular file, got a device or pipe")
        with open(path, "rb") as file:
            return _from_stream(file, name)
    except FileNotFoundError as error:
        raise ImageError(f"load: {name} must be an existing file, got none there") from error
    except OSError as error:
        raise ImageError(f"load: {name} must be readable, got {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, ImageError):
            raise
        # The system's own words for these differ between versions of Python.
        problem = "an unencodable" if isinstance(error, UnicodeError) else "a null"
        raise ImageError(f"load: {name!r} must be a valid path, got {problem} character") from error


def _from_stream(file: IO[bytes], name: str) -> Image.Image:
    start = file.read(64)
    if not start:
        raise ImageError(f"load: {name} must be an image, got an empty file")
    file.seek(0)
    # A decoder fed a hostile file may raise nearly anything; all of it means the same to the user.
    try:
        image = Image.open(file)
    except UnidentifiedImageError as error:
        what = "text" if _is_text(start) else f"unknown or broken content {start[:8]!r}"
        raise ImageError(f"load: {name} must be an image of a known format, got {what}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(
            f"load: {name} must have at most {MAX_PIXELS} pixels, got more ({error})"
        ) from error
    except Exception as error:
        raise _damaged(name, error) from error
    return _decode(image, name)


def _decode(image: Image.Image, name: str) -> Image.Image:
    """Check the size, decode, turn upright, make grey."""
    _check_size(image.width, image.height, name)
    try:
        image.load()
        # Pillow turns a TIFF itself while it loads, but some versions leave the tag as it was.
        turned = image.format == "TIFF"
        turn = None if turned else _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION, 1))
        grey = _to_grey(image, name)
    except ImageError:
        raise
    except Exception as error:
        raise _damaged(name, error) from error
    return grey if turn is None else grey.transpose(turn)


def _damaged(name: str, error: Exception) -> ImageError:
    return ImageError(
        f"load: {name} must be a complete image, got a truncated or damaged one "
        f"({type(error).__name__}: {error})"
    )


def _check_size(width: int, height: int, name: str) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"load: {name} must have at least one pixel, got {width} x {height}")
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"load: {name} must have at most {MAX_PIXELS} pixels, got {width} x {height}"
        )


def _is_text(start: bytes) -> bool:
    text = start.decode("utf-8", errors="replace").rstrip("\ufffd")
    return bool(text) and all(c.isprintable() or c.isspace() for c in text)


def _to_grey(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):  # "I;16" and its byte orders; "I" holds 16 bits in some versions
        return _grey16(np.asarray(image).astype(np.int64), name)
    if image.mode == "F":
        return _grey_float(np.asarray(image), name)
    if "transparency" in image.info or image.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        return _flatten(image.convert("RGBA"))
    if image.mode == "LAB":
        return image.getchannel("L")
    if image.mode not in ("L", "RGB"):  # "1", "P", "CMYK", "YCbCr", "HSV"
        image = image.convert("RGB")
    return image.convert("L")


def _flatten(image: Image.Image) -> Image.Image:
    """Put an RGBA image on the ground that `load` documents."""
    grey = np.asarray(image.convert("RGB").convert("L"), dtype=np.float32)
    alpha = np.asarray(image.getchannel("A"), dtype=np.float32) / 255.0
    coverage = float(alpha.mean())
    light = float((grey * alpha).mean()) > 127.5 * coverage
    ground = 0.0 if coverage < 0.5 and light else 255.0
    flat = grey * alpha + ground * (1.0 - alpha)
    return Image.fromarray(np.rint(flat).astype(np.uint8))


def _grey16(values: NDArray[np.integer[Any]], name: str) -> Image.Image:
    """0..65535 to 0..255."""
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(
            f"load: {name} must have 8 or 16 bits a channel, got values in "
            f"[{values.min()}, {values.max()}]"
        )
    return Image.fromarray(np.rint(values / 257.0).astype(np.uint8))


def _grey_float(values: NDArray[np.floating[Any]], name: str) -> Image.Image:
    _check_unit_range(values, name)
    return Image.fromarray(np.rint(values * 255.0).astype(np.uint8))


def _check_unit_range(values: NDArray[np.floating[Any]], name: str) -> None:
    if not np.isfinite(values).all():
        raise ImageError(f"load: {name} must hold finite values, got NaN or infinity")
    if values.min() < 0.0 or values.max() > 1.0:
        raise ImageError(
            f"load: {name} must hold floats in [0, 1], got values in "
            f"[{values.min():g}, {values.max():g}]; convert 0..255 to uint8"
        )


def _from_array(array: NDArray[Any], name: str) -> Image.Image:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"load: {name} must have shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], "
            f"got {list(array.shape)}"
        )
    _check_size(array.shape[1], array.shape[0], name)
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * 255
    elif array.dtype == np.uint16:
        array = np.rint(array / 257.0).astype(np.uint8)
    elif np.issubdtype(array.dtype, np.floating):
        _check_unit_range(array, name)
        array = np.rint(array * 255.0).astype(np.uint8)
    elif array.dtype != np.uint8:
        raise ImageError(
            f"load: {name} must be an array of bool, uint8, uint16 or float, got {array.dtype}"
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    return _to_grey(Image.fromarray(np.ascontiguousarray(array)), name)
