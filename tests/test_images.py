"""Every kind of image source, good and bad."""

from __future__ import annotations

import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from crnn.images import MAX_PIXELS, ImageError, load


def gradient(height: int = 24, width: int = 60) -> NDArray[np.uint8]:
    """A picture without symmetry: every corner has another grey."""
    y, x = np.mgrid[:height, :width]
    return (x * 3 + y * 2).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def grey(source: Any) -> NDArray[np.uint8]:
    image = load(source)
    assert image.mode == "L"
    return np.asarray(image)


# ---- sources ----------------------------------------------------------------------------------


def test_every_source_gives_the_same_image(tmp_path: Path) -> None:
    picture = gradient()
    content = encoded(Image.fromarray(picture))
    path = tmp_path / "word.png"
    path.write_bytes(content)
    sources = [path, str(path), content, bytearray(content), memoryview(content)]
    sources += [io.BytesIO(content), Image.open(path), Image.fromarray(picture), picture]
    for source in sources:
        np.testing.assert_array_equal(grey(source), picture)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(grey(file), picture)


def test_the_callers_image_is_left_alone() -> None:
    image = Image.fromarray(gradient()).convert("RGBA")
    before = image.tobytes()
    load(image)
    assert image.mode == "RGBA"
    assert image.tobytes() == before


@pytest.mark.parametrize(
    "array",
    [
        gradient(),
        gradient()[:, :, None],
        np.repeat(gradient()[:, :, None], 3, 2),
        np.dstack([np.repeat(gradient()[:, :, None], 3, 2), np.full((24, 60, 1), 255, np.uint8)]),
        gradient().astype(np.uint16) * 257,
        gradient() / 255.0,
        (gradient() / 255.0).astype(np.float32),
        np.asfortranarray(gradient()),
        np.repeat(gradient(), 2, 1)[:, ::2],
    ],
    ids=["HW", "HW1", "HW3", "HW4", "uint16", "float64", "float32", "fortran", "strided"],
)
def test_arrays(array: NDArray[Any]) -> None:
    np.testing.assert_array_equal(grey(array), gradient())


def test_bool_and_half_arrays() -> None:
    mask = gradient() > 90
    np.testing.assert_array_equal(grey(mask), mask * np.uint8(255))
    half = grey((gradient() / 255.0).astype(np.float16)).astype(int)
    assert np.abs(half - gradient()).max() <= 1


# ---- modes ------------------------------------------------------------------------------------


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = np.array([[0, 256, 32768, 65535]], dtype=np.uint16)
    expected = [[0, 1, 128, 255]]
    for kind in ("PNG", "TIFF"):
        assert grey(encoded(Image.fromarray(values), kind)).tolist() == expected
    assert grey(b"P5 4 1 65535\n" + values.astype(">u2").tobytes()).tolist() == expected
    assert grey(values).tolist() == expected
    assert grey(Image.fromarray(values.astype(np.int32))).tolist() == expected


def test_more_than_sixteen_bits_are_refused() -> None:
    image = Image.fromarray(np.array([[0, 70000]], dtype=np.int32))
    message = r"load: <PIL image> must have 8 or 16 bits a channel, got values in \[0, 70000\]"
    with pytest.raises(ImageError, match=message):
        load(image)


def test_colour_palette_cmyk_and_bilevel() -> None:
    colours = Image.fromarray(np.dstack([gradient(), gradient()[::-1], 255 - gradient()]))
    luma = np.asarray(colours.convert("L")).astype(int)
    assert np.abs(grey(encoded(colours)) - luma).max() == 0
    assert np.abs(grey(colours.convert("CMYK")) - luma).max() <= 1
    assert np.abs(grey(encoded(colours.convert("CMYK"), "TIFF")) - luma).max() <= 1
    palette = Image.fromarray(gradient()).convert("P")
    np.testing.assert_array_equal(grey(encoded(palette)), gradient())
    bilevel = Image.fromarray(gradient()).convert("1", dither=Image.Dither.NONE)
    assert set(np.unique(grey(encoded(bilevel)))) == {0, 255}
    lab = Image.merge("LAB", [Image.fromarray(gradient())] * 3)
    np.testing.assert_array_equal(grey(lab), gradient())


def test_float_images() -> None:
    image = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert grey(encoded(image, "TIFF")).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(("ink", "ground"), [(0, 255), (255, 0)])
def test_transparency_goes_on_the_ground_that_shows_the_text(ink: int, ground: int) -> None:
    alpha = np.zeros((20, 40), np.uint8)
    alpha[8:12, 5:35] = 255
    alpha[8, 5] = 51
    layers = [np.full_like(alpha, ink), np.full_like(alpha, ink), np.full_like(alpha, ink), alpha]
    for source in (np.dstack(layers), Image.fromarray(np.dstack(layers)).convert("LA")):
        flat = grey(source)
        assert flat[0, 0] == ground
        assert flat[10, 10] == ink
        assert flat[8, 5] == abs(ground - 51)  # a fifth opaque


def test_mostly_opaque_light_images_keep_a_white_ground() -> None:
    picture = np.full((20, 40, 4), 255, np.uint8)
    picture[0, 0, 3] = 0  # a rounded corner
    assert grey(picture).min() == 255


def test_transparent_palette_entry() -> None:
    image = Image.fromarray(np.array([[0, 1, 1, 1, 1]], np.uint8)).convert("P")
    image.putpalette([0, 0, 0, 200, 0, 0])
    content = encoded(image, transparency=1)
    assert grey(content).tolist() == [[0, 255, 255, 255, 255]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(orientation: int) -> None:
    upright = gradient()
    # What a camera held so would store: the inverse of what the tag asks the reader to do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options)
        assert np.abs(grey(content).astype(int) - upright).max() <= 1
        assert np.abs(grey(Image.open(io.BytesIO(content))).astype(int) - upright).max() <= 1
    opened = Image.open(io.BytesIO(content))
    opened.load()  # the caller may have decoded it before
    assert np.abs(grey(opened).astype(int) - upright).max() <= 1


def test_first_frame_of_an_animation() -> None:
    frames = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 200)]
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert np.abs(grey(content).astype(int) - 10).max() <= 1


# ---- bad input --------------------------------------------------------------------------------


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG that announces any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body


def make_text(path: Path) -> None:
    path.write_text("This is no picture.\n")


def make_garbage(path: Path) -> None:
    path.write_bytes(bytes(range(128, 256)))


def make_empty(path: Path) -> None:
    path.write_bytes(b"")


def make_truncated(path: Path) -> None:
    content = encoded(Image.fromarray(gradient(200, 200)))
    path.write_bytes(content[: len(content) // 2])


def make_truncated_jpeg(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG")
    path.write_bytes(content[: len(content) // 2])


def make_header_only(path: Path) -> None:
    path.write_bytes(encoded(Image.fromarray(gradient()))[:20])


def make_zero_width(path: Path) -> None:
    path.write_bytes(png(0, 5))


def make_folder(path: Path) -> None:
    path.mkdir()


def make_bomb(path: Path) -> None:
    path.write_bytes(png(50_000, 50_000))


def make_large(path: Path) -> None:
    path.write_bytes(png(8_001, 8_000))  # Pillow itself would decode this one


def make_nothing(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (make_text, "must be an image of a known format, got text"),
        (
            make_garbage,
            r"must be an image of a known format, got unknown or broken content b'\\x80",
        ),
        (make_empty, "must be an image, got an empty file"),
        (make_truncated, "must be a complete image, got a truncated or damaged one"),
        (make_truncated_jpeg, "must be a complete image, got a truncated or damaged one"),
        (make_header_only, "must be a complete image, got a truncated or damaged one"),
        (make_zero_width, "must be an image of a known format, got unknown or broken content"),
        (make_folder, "must be an image file, got a folder"),
        (make_bomb, f"must have at most {MAX_PIXELS} pixels, got more"),
        (make_large, f"must have at most {MAX_PIXELS} pixels, got 8001 x 8000"),
        (make_nothing, "must be an existing file, got none there"),
    ],
)
def test_bad_files(make: Callable[[Path], None], message: str, tmp_path: Path) -> None:
    path = tmp_path / "word.png"
    make(path)
    with pytest.raises(ImageError, match=f"^load: {re.escape(str(path))} ({message})"):
        load(path)


def test_a_pil_image_that_cannot_be_decoded() -> None:
    content = encoded(Image.fromarray(gradient(200, 200)))
    opened = Image.open(io.BytesIO(content[: len(content) // 2]))
    with pytest.raises(ImageError, match=r"^load: <PIL image> must be a complete image, got a tr"):
        load(opened)
    with pytest.raises(ImageError, match=r"must have at most \d+ pixels, got 8001 x 8000$"):
        load(Image.open(io.BytesIO(png(8_001, 8_000))))


@pytest.mark.skipif(os.name != "posix", reason="needs a named pipe")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    with pytest.raises(ImageError, match="must be a regular file, got a device or pipe"):
        load(path)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "load: <bytes> must be an image, got an empty file"),
        (b"hello", "load: <bytes> must be an image of a known format, got text"),
        (io.StringIO("hello"), "load: <StringIO> must be a file opened in binary mode, got text"),
        ("a\0b", r"load: 'a\x00b' must be a valid path, got a null character"),
        ("a\ud800b", r"load: 'a\ud800b' must be a valid path, got an unencodable character"),
        (Image.new("L", (0, 5)), "load: <PIL image> must have at least one pixel, got 0 x 5"),
        (np.zeros((5, 0)), "load: <array> must have at least one pixel, got 0 x 5"),
        (
            np.zeros((8000, 1, 3), np.uint8).repeat(1, 1)[:, :, 0].repeat(8001, 1),
            f"load: <array> must have at most {MAX_PIXELS} pixels, got 8001 x 8000",
        ),
        (
            np.zeros((4, 5), np.int64),
            "load: <array> must be an array of bool, uint8, uint16 or float, got int64",
        ),
        (
            np.zeros((4, 5), object),
            "load: <array> must be an array of bool, uint8, uint16 or float, got object",
        ),
        (
            np.zeros(5, np.uint8),
            "load: <array> must have shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], got [5]",
        ),
        (
            np.zeros((2, 4, 5, 3), np.uint8),
            "load: <array> must have shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], "
            "got [2, 4, 5, 3]",
        ),
        (
            np.zeros((4, 5, 2), np.uint8),
            "load: <array> must have shape [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], "
            "got [4, 5, 2]",
        ),
        (np.full((4, 5), np.nan), "load: <array> must hold finite values, got NaN or infinity"),
        (np.full((4, 5), np.inf), "load: <array> must hold finite values, got NaN or infinity"),
        (
            np.full((4, 5), 200.0),
            "load: <array> must hold floats in [0, 1], got values in [200, 200]; "
            "convert 0..255 to uint8",
        ),
    ],
)
def test_bad_sources(source: Any, message: str) -> None:
    with pytest.raises(ImageError) as caught:
        load(source)
    assert str(caught.value) == message


def test_nothing_that_could_be_an_image() -> None:
    message = (
        "load: <NoneType> must be a path, bytes, a binary file, a PIL image or an array, "
        "got NoneType"
    )
    with pytest.raises(TypeError, match=f"^{re.escape(message)}$"):
        load(None)  # type: ignore[arg-type]


def test_a_name_given_is_the_name_in_the_error() -> None:
    with pytest.raises(ImageError, match=r"^load: item 7 must be"):
        load(b"", name="item 7")
