"""Texts for a charset, and `crnn lm`."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import crnn_ext
from crnn.charset import Charset
from crnn.cli import main
from crnn.language import find_language_model, read_texts


def test_words_of_a_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("Stop, (the) train! don't --\n\n", "utf-8-sig")
    texts = read_texts(path, Charset.named("36"))
    assert texts.training == {"stop": 1, "the": 1, "train": 1, "don't": 1}
    assert read_texts(path, Charset.named("62")).training["Stop"] == 1
    assert read_texts(path, Charset.named("94")).training["(the)"] == 1


def test_lines_with_a_space_or_of_longer_symbols(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text(" a b \n\nab\r\na b\n", "utf-8")
    assert read_texts(path, Charset("ab ")).training == {"a b": 2, "ab": 1}
    path.write_text("C4 D4\nC4\n", "utf-8")
    assert read_texts(path, Charset(["C4", "D4"])).training == {"C4 D4": 1, "C4": 1}


def test_each_twentieth_line_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("".join(f"a{i}\n" for i in range(1, 61)), "utf-8")
    texts = read_texts(path, Charset.named("36"))
    assert texts.held_out == {"a20": 1, "a40": 1, "a60": 1}
    assert len(texts.training) == 57


def test_build_and_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, file = tmp_path / "words.txt", tmp_path / "words.lm"
    text.write_text("exit\nEntrance, lift\ncafé\n" * 40, "utf-8")
    assert main(["lm", "build", str(text), "-o", str(file), "--order", "3"]) == 0
    output = capsys.readouterr()
    model = crnn_ext.LanguageModel.load(file)
    assert (model.order, model.symbols) == (3, Charset.named("36").symbols)
    expected = crnn_ext.LanguageModel(
        {"exit": 40, "entrance": 40, "lift": 40}, model.symbols, order=3
    )
    assert model.log_prob("exit") == expected.log_prob("exit")
    assert f"{file}: {len(model)} n-grams of 3 different texts" in output.out
    held_out = float(output.out.split("perplexity ")[1].split()[0])
    assert 1 < held_out < 2
    assert "left out: 1, such as 'café'" in output.err
    assert main(["lm", "score", str(file), "exit", "exti"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert float(first.split()[3]) == pytest.approx(model.log_prob("exit"), abs=1e-3)
    assert float(first.split()[3]) > float(second.split()[3])


def test_a_short_text_has_no_line_to_hold_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "words.txt"
    text.write_text("exit\n", "utf-8")
    assert main(["lm", "build", str(text), "-o", str(tmp_path / "lm")]) == 0
    assert "no line was held out" in capsys.readouterr().out


def test_a_charset_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "charset").write_text("a\nç\n", "utf-8")
    (tmp_path / "text").write_text("aç ça\n", "utf-8")
    arguments = [str(tmp_path / "text"), "-o", str(tmp_path / "lm")]
    assert main(["lm", "build", *arguments, "--charset", str(tmp_path / "charset")]) == 0
    assert crnn_ext.LanguageModel.load(tmp_path / "lm").symbols == ("a", "ç")


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (None, [], "lm: text must be a readable file, got"),
        (b"\n\xff", [], "lm: text must be UTF-8, got"),
        (b"", [], "LanguageModel: texts must hold at least one text, got none"),
        (b"??? !", [], "LanguageModel: texts must hold at least one text, got none"),
        (b"a", ["--order", "9"], "LanguageModel: order must lie in [1, 8], got 9"),
        (b"a", ["--charset", "37"], "lm: charset must be one of 36, 62, 94, music or a UTF-8 file"),
        (b"a", ["-o", "/dev/null/lm"], "lm: /dev/null/lm must be writable (Not a directory)"),
    ],
)
def test_build_errors(
    text: bytes | None,
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if text is not None:
        (tmp_path / "text").write_bytes(text)
    arguments = ["lm", "build", str(tmp_path / "text"), "-o", str(tmp_path / "lm"), *options]
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"crnn: {message}")
    assert not (tmp_path / "lm").exists()


def test_find_language_model(tmp_path: Path) -> None:
    charset = Charset.named("36")
    model = crnn_ext.LanguageModel(["exit"], charset.symbols)
    assert find_language_model(model, charset) is model
    model.save(tmp_path / "lm")
    assert math.isfinite(find_language_model(tmp_path / "lm", charset).log_prob("exit"))
    with pytest.raises(ValueError, match=r"^read: lm must have the model's 62 symbols, got 36 o"):
        find_language_model(model, Charset.named("62"))
    with pytest.raises(ValueError, match=r"^read: lm must be a readable file, got "):
        find_language_model(tmp_path / "none", charset)
    (tmp_path / "text").write_text("exit\n")
    with pytest.raises(ValueError, match="must name a whole language model"):
        find_language_model(tmp_path / "text", charset)


def test_the_packaged_model_of_english_knows_words_from_noise() -> None:
    charset = Charset.named("36")
    model = find_language_model("english", charset)
    for word in ("street", "restaurant", "parking"):
        assert model.log_prob(word) > model.log_prob(word[::-1])
        assert model.log_prob(word) / len(word) > math.log(1 / 36)  # better than none
    assert model.log_prob("1985") > model.log_prob("1q85")
    with pytest.raises(ValueError, match="lm must be a path or one of english, got 'klingon'"):
        find_language_model("klingon", charset)
    with pytest.raises(ValueError, match="lm must have the model's 62 symbols"):
        find_language_model("english", Charset.named("62"))
