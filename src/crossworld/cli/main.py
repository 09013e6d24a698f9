"""``crossworld``: the commands, and what their exit codes mean.

0 done; 1 a bug of ours; 2 the input or the usage is wrong; 3 the effect is not identified.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
import warnings
from typing import NoReturn

import typer

from crossworld.cli import audit, demo, export, identify, mediate, patch, serve, watch
from crossworld.errors import CrossworldError, CrossworldWarning

app = typer.Typer(
    name="crossworld",
    help="Causal mediation analysis: how much of an effect travels through which path.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("demo")(demo.demo)
app.command("mediate")(mediate.mediate)
app.command("run")(mediate.run)
app.command("identify")(identify.identify)
app.command("watch")(watch.watch)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.add_typer(audit.audit, name="audit")
app.add_typer(patch.patch, name="patch")


def _version(asked: bool) -> None:
    if asked:
        from crossworld.core.provenance import installed

        print(f"crossworld {installed('crossworld')}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Causal mediation analysis: how much of an effect travels through which path."""


def _read_no_more() -> NoReturn:
    """End well: nobody reads what is left to print."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(0)


def main() -> None:
    """Run a command; errors made for people are printed without a traceback."""
    warnings.simplefilter("ignore", CrossworldWarning)  # results carry and print them
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # the reader of a help text went away
            _read_no_more()
        raise
    except CrossworldError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        _read_no_more()
    except OSError as error:
        print(f"error: {error.strerror}: {error.filename or 'output'}", file=sys.stderr)
        sys.exit(2)
    except Exception:
        traceback.print_exc()
        print(
            "\nThis is a bug in crossworld; please report it with the lines above.", file=sys.stderr
        )
        sys.exit(1)


if __name__ == "__main__":
    main()
