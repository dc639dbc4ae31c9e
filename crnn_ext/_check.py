"""The argument checks of every public function; kernels trust their callers."""

from __future__ import annotations

from typing import Any, NoReturn


def fail(op: str, argument: str, rule: str, got: object) -> NoReturn:
    """Raise ``ValueError("<op>: <argument> must <rule>, got <got>")``."""
    raise ValueError(f"{op}: {argument} must {rule}, got {got}")


def fail_type(op: str, argument: str, rule: str, got: Any) -> NoReturn:
    """Raise ``TypeError`` of the same form; `got` is the offending value."""
    raise TypeError(f"{op}: {argument} must {rule}, got {type(got).__name__}")
