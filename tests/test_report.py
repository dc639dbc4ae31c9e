"""Tables in the documents are those of benchmarks/results."""

from __future__ import annotations

import pytest

from benchmarks.report import DOCUMENTS, ROOT, render


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_show_the_newest_results(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "<!-- results: " in text
    assert render(text) == text, "run `python -m benchmarks.report`"


def test_a_table_is_filled_in() -> None:
    filled = render("before\n<!-- results: ctc -->\nold\n<!-- end -->\nafter")
    assert filled.startswith("before\n<!-- results: ctc -->\n")
    assert filled.endswith("<!-- end -->\nafter")
    assert "old" not in filled
    assert "| T=26, N=512, C=37, L=8" in filled
    assert "python -m benchmarks.ctc" in filled


def test_a_table_of_one_implementation() -> None:
    filled = render("<!-- results: accuracy small -->\n<!-- end -->")
    assert filled.startswith("<!-- results: accuracy small -->\n")
    assert "| small |" in filled
    assert render("<!-- results: accuracy other -->\n<!-- end -->").count("|") == 0


def test_a_table_without_results_says_so() -> None:
    assert "Not measured yet." in render("<!-- results: nothing -->\n<!-- end -->")
