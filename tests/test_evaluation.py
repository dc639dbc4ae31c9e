"""Evaluation and reports of `crnn eval`, on a tiny model whose readings serve as labels."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from pictures import labelled, write
from PIL import Image
from tiny import CONFIG, save_tiny, tiny_checkpoint

from crnn.charset import Charset
from crnn.checkpoint import Checkpoint
from crnn.cli import main
from crnn.data import Dataset, open_dataset
from crnn.evaluation import (
    PROTOCOLS,
    Search,
    evaluate,
    load_run,
    protocol,
    save_run,
)
from crnn.evaluation.paper import TABLE2, figure4, figure4_plot, table2, table2_text, table3
from crnn.evaluation.sheet import contact_sheet
from crnn.images import Preprocessing
from crnn.model import CRNN
from crnn.recognizer import Recognizer

pytestmark = pytest.mark.usefixtures("one_thread")
COUNT = 9


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def recognizer(model: str) -> Recognizer:
    return Recognizer.from_pretrained(model)


@pytest.fixture(scope="module")
def readings(recognizer: Recognizer, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the model reads in the images 0, 1, ... of `pictures.labelled`."""
    folder = tmp_path_factory.mktemp("images")
    images = [write(folder / f"{i}.png", i) for i in range(COUNT)]
    texts = [reading.text for reading in recognizer.read(images)]
    assert all(texts)
    assert len(set(texts)) == COUNT
    return texts


# ---- evaluation -------------------------------------------------------------------------------


def test_lexicon_free(recognizer: Recognizer, readings: list[str], tmp_path: Path) -> None:
    labels = [text.upper() + "!" for text in readings]
    labels[1], labels[2] = "wrong", "..."
    data = open_dataset(labelled(tmp_path, labels))
    (tmp_path / "3.png").write_bytes(b"broken")
    scores = [evaluate(recognizer, data, batch_size=size)[0] for size in (1, 4, 64)]
    for score in scores:
        assert (score.count, score.right, score.skipped, score.failed) == (8, 6, 1, 1)
        assert [o.name for o in score.outcomes] == [
            f"{tmp_path}/{i}.png" for i in range(COUNT) if i != 2
        ]
        assert {o.name[-5:] for o in score.errors} == {"1.png", "3.png"}
        assert score.errors[0].text == readings[1]
        # An image's reading does not depend on its batch.
        assert [o.reading for o in score.outcomes] == [o.reading for o in scores[0].outcomes]
    same = recognizer.read(tmp_path / "0.png")
    assert scores[0].outcomes[0].confidence == pytest.approx(same.confidence, rel=1e-5)


def test_a_model_that_gives_nan(readings: list[str], tmp_path: Path) -> None:
    broken = Recognizer(tiny_checkpoint())
    with torch.no_grad():
        broken.model.head.bias.fill_(math.nan)
    data = with_lexicons(tmp_path, readings)
    for score in evaluate(broken, data, searches=[Search(), Search("50"), Search("full")]):
        assert (score.right, score.failed) == (0, COUNT)
        assert (
            score.outcomes[0].error
            == f"read: logits of {tmp_path}/0.png must be finite, got NaN or inf"
        )


def with_lexicons(folder: Path, readings: list[str]) -> Dataset:
    """Image i has its reading and two other words to choose from; 0 lacks its own."""
    labelled(folder, readings)
    words = [[*(readings[0:0] if i == 0 else [t]), "HEAD", "zz!"] for i, t in enumerate(readings)]
    rows = [f"{i}.png\t{','.join(w.upper() for w in words[i])}" for i in range(len(readings))]
    (folder / "lex50.tsv").write_text("\n".join(rows))
    return open_dataset(folder)


def test_lexicon_based(recognizer: Recognizer, readings: list[str], tmp_path: Path) -> None:
    data = with_lexicons(tmp_path, readings)
    (tmp_path / "words.txt").write_text("\n".join(readings[:4]) + "\n\n")
    searches = [
        Search(), Search("50"), Search("image", "bk-tree", 0), Search("full"),
        Search(str(tmp_path / "words.txt"), "exhaustive"),
    ]  # fmt: skip
    free, own, tree, full, file = evaluate(recognizer, data, PROTOCOLS["36"], searches)
    assert free.right == COUNT
    assert [o.text for o in own.outcomes] == ["head", *readings[1:]]
    assert own.covered == pytest.approx((COUNT - 1) / COUNT)
    assert (own.lexicon, own.method, tree.lexicon, tree.method) == (
        "50", "exact", "50", "bk-tree delta=0",
    )  # fmt: skip
    # The BK-tree keeps the reading where no word lies within delta.
    assert [o.text for o in tree.outcomes] == readings
    assert {o.text for o in full.outcomes} <= {*readings[1:], "head"}
    assert [o.text for o in file.outcomes][:4] == readings[:4]
    assert file.covered == pytest.approx(4 / COUNT)


def test_words_in_any_case_for_a_model_with_case(tmp_path: Path) -> None:
    """Lists give one case, images have any: the likeliest spelling of a word counts."""
    charset = Charset("abcdefghABCDEFGH")
    torch.manual_seed(3)
    model = CRNN(CONFIG, charset.num_classes).eval()
    reader = Recognizer(Checkpoint(model, charset, Preprocessing(), {}))
    data = open_dataset(labelled(tmp_path, ["Head"] * 3))
    (tmp_path / "words").write_text("HEAD\n")
    (score,) = evaluate(reader, data, searches=[Search(str(tmp_path / "words"))])
    assert score.right == 3
    for i, found in enumerate(score.outcomes):
        spellings = [
            reader.read(tmp_path / f"{i}.png", lexicon=[word]).confidence
            for word in ("HEAD", "head", "Head")
        ]
        posterior = max(spellings) / sum(spellings)  # among the words and spellings of the list
        assert found.confidence == pytest.approx(posterior, abs=0.051)
    (exact,) = evaluate(reader, data, protocol("exact"), [Search(str(tmp_path / "words"))])
    assert [o.text for o in exact.outcomes] == ["HEAD"] * 3
    assert exact.right == 0


def test_an_image_without_words(
    recognizer: Recognizer, readings: list[str], tmp_path: Path
) -> None:
    labelled(tmp_path, readings[:2])
    (tmp_path / "lex50.tsv").write_text(f"0.png\t{readings[0]}\n1.png\tzz,???\n")
    (score,) = evaluate(recognizer, open_dataset(tmp_path), PROTOCOLS["36"], [Search("50")])
    assert [o.text for o in score.outcomes] == [readings[0], ""]
    assert score.right == 1


def test_lexicons_that_cannot_be_had(
    recognizer: Recognizer, readings: list[str], tmp_path: Path
) -> None:
    data = open_dataset(labelled(tmp_path, readings[:2]))
    with pytest.raises(ValueError, match="must have a lexicon for each image, got none"):
        evaluate(recognizer, data, searches=[Search("image")])
    with pytest.raises(
        ValueError, match=r"lexicon must be one of none, image, full, or a readable"
    ):
        evaluate(recognizer, data, searches=[Search("50")])
    (tmp_path / "words").write_text("zoo\n???\n")
    with pytest.raises(ValueError, match="must hold a word that the model can write, got none"):
        evaluate(recognizer, data, searches=[Search(str(tmp_path / "words"))])


def test_images_far_wider_than_others(recognizer: Recognizer, tmp_path: Path) -> None:
    data = open_dataset(labelled(tmp_path, ["a"] * 6))
    for i in (1, 4):
        write(tmp_path / f"{i}.png", i, width=3000)
    (score,) = evaluate(recognizer, data)
    (alone,) = evaluate(recognizer, data, batch_size=1)
    assert [o.reading for o in score.outcomes] == [o.reading for o in alone.outcomes]
    assert len(score.outcomes[1].reading) > 100


def test_a_manifest_must_be_complete(
    recognizer: Recognizer, readings: list[str], tmp_path: Path
) -> None:
    data = open_dataset(labelled(tmp_path, readings[:3]))
    manifest = tmp_path / "list"
    manifest.write_text("0.png\n2.png\n")
    (score,) = evaluate(recognizer, data, protocol("36", manifest))
    assert [o.name for o in score.outcomes] == [f"{tmp_path}/0.png", f"{tmp_path}/2.png"]
    assert score.protocol.startswith("36 ")
    manifest.write_text("0.png\n9.png\n")
    with pytest.raises(ValueError, match=r"must have all 2 images of the manifest .* got 1"):
        evaluate(recognizer, data, protocol("36", manifest))


def test_a_list_that_is_not_given(
    recognizer: Recognizer, readings: list[str], tmp_path: Path
) -> None:
    data = open_dataset(labelled(tmp_path, [*readings[:3], "it's"]))
    rules = protocol("ic15-1811")
    with pytest.raises(ValueError, match=r"ic15-1811 is a list .* just those 1811, got 3"):
        evaluate(recognizer, data, rules)
    (score,) = evaluate(recognizer, data, dataclasses.replace(rules, count=3))
    assert score.count == 3


def test_a_saved_run(recognizer: Recognizer, readings: list[str], tmp_path: Path) -> None:
    data = open_dataset(labelled(tmp_path, [*readings[:3], "wrong"]))
    scores = evaluate(recognizer, data, PROTOCOLS["ic13-1015"], model="tiny")
    save_run(tmp_path / "run.json", scores)
    assert [s.outcomes for s in load_run(tmp_path / "run.json")] == [scores[0].outcomes]
    (loaded,) = load_run(tmp_path / "run.json")
    figures, expected = loaded.to_dict(), scores[0].to_dict()
    for key in ("seconds_per_image", "search_seconds_per_image"):
        assert figures.pop(key) == pytest.approx(expected.pop(key))
    assert figures == expected
    assert "NOT the 1015 words of ic13-1015" in str(loaded)
    for content in ("", "[{}]", "3", '[{"samples": [{"name": 1}]}]'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(ValueError, match="must be a run saved with --output"):
            load_run(tmp_path / "run.json")


# ---- reports ----------------------------------------------------------------------------------


def test_contact_sheet(recognizer: Recognizer, readings: list[str], tmp_path: Path) -> None:
    data = open_dataset(labelled(tmp_path, ["wrong"] * 8))
    (tmp_path / "7.png").write_bytes(b"broken")
    (score,) = evaluate(recognizer, data)
    sheet = contact_sheet(data, score.errors, "title")
    assert sheet.size == (6 * 220, 2 * 118 + 24)
    cells = [sheet.crop((x * 220, 24, x * 220 + 220, 142)) for x in range(6)]
    assert len({cell.tobytes() for cell in cells}) == 6
    assert contact_sheet(data, []).size[1] >= 24


def test_table2(recognizer: Recognizer, readings: list[str], tmp_path: Path) -> None:
    svt = with_lexicons(tmp_path / "svt", readings)
    ic03 = with_lexicons(tmp_path / "ic03", readings)
    (tmp_path / "large.txt").write_text("\n".join(readings))
    columns = table2(
        recognizer,
        {"svt": svt, "ic03": ic03},
        model="tiny",
        lexicon_50k=str(tmp_path / "large.txt"),
    )
    found = {(c.data, c.lexicon): s for c, s in columns if s is not None}
    assert list(found) == [
        ("svt", "50"), ("svt", "none"),
        ("ic03", "50"), ("ic03", "full"), ("ic03", "50k"), ("ic03", "none"),
    ]  # fmt: skip
    assert found["svt", "none"].accuracy == found["ic03", "50k"].accuracy == 1.0
    assert found["ic03", "50k"].method == "bk-tree delta=3"
    text = table2_text(columns, "tiny")
    assert (
        "| CRNN (the paper) | 97.6 | 94.4 | 78.2 | 96.4 | 80.8 | 98.7 | 97.6 | 95.5 | 89.4 | 86.7 |"
        in text
    )
    assert "| tiny | – | – | – | **88.9** | **100.0** |" in text
    assert "svt 50: 88.9% of words in it" in text
    assert "not the 867 of ic03-867" in text
    assert len(columns) == len(TABLE2)
    with pytest.raises(ValueError, match="must be named iiit5k, svt, ic03, ic13, got 'cute'"):
        table2(recognizer, {"cute": svt})


def test_figure4(recognizer: Recognizer, readings: list[str], tmp_path: Path) -> None:
    labels = [text[:-1] or "a" for text in readings]  # each one edit from its reading
    data = open_dataset(labelled(tmp_path, labels))
    (tmp_path / "words").write_text("\n".join(labels))
    scores = figure4(recognizer, data, str(tmp_path / "words"))
    assert [s.method for s in scores] == [
        *(f"bk-tree delta={d}" for d in range(6)), "exact", "exhaustive",
    ]  # fmt: skip
    assert scores[0].right < scores[1].right
    assert scores[6].right == scores[7].right
    figure4_plot(scores, tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as plot:
        assert plot.size == (900, 600)


def test_table3(recognizer: Recognizer, readings: list[str], tmp_path: Path) -> None:
    data = open_dataset(labelled(tmp_path, readings[:3]))
    (tmp_path / "0.png").write_bytes(b"broken")
    (tmp_path / "words").write_text("head\nfeed\n")
    figures = table3(recognizer, data, str(tmp_path / "words"))
    assert figures["parameters"] == sum(p.numel() for p in recognizer.model.parameters())
    assert figures["megabytes_float32"] == pytest.approx(figures["parameters"] * 4e-6)
    assert figures["images"] == 2
    assert figures["ms"] > 0
    assert figures["ms_50k"] > 0


# ---- the command ------------------------------------------------------------------------------


@pytest.fixture
def words(readings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set "words", in the current folder, with one label that is wrong."""
    with_lexicons(tmp_path / "words", ["bead", *readings[1:]])
    monkeypatch.chdir(tmp_path)
    return Path("words")


def test_eval_command(
    model: str, words: Path, readings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", model, "w=words", "--errors", "5", "--details", "--sheet", "e.png"]
    assert main([*arguments, "--output", "run.json"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("w: 88.9% (56.5%-98.0%), 8 of 9 words, ")
    assert f"  words/0.png: 'bead' read as {readings[0]!r} (" in out
    assert "most frequent edits" in out
    assert err == "  wrote e.png\n"
    assert main(["eval", model, "words", "--json", "--lexicon", "50", "--compare", "run.json"]) == 0
    figures, comparison = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (figures["right"], figures["lexicon"]) == (8, "50")
    assert comparison["comparison"]["both"] == 8
    assert main(["eval", model, "words", "--compare", model]) == 0
    assert "McNemar p = 1: no difference shown" in capsys.readouterr().out
    (words / "1.png").write_bytes(b"")
    capsys.readouterr()
    assert main(["eval", model, "words", "w=words", "--sheet", "sub.d.png"]) == 1
    err = capsys.readouterr().err
    assert err.count("crnn: load: words/1.png must be an image, got an empty file\n") == 2
    assert Path("sub.d.png").exists()
    assert Path("sub.d_2.png").exists()
    assert main(["eval", model, "words", "w=words", "--compare", "run.json"]) == 2
    assert "must hold as many data sets as are read, got 1" in capsys.readouterr().err


def test_the_papers_commands(
    model: str, words: Path, readings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("large.txt").write_text("\n".join(readings))
    assert main(["eval", model, "svt=words", "--table2"]) == 0
    assert "| **88.9** |" in capsys.readouterr().out
    assert main(["eval", model, "words", "--figure4", "--lexicon", "large.txt", "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 8
    assert main(["eval", model, "words", "--table3"]) == 0
    assert "(the paper: 8.3 M)" in capsys.readouterr().out
    assert main(["eval", model, "words", "--figure4"]) == 2
    assert main(["eval", model, "words", "--protocol", "ic15-1811"]) == 2
    assert "give it with --manifest" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["eval", "--protocols"])
    assert ended.value.code == 0
    assert "ic03-860   ICDAR 2003 test" in capsys.readouterr().out
