"""Label files of the field, recognised by themselves.

`image<TAB>label` lines, and ICDAR's `image, "label"` with its byte-order mark and quotes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LABEL_FILES = ("labels.tsv", "gt.tsv", "gt.txt", "labels.txt")


@dataclass(frozen=True)
class Sample:
    """One image file and what it says."""

    path: Path
    label: str


def read_samples(source: str | Path) -> list[Sample]:
    """The samples of a label file, or of a folder that holds one of `LABEL_FILES`.

    Image paths are relative to the label file. The first line decides the form: a tab, or
    ICDAR's comma.

    Raises:
        ValueError: there is no label file, or a line has neither form; the message names both.
    """
    path = Path(source)
    if path.is_dir():
        found = [path / name for name in LABEL_FILES if (path / name).exists()]
        if not found:
            raise ValueError(
                f"read_samples: source must hold one of {', '.join(LABEL_FILES)}, got {path}"
            )
        path = found[0]
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"read_samples: cannot read {path} ({error})") from error
    samples = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, separator, label = line.partition("\t" if "\t" in line else ",")
        if not separator or not name.strip():
            raise ValueError(
                f"read_samples: {path}:{number} must be 'image<TAB>label' or 'image, \"label\"', "
                f"got {line[:80]!r}"
            )
        if separator == ",":
            label = label.strip()
            if len(label) >= 2 and label[0] == label[-1] == '"':
                label = label[1:-1]
        samples.append(Sample(path.parent / name.strip(), label))
    return samples
