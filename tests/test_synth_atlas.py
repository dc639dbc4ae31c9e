"""The glyphs of all fonts in one buffer: as each font draws them, kept in a file, named if bad."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn.synth.device import load_atlas
from crnn.synth.device.atlas import COUNT, symbols_of
from crnn.synth.glyphs import Face
from crnn.synth.pack import SYMBOLS


def test_the_atlas_holds_what_a_face_draws(
    font_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    atlas = load_atlas([[str(font_folder / "default.ttf")]])
    font = Face(str(font_folder / "default.ttf"))
    assert atlas.fonts == 1
    assert atlas.families.tolist() == [0, 1]
    assert atlas.pixels[0] == 0
    for symbol in SYMBOLS:
        at = int(symbols_of([symbol])[0, 0])
        glyph, (high, wide) = font.glyph(symbol), atlas.size[at]
        drawn = atlas.pixels[atlas.offset[at] : atlas.offset[at] + high * wide]
        if glyph.mask.any():
            assert np.array_equal(drawn.reshape(high, wide), glyph.mask), symbol
            assert atlas.bearing[at].tolist() == [glyph.top, glyph.left]
        else:
            assert high == wide == 0  # a space
        assert atlas.advance[at] == pytest.approx(glyph.advance)
        assert atlas.has[at] == font.has(symbol)


def test_the_atlas_is_kept_and_a_damaged_copy_is_drawn_again(
    font_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    families = [[str(font_folder / "default.ttf")]]
    first = load_atlas(families)
    (cached,) = (tmp_path / "crnn").glob("atlas-*.safetensors")
    stamp = cached.stat().st_mtime_ns
    again = load_atlas(families)
    assert cached.stat().st_mtime_ns == stamp
    cached.write_bytes(cached.read_bytes()[:1000])
    third = load_atlas(families, workers=1)
    for other in (again, third):
        for name, value in vars(first).items():
            assert np.array_equal(value, getattr(other, name)), name


def test_fonts_that_cannot_be_used_are_named(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="load_atlas: families must hold a font, got none"):
        load_atlas([])
    with pytest.raises(ValueError, match=r"families must be font files, got .*absent\.ttf"):
        load_atlas([[str(tmp_path / "absent.ttf")]])
    (tmp_path / "broken.ttf").write_bytes(b"not a font")
    with pytest.raises(ValueError, match=r"load_atlas: .*broken\.ttf must be a font that Pillow"):
        load_atlas([[str(tmp_path / "broken.ttf")]])


def test_symbols_of_texts() -> None:
    table = symbols_of(["a€", "", "中b"])
    assert table.shape == (3, 2)
    assert table[0].min() >= 0
    assert table[1].tolist() == [-1, -1]
    assert table[2, 0] == -1
    assert table[2, 1] == table[0, 0] + 1  # b follows a
    assert table.max() < COUNT
    assert symbols_of([]).shape == (0, 1)
