"""Reading images by beam search: Recognizer, `crnn read` and `crnn eval`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import CHARSET, tiny_checkpoint

import crnn_ext
from crnn import Beam, Recognizer
from crnn.charset import Charset
from crnn.cli import main
from crnn.data import open_dataset
from crnn.evaluation import Search, evaluate
from crnn.transcription import Transcriber

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images with labels, the current one while the test runs."""
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    folder.mkdir()
    for i in range(8):
        noise = np.random.default_rng(i).integers(0, 256, (4, 12), np.uint8)
        Image.fromarray(noise).resize((100 + 10 * i, 32)).save(folder / f"{i}.png")
        (folder / f"{i}.gt.txt").write_text("head")
    return folder


@pytest.fixture
def lm() -> crnn_ext.LanguageModel:
    words = ["head", "bead", "deaf", "cab", "feed", "egg", "gaffe", "decade"]
    return crnn_ext.LanguageModel(words, CHARSET.symbols)


def test_a_transcriber_reads_what_beam_decode_finds(lm: crnn_ext.LanguageModel) -> None:
    logits = torch.randn(12, 30, 9, generator=torch.Generator().manual_seed(1)) * 2
    lengths = torch.tensor([n % 12 + 1 for n in range(30)])
    lexicon = crnn_ext.Lexicon(["head", "bad", "ad"], CHARSET.symbols)
    log_probs = logits.log_softmax(2)
    for words, beam, options in (
        (None, Beam(), {}),
        (
            None,
            Beam(4, lm, 0.6, 0.3, 0.1),
            {
                "beam": 4,
                "lm": lm,
                "lm_weight": 0.6,
                "lm_unknown": 0.3,
                "symbol_bonus": 0.1,
                "n_best": 5,
            },
        ),
        (lexicon, Beam(free="cg"), {"lexicon": lexicon, "free": "cg"}),
    ):
        transcripts = Transcriber(CHARSET, words, "beam", beam=beam)(logits, lengths)
        results = crnn_ext.beam_decode(log_probs, lengths, **options)
        for transcript, found in zip(transcripts, results, strict=True):
            assert transcript is not None
            assert transcript.labels == found[0].labels
            # The share of its score, of the probability that all of the beam have together.
            shares = [math.exp(result.score - found[0].score) for result in found if beam.lm] or [1]
            together = sum(math.exp(result.log_prob) for result in found)
            assert transcript.confidence == pytest.approx(together * shares[0] / sum(shares))


def test_read(photos: Path, lm: crnn_ext.LanguageModel) -> None:
    reader = Recognizer(tiny_checkpoint())
    greedy = reader.read(photos)
    beams = reader.read(photos, method="beam")
    for free, best in zip(greedy, beams, strict=True):
        assert best.confidence >= free.confidence * (1 - 1e-9)
    lm.save("words.lm")
    weighed = reader.read(photos, method="beam", beam=Beam(lm="words.lm", lm_weight=5.0))
    assert weighed == reader.read(photos, method="beam", beam=Beam(lm=lm, lm_weight=5.0))
    assert [r.text for r in weighed] != [r.text for r in greedy]
    gained = [
        lm.log_prob(a.text) - lm.log_prob(b.text) for a, b in zip(weighed, beams, strict=True)
    ]
    assert min(gained) > -1e-9
    texts = reader.read(photos, lexicon=["head", "bad"], method="beam", beam=Beam(free="c"))
    assert all(set(r.text.split("c")) <= {"", "head", "bad"} for r in texts)


def test_the_confidence_of_all_texts_of_a_language_model_adds_up_to_1() -> None:
    lm = crnn_ext.LanguageModel(["aa", "ab", "abb"], "ab")
    log_probs = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(2)).log_softmax(2)
    beam = Beam(10**3, lm, 0.5)
    every = beam.decode(Charset("ab"), None, log_probs, torch.tensor([5] * 7), n_best=10**3)
    for found in every:
        assert sum(best.confidence or 0.0 for best in found) == pytest.approx(1, abs=2e-3)


def test_a_recognizer_reads_with_its_own_language_model(
    model: str, photos: Path, lm: crnn_ext.LanguageModel
) -> None:
    plain = Recognizer.from_pretrained(model)
    weighing = Recognizer.from_pretrained(model, language_model=lm)
    assert plain.beam.lm is None  # a file has none of its own
    greedy = plain.read(photos)
    assert weighing.read(photos, method="greedy") == greedy == plain.read(photos, method="greedy")
    expected = plain.read(photos, method="beam", beam=Beam(lm=lm))
    assert weighing.read(photos) == weighing.read(photos, method="beam") == expected
    assert plain.read(photos, beam=Beam(lm=lm)) == expected != greedy
    words = ["head", "bad"]
    assert weighing.read(photos, lexicon=words) == plain.read(photos, lexicon=words)
    texts = weighing.read(photos, lexicon=words, method="beam")
    assert texts == plain.read(photos, lexicon=words, method="beam")


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ([], {}),
        (["--lm", "none"], {"method": "greedy"}),
        (["--method", "greedy"], {"method": "greedy"}),
        (["--beam", "2"], {"beam": Beam(2, "english")}),
        (["--lm-weight", "0.9"], {"beam": Beam(lm="english", lm_weight=0.9)}),
        (["--lm", "none", "--beam", "3"], {"beam": Beam(3)}),
        (["--lexicon", "words.txt"], {"lexicon": ["bead", "head"]}),
    ],
)
def test_models_of_the_package_read_with_its_language_model(
    arguments: list[str], options: dict[str, Any], photos: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    Path("words.txt").write_text("head\nbead\n")
    reader = Recognizer.from_pretrained("small")
    assert reader.beam.lm is not None
    expected = [reading.text for reading in reader.read(photos, **options)]
    assert main(["read", str(photos), "--model", "small", "--format", "tsv", *arguments]) == 0
    assert [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()] == expected
    assert main(["eval", "small", str(photos), "-o", "run.json", *arguments]) == 0
    scored = json.loads(Path("run.json").read_text())[0]["samples"]
    assert sorted(outcome["reading"] for outcome in scored) == sorted(expected)
    assert ("read by beam" in capsys.readouterr().out) == ("beam" in options or not options)


def test_the_command_reads_the_same(
    model: str, photos: Path, lm: crnn_ext.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    lm.save("words.lm")
    Path("words.txt").write_text("head\nbad\n")
    reader = Recognizer.from_pretrained(model)
    for arguments, options in (
        ([], {}),
        (["--beam", "3", "--lm", "words.lm", "--lm-weight", "2"],
         {"beam": Beam(3, lm, 2.0)}),
        (["--lexicon", "words.txt", "--free", "cf"],
         {"lexicon": ["head", "bad"], "beam": Beam(free="cf")}),
    ):  # fmt: skip
        command = ["read", str(photos), "--model", model, "--format", "tsv", "--method", "beam"]
        assert main([*command, *arguments]) == 0
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        expected = reader.read(photos, method="beam", **options)
        assert [row[1] for row in rows] == [reading.text for reading in expected]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lm", "words.lm", "--method", "greedy"],
         "--lm must come with --method beam, got greedy"),
        (["--lm", "words.lm", "--lexicon", "words.txt"],
         "--lm must come with --method beam, got exact"),
        (["--beam", "3", "--method", "bk-tree"], "--beam must come with --method beam, got bk-"),
        (["--free", " ", "--lexicon", "words.txt"],
         "--free must come with --method beam, got exact"),
        (["--lexicon", "words.txt", "--method", "greedy"], None),
        (["--lm-weight", "1"], "--lm-weight must come with --lm, got none"),
        (["--lm", "none", "--lm-weight", "1"], "--lm-weight must come with --lm, got none"),
        (["--method", "beam", "--free", "a"], "--free must come with --lexicon, got none"),
        (["--method", "beam", "--beam", "0"], "beam_decode: beam must be at least 1, got 0"),
        (["--method", "beam", "--lm", "x.lm"], "read: lm must be a readable file, got x.lm"),
        (["--method", "beam", "--lm", "words.lm", "--lm-weight", "11"],
         "beam_decode: lm_weight must lie in [0, 10], got 11.0"),
        (["--method", "beam", "--lm", "other.lm"],
         "read: lm must have the model's 8 symbols, got 2 others"),
        (["--method", "beam", "--lexicon", "words.txt", "--free", "z"],
         "beam_decode: free must hold symbols of the lexicon only, got 'z'"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["read", "eval"])
def test_combinations_that_make_no_sense(
    command: str, arguments: list[str], message: str | None, model: str, photos: Path,
    lm: crnn_ext.LanguageModel, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lm.save("words.lm")
    crnn_ext.LanguageModel(["a"], "ab").save("other.lm")
    Path("words.txt").write_text("head\nbad\n")
    read = (
        ["read", str(photos), "--model", model] if command == "read" else ["eval", model, "photos"]
    )
    message = message or f"{command}: method must search the lexicon, got 'greedy'"
    assert main([*read, *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"crnn: {message}")


def test_eval(
    model: str, photos: Path, lm: crnn_ext.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    lm.save("words.lm")
    Path("words.txt").write_text("head\nbad\n")
    recognizer = Recognizer.from_pretrained(model)
    beam = Beam(8, "words.lm", 2.0)
    searches = [
        Search(method="beam"),
        Search(method="beam", beam=beam),
        Search("words.txt", "beam", beam=Beam(free="c")),
    ]
    scores = evaluate(recognizer, open_dataset("photos"), searches=searches)
    for score, options in zip(
        scores, [{}, {"beam": beam}, {"lexicon": ["head", "bad"], "beam": Beam(free="c")}],
        strict=True,
    ):  # fmt: skip
        expected = recognizer.read(photos, method="beam", **options)
        assert sorted(o.reading for o in score.outcomes) == sorted(r.text for r in expected)
    assert [score.method for score in scores] == ["beam 16", "beam 8, lm weight 2", "beam 16"]
    assert main(["eval", model, "photos", "--method", "beam", "--lm", "words.lm"]) == 0
    assert main(["eval", model, "photos", "--method", "beam", "--table3"]) == 2
    assert "--method must be the paper's in its tables, got beam" in capsys.readouterr().err
