"""The command ``fedgan completion``: what makes a shell complete fedgan's commands, options and presets."""

from typing import Annotated

import typer

from common.errors import ConfigError

SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
VARIABLE = "_FEDGAN_COMPLETE"
"""The environment variable by which a shell requests completions of this program."""


def completion(
    shell: Annotated[
        str | None,
        typer.Argument(metavar="SHELL", help="bash, zsh, fish, powershell or pwsh; without: the one in use."),
    ] = None,
    install: Annotated[
        bool, typer.Option("--install", help="Write the script where the shell looks for it at its next start.")
    ] = False,
) -> None:
    """Print the script that makes a shell complete commands and options, or install it."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # typer documents its options alone
    from typer.completion import install as write  # type: ignore[attr-defined]

    from common.components import suggestion

    shell = shell or _shell_in_use()
    if shell not in SHELLS:
        raise ConfigError(f"{shell!r}: no shell that fedgan knows; {suggestion(shell, list(SHELLS))}")
    if install:
        _, place = write(shell=shell, prog_name="fedgan", complete_var=VARIABLE)
        typer.echo(f"{shell} completes fedgan from its next start on: {place}")
        return
    typer.echo(get_completion_script(prog_name="fedgan", complete_var=VARIABLE, shell=shell))


def _shell_in_use() -> str:
    import shellingham

    try:
        return str(shellingham.detect_shell()[0])
    except shellingham.ShellDetectionFailure:
        raise ConfigError(f"which shell is in use cannot be told: name it, {', '.join(SHELLS)}") from None


def presets(incomplete: str) -> list[str]:
    """Returns the presets whose names begin so, for a shell that completes them."""
    from simulations.runtime.settings import PRESETS

    return sorted(path.stem for path in PRESETS.glob(f"{incomplete}*.toml"))
