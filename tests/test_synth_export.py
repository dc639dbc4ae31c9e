"""Synthetic words on disk, on a sheet, and fonts in an archive."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crnn.charset import Charset
from crnn.cli import main
from crnn.data import open_dataset
from crnn.synth import Renderer, SyntheticWords, TextSampler, find_fonts
from crnn.synth.export import contact_sheet, export
from crnn.synth.glyphs import Face
from crnn.synth.pack import SYMBOLS, pack_fonts


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def data(font_folder: Path) -> SyntheticWords:
    renderer = Renderer([[str(font_folder / "default.ttf")]])
    texts = TextSampler(["exit", "carpark"])
    return SyntheticWords(texts, renderer, Charset.named("62"), 1, seed=5)


def test_a_sheet_shows_every_sample(data: SyntheticWords) -> None:
    samples = [data.sample(i) for i in range(5)]
    sheet = np.asarray(contact_sheet(samples, columns=2).convert("L"))
    assert sheet.shape == (3 * 78, 2 * 190)
    cells = sheet.reshape(3, 78, 2, 190).transpose(0, 2, 1, 3).reshape(6, 78, 190)
    for cell in cells[:5]:
        assert cell[:60].min() < 250  # the image
        assert cell[62:].min() < 100  # its label
    assert cells[5].min() == 255  # the cell without a sample


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"samples and columns must be at least 1, got 0 and 8"):
        contact_sheet([])


@pytest.mark.parametrize("name", ["words", "words.lmdb"])
def test_an_export_is_read_back(data: SyntheticWords, tmp_path: Path, name: str) -> None:
    if name.endswith(".lmdb"):
        pytest.importorskip("lmdb")
    export(data, tmp_path / name, count=7, start=20)
    samples = list(open_dataset(tmp_path / name))
    assert len(samples) == 7
    for i, sample in enumerate(samples):
        pixels, label = data.sample(20 + i)
        assert sample.label == label
        image = open_dataset(tmp_path / name).image(i)
        assert np.array_equal(_pixels(image), pixels)


def _pixels(image: bytes | Image.Image) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(image)) if isinstance(image, bytes) else image)


def test_workers_export_the_same(data: SyntheticWords, tmp_path: Path) -> None:
    export(data, tmp_path / "alone", count=4)
    export(data, tmp_path / "spread", count=4, workers=2)
    files = sorted(p.relative_to(tmp_path / "alone") for p in (tmp_path / "alone").rglob("*.*"))
    assert len(files) == 5
    for file in files:
        assert (tmp_path / "alone" / file).read_bytes() == (tmp_path / "spread" / file).read_bytes()


def test_export_errors(data: SyntheticWords, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="export: count must be at least 1, got 0"):
        export(data, tmp_path / "none", count=0)
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match="export: destination must not exist yet, got"):
        export(data, tmp_path / "there", count=1)


def test_an_archive_gives_the_fonts_back(font_folder: Path, tmp_path: Path, cache: Path) -> None:
    pytest.importorskip("fontTools")
    font = str(font_folder / "default.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    archive = tmp_path / "fonts.zip"
    refused = pack_fonts([[font, font], [str(tmp_path / "broken.ttf")]], archive, per_family=1)
    assert refused == [str(tmp_path / "broken.ttf")]
    assert archive.stat().st_size < Path(font).stat().st_size / 2
    again = tmp_path / "again.zip"
    pack_fonts([[font]], again)
    assert again.read_bytes() == archive.read_bytes()
    ((path,),) = find_fonts([archive])
    assert Path(path).is_relative_to(cache)
    assert find_fonts([archive]) == [[path]]  # unpacked before
    whole, packed = Face(font), Face(path)
    for char in filter(whole.has, SYMBOLS):
        assert packed.has(char), char
        assert packed.glyph(char).advance == pytest.approx(whole.glyph(char).advance, abs=1)
    assert not packed.has("é")  # it was reduced
    mask, expected = packed.glyph("R").mask, whole.glyph("R").mask
    assert abs(int(mask.sum()) - int(expected.sum())) < 0.1 * expected.sum()


@pytest.mark.parametrize("content", [b"", b"PK no archive", None])
def test_a_damaged_archive_is_named(tmp_path: Path, content: bytes | None) -> None:
    archive = tmp_path / "fonts.zip"
    if content is None:
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("families.json", '[["../../outside.ttf"]]')
            file.writestr("../../outside.ttf", "x")
    else:
        archive.write_bytes(content)
    with pytest.raises(ValueError, match=r"find_fonts: .*fonts\.zip must be an archive of"):
        find_fonts([archive])
    assert not (tmp_path.parent / "outside.ttf").exists()


def test_packing_errors(font_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"pack_fonts: archive must end in \.zip, got fonts\.tar"):
        pack_fonts([], Path("fonts.tar"))
    with pytest.raises(ValueError, match="families must hold a TrueType or OpenType font"):
        pack_fonts([], tmp_path / "fonts.zip")
    assert not list(tmp_path.glob("*.zip"))


def test_the_command(font_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("fontTools")
    (tmp_path / "words.txt").write_text("exit\ncarpark\n")
    archive, sheet = tmp_path / "fonts.zip", tmp_path / "sheet.png"
    common = ["--fonts", str(archive), "--words", str(tmp_path / "words.txt"), "--seed", "3"]
    assert main(["synth", "pack-fonts", str(archive), "--fonts", str(font_folder)]) == 0
    assert "0 fonts could not be reduced" in capsys.readouterr().out
    assert main(["synth", "preview", str(sheet), "--rows", "2", "--columns", "3", *common]) == 0
    with Image.open(sheet) as image:
        assert image.size == (3 * 190, 2 * 78)
    composed = [*common, "--rows", "2", "--columns", "3", "--compose", "device"]
    assert main(["synth", "preview", str(sheet), *composed]) == 0
    with Image.open(sheet) as image:
        assert image.size == (3 * 190, 2 * 78)
    assert main(["synth", "preview", str(sheet), *composed, "--start", "2"]) == 2
    assert "start must be 0 with --compose device, got 2" in capsys.readouterr().err
    photographs = tmp_path / "photographs.zip"
    assert main(["synth", "pack-backgrounds", str(photographs), str(tmp_path)]) == 0
    assert "1 photographs" in capsys.readouterr().out  # the sheet
    assert main(["synth", "export", str(tmp_path / "out"), "--count", "3", *common]) == 0
    assert len((tmp_path / "out" / "gt.tsv").read_text().splitlines()) == 3
    assert main(["synth", "export", str(tmp_path / "out"), "--count", "3", *common]) == 2
    assert "destination must not exist yet" in capsys.readouterr().err
    assert main(["synth", "preview", str(sheet), "--difficulty", "2", *common]) == 2
    assert "difficulty must be within [0, 1], got 2.0" in capsys.readouterr().err
