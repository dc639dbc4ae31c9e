"""Witten-Bell n-grams by their definition, without a tree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

BEGIN, END = "<", ">"


class LanguageModel:
    """Counts of every n-gram of the texts, each between BEGIN and END."""

    def __init__(self, texts: Mapping[str, int], symbols: Sequence[str], order: int) -> None:
        self.choices = [*symbols, END]
        self.order = order
        self.counts: dict[tuple[str, ...], int] = {}
        for text, count in texts.items():
            marked = (BEGIN, *text, END)
            for length in range(1, order + 1):
                for i in range(len(marked) - length + 1):
                    ngram = marked[i : i + length]
                    self.counts[ngram] = self.counts.get(ngram, 0) + count

    def probability(self, symbol: str, context: tuple[str, ...]) -> float:
        """p(symbol | context); of the context its last order - 1 symbols count."""
        context = context[len(context) - min(len(context), self.order - 1) :]
        shorter = self.probability(symbol, context[1:]) if context else 1 / len(self.choices)
        after = [self.counts.get((*context, choice), 0) for choice in self.choices]
        total, kinds = sum(after), sum(count > 0 for count in after)
        if kinds == 0:
            return shorter
        return (self.counts.get((*context, symbol), 0) + kinds * shorter) / (total + kinds)

    def log_prob(self, text: str) -> float:
        marked = (BEGIN, *text, END)
        return sum(math.log(self.probability(marked[i], marked[:i])) for i in range(1, len(marked)))
