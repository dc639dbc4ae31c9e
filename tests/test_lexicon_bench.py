"""`crnn lexicon bench`: every search of a lexicon, on images and on made-up posteriors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from pictures import labelled, write
from PIL import Image
from tiny import CHARSET, save_tiny

from crnn.cli import main
from crnn.data import open_dataset
from crnn.evaluation import PROTOCOLS
from crnn.evaluation.lexicon_bench import (
    Frames,
    frames_of_data,
    frames_of_images,
    made_up_frames,
    search_figures,
)
from crnn.recognizer import Recognizer
from crnn_ext import Lexicon, greedy_decode

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = ["head", "bead", "fade", "cab", "deaf", "badge", "ebb", "egg"]


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recognizer:
    """The tiny model; its folder is the current one."""
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("\n".join([*WORDS, "zoo"]))
    return Recognizer.from_pretrained(save_tiny(tmp_path / "tiny.safetensors"))


def test_figures_by_their_definition(reader: Recognizer) -> None:
    lexicon = Lexicon(WORDS, CHARSET.symbols)
    samples = made_up_frames(lexicon, WORDS, 6.0, 1.0, 40, confused=0.2)
    found = search_figures(lexicon, samples, deltas=(0, 2), rounds=1)
    assert [f.name for f in found] == ["bk-tree delta=0", "bk-tree delta=2", "exact", "exhaustive"]
    best = [lexicon.decode(s.log_probs, method="exhaustive")[0].word for s in samples]
    near = [lexicon.decode(s.log_probs, method="bk-tree", delta=0)[0].word for s in samples]
    right = [word in (s.truths or ()) for word, s in zip(best, samples, strict=True)]
    assert found[0].recall == sum(a == b for a, b in zip(best, near, strict=True)) / 40
    assert found[0].recall < found[1].recall
    assert found[2].recall == found[3].recall == 1.0
    assert found[2].accuracy == found[3].accuracy == sum(right) / 40
    assert found[3].words == len(WORDS)
    assert all(0 < f.seconds <= f.p95 for f in found)
    with pytest.raises(ValueError, match="must hold one that can be read, got none"):
        search_figures(lexicon, [])


def test_made_up_frames_say_their_word() -> None:
    music = Lexicon(["C4 C4 D4", "E4"], ["C4", "D4", "E4"], blank=3)
    long = Lexicon(["a" * 40, "ab"], "ab")
    for lexicon in (music, long):
        for sample in made_up_frames(lexicon, list(lexicon), 9.0, 0.1, 10):
            assert sample.log_probs.exp().sum(1) == pytest.approx(1.0, abs=1e-5)
            (word,) = sample.truths or ()
            (result,) = greedy_decode(sample.log_probs, blank=lexicon.blank)
            assert lexicon.decode(sample.log_probs)[0].labels == result.labels
            assert lexicon.decode(sample.log_probs)[0].word == word
    first, again = (made_up_frames(long, ["ab"], 3.0, 1.0, 2) for _ in range(2))
    assert torch.equal(first[1].log_probs, again[1].log_probs)


def test_truths_are_the_protocols(reader: Recognizer, tmp_path: Path) -> None:
    lexicon = Lexicon(["cab", "head"], CHARSET.symbols)
    data = open_dataset(labelled(tmp_path / "data", ["CAB!", "zoo", "head", "head"]))
    (tmp_path / "data" / "2.png").write_bytes(b"broken")
    found, failed = frames_of_data(reader, data, lexicon, PROTOCOLS["36"], 100)
    assert failed == 1
    assert sorted(map(sorted, (f.truths or () for f in found))) == [[], ["cab"], ["head"]]
    exact, _ = frames_of_data(reader, data, lexicon, PROTOCOLS["exact"], 2)
    assert [f.truths for f in exact] == [frozenset()]  # 0 and 2, of which 2 is broken
    files = [write(tmp_path / "a.png"), b"", tmp_path / "data"]
    images, failed = frames_of_images(reader, files, 3)
    assert (len(images), failed) == (3, 1)
    assert images[0].truths is None
    # The same frames as of a data set.
    assert any(torch.allclose(images[1].log_probs, f.log_probs, atol=1e-3) for f in found)
    figures = search_figures(lexicon, [Frames(f.log_probs, None) for f in images], rounds=1)
    assert all(f.accuracy is None for f in figures)


def test_the_command(reader: Recognizer, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["lexicon", "bench", "words.txt", "--model", "tiny.safetensors", "--count", "10"]
    assert main([*base, "--plot", "plot.png"]) == 0
    out, err = capsys.readouterr()
    assert err.startswith("crnn: words of words.txt with symbols that the model lacks")
    lines = out.splitlines()
    assert lines[0].startswith("words.txt: 8 words, 0.0 MB in memory")
    assert lines[1].startswith("10 made-up posteriors")
    assert [line.split()[0] for line in lines[3:]] == ["bk-tree"] * 6 + ["exact", "exhaustive"]
    with Image.open("plot.png") as plot:
        assert plot.size == (900, 600)
    labelled(Path("data"), [*WORDS, "cab"])
    assert main([*base, "--data", "data", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(rows) == 8
    assert rows[0]["images"] == 9
    assert all(row["accuracy"] is not None for row in rows)
    Path("data/3.png").write_bytes(b"")
    assert main([*base, "--images", "data", "--plot", "plot.png"]) == 1
    out, err = capsys.readouterr()
    assert "\n8 images\n" in out
    assert "1 images could not be read" in err
    Path("empty").mkdir()
    for arguments, message in (
        (["--images", "empty"], "must hold one that can be read, got none"),
        (["--data", "none"], "none"),
        (["--count", "0"], "count must be at least 1, got 0"),
    ):
        assert main([*base, *arguments]) == 2
        assert message in capsys.readouterr().err
    assert main(["lexicon", "bench", "none.txt", "--model", "tiny.safetensors"]) == 2
