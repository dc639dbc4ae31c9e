"""What the field counts, by name: which labels are scored, and how texts are compared.

A protocol is a rule about labels, or a published list of images. Where it is a list (`manifest`),
it cannot be had from the labels: the list must be given, or a data set of just those images.
"""

from __future__ import annotations

import hashlib
import string
from dataclasses import dataclass, replace
from pathlib import Path

_ALPHANUMERIC = frozenset(string.digits + string.ascii_letters)
_PRINTED = _ALPHANUMERIC | frozenset(string.punctuation)


@dataclass(frozen=True)
class Protocol:
    """How a data set is scored.

    Attributes:
        name: what it is called.
        about: what it scores, and where that is published.
        symbols: the symbols that count, all others being dropped from label and reading; None
            for every text as it is.
        fold_case: compare in lower case.
        alphanumeric: score only labels that are nothing but 0-9, a-z, A-Z.
        least: score only labels of so many characters at least.
        count: samples that the full test set leaves; 0 for any number.
        manifest: the protocol is a list of images that no rule reproduces.
        listed: the names of that list, once given.
        digest: of the list's file.
        spaced: symbols are separated by spaces, and all count; `symbols` says nothing. A label
            without any is scored too: nothing is to be read.
    """

    name: str
    about: str
    symbols: frozenset[str] | None = _ALPHANUMERIC
    fold_case: bool = True
    alphanumeric: bool = False
    least: int = 0
    count: int = 0
    manifest: bool = False
    listed: frozenset[str] | None = None
    digest: str | None = None
    spaced: bool = False

    def normalise(self, text: str) -> str:
        """`text` as it is compared."""
        if self.spaced:
            return " ".join(text.split())
        if self.symbols is None:
            return text
        kept = "".join(symbol for symbol in text if symbol in self.symbols)
        return kept.lower() if self.fold_case else kept

    def scores(self, name: str, label: str) -> bool:
        """Whether the sample called `name` with this label is scored."""
        if self.alphanumeric and not all(symbol in _ALPHANUMERIC for symbol in label):
            return False
        if len(label) < self.least or not (self.normalise(label) or self.spaced):
            return False
        return self.listed is None or bool(_names_of(name) & self.listed)


def _names_of(name: str) -> set[str]:
    """All endings of a path: a list may say ``word_1.png`` or ``test/word_1.png``."""
    parts = Path(name.partition("#")[0]).parts
    keyed = {name.partition("#")[2]} - {""}  # a database's number
    return {"/".join(parts[i:]) for i in range(len(parts))} | keyed


_BAEK = "Baek et al. 2019, arXiv 1904.01906, section 3"
_WANG = "labels of 3 or more characters, all alphanumeric (Wang et al. 2011)"

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("36", "all labels, compared case-insensitively on 0-9a-z; others are dropped"),
        Protocol("62", "all labels, compared with case on 0-9a-zA-Z", fold_case=False),
        Protocol(
            "94", "all labels, compared with case and punctuation", _PRINTED, fold_case=False
        ),
        Protocol("exact", "all labels, compared as they are: any script", None, fold_case=False),
        Protocol("alnum", "as 36, of alphanumeric labels only", alphanumeric=True),
        Protocol("iiit5k", "IIIT5K's test part, as 36 (Mishra et al. 2012)", count=3000),
        Protocol("svt", "SVT's test part, as 36 (Wang et al. 2011)", count=647),
        Protocol(
            "ic03-867", f"ICDAR 2003 test: {_WANG}; {_BAEK}",
            alphanumeric=True, least=3, count=867,
        ),
        Protocol(
            "ic03-860",
            "ICDAR 2003 test: the 860 of ic03-867 whose boxes Wang et al. kept; a list, no rule",
            alphanumeric=True, least=3, count=860, manifest=True,
        ),
        Protocol("ic13-1095", f"ICDAR 2013 test, all labels as 36; {_BAEK}", count=1095),
        Protocol(
            "ic13-1015", f"ICDAR 2013 test: alphanumeric labels, as in the paper; {_BAEK}",
            alphanumeric=True, count=1015,
        ),
        Protocol(
            "ic13-857", f"ICDAR 2013 test: alphanumeric labels of 3 or more characters; {_BAEK}",
            alphanumeric=True, least=3, count=857,
        ),
        Protocol("ic15-2077", f"ICDAR 2015 test, all labels as 36; {_BAEK}", count=2077),
        Protocol(
            "ic15-1811",
            "ICDAR 2015 test without non-alphanumeric labels and without images that Cheng et al. "
            f"2017 found extremely rotated, distorted or curved: a list, no rule; {_BAEK}",
            alphanumeric=True, count=1811, manifest=True,
        ),
        Protocol(
            "music", "pitches joined by spaces, all of a fragment in order (section 3.4)",
            spaced=True, fold_case=False,
        ),
    )
}  # fmt: skip


def protocol(name: str, manifest: str | Path | None = None) -> Protocol:
    """The protocol called `name`, restricted to the images that the file `manifest` lists.

    Args:
        name: one of `PROTOCOLS`.
        manifest: one image name a line, or the end of its path; what follows a tab is ignored.

    Raises:
        ValueError: no such protocol, or the file cannot be read.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"eval: protocol must be one of {', '.join(PROTOCOLS)}, got {name!r}")
    chosen = PROTOCOLS[name]
    if manifest is None:
        return chosen
    try:
        content = Path(manifest).read_bytes()
        lines = content.decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"eval: manifest must be a readable text file, got {error}") from error
    listed = frozenset(line.partition("\t")[0].strip() for line in lines if line.strip())
    digest = hashlib.sha256(content).hexdigest()[:16]
    return replace(chosen, listed=listed, digest=digest)
