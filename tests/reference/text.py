"""Edit distance by its definition, and the nearest words by a scan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def edit_distance(a: Sequence[object], b: Sequence[object]) -> int:
    """The dynamic programme of Wagner and Fischer (1974), row by row."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x != y)))
        previous = row
    return previous[-1]


def words_within(words: Iterable[str], word: str, delta: int) -> list[tuple[str, int]]:
    """Every word within delta edits, by distance, then by word."""
    scored = ((other, edit_distance(word, other)) for other in set(words))
    return sorted((pair for pair in scored if pair[1] <= delta), key=lambda p: (p[1], p[0]))
