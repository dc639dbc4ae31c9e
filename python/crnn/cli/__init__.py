"""The command ``crnn``.

Each subcommand is a module of this package, named in `COMMANDS`, with

- a docstring: its first line is the help line, all of it the description;
- ``EXAMPLES``: commands to show below the options;
- ``add_arguments(parser)`` and ``run(args) -> int``, which returns the exit status.

Such a module imports what is heavy (torch, the model) inside ``run``, so that help is quick.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib import metadata

COMMANDS = (
    "read",
    "explain",
    "train",
    "eval",
    "calibrate",
    "data",
    "synth",
    "lexicon",
    "lm",
    "doctor",
)

# What a shell reports for a program ended by these signals.
_INTERRUPTED = 128 + 2
_BROKEN_PIPE = 128 + 13


class CommandError(Exception):
    """A command cannot start: its message goes to stderr, the exit status is 2."""


def told(error: Exception) -> str:
    """What to say of an error; of the system's, which file it was."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``crnn`` with `argv` (default: the process's arguments); returns the exit status."""
    try:
        args = build_parser().parse_args(argv)
        # File names may hold bytes that are not text.
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="backslashreplace")
        status: int = args.run(args)
        sys.stdout.flush()
        return status
    except CommandError as error:
        print(f"crnn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("crnn: interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:  # the reader went away
        _close_stdout()
        return _BROKEN_PIPE
    except OSError as error:  # not of a command's own files: often of the one that stdout goes to
        print(f"crnn: {told(error)}", file=sys.stderr)
        _close_stdout()
        return 2


def _close_stdout() -> None:
    """Python flushes stdout once more at exit: let that succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def build_parser() -> argparse.ArgumentParser:
    """The parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="crnn",
        description="Read words and other sequences from images.",
        epilog="examples:\n  crnn read photos/\n  crnn read --help\n  crnn doctor",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"crnn {metadata.version('crnn-ext')}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"crnn.cli.{name}")
        description = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=description.splitlines()[0],
            description=description,
            epilog=f"examples:\n{module.EXAMPLES.rstrip()}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser
