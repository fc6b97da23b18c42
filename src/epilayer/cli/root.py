"""The ``epilayer`` command and its groups."""

from __future__ import annotations

import inspect
from collections import UserDict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command_from_info, get_command_name, get_group_from_info

from epilayer import __version__
from epilayer.cli import (
    analyse,
    analyse_bonding,
    analyse_calibration,
    audit,
    benchmark,
    build,
    build_match,
    cluster,
    dashboard,
    db,
    imports,
    inputs,
    jobs,
    query,
    report,
    reruns,
    runs,
    sensitivity,
    studies,
    surfaces,
    transfer,
    verify,
    watch,
)
from epilayer.cli.common import state
from epilayer.cli.options import MillerCommand

if TYPE_CHECKING:
    from typer.models import CommandInfo, TyperInfo

registered = typer.Typer()
"""Every command and group, as registered below."""


class Commands(UserDict[str, Any]):
    """Commands by name; the options of one are built when it is looked up, which takes milliseconds each."""

    def __init__(self) -> None:
        super().__init__({_name(info): info for info in registered.registered_commands})
        self.data |= {str(info.name): info for info in registered.registered_groups}

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  (typer's own click)
        info = self.data[name]
        if hasattr(info, "typer_instance"):
            return get_group_from_info(
                info, pretty_exceptions_short=False, suggest_commands=True, rich_markup_mode="rich"
            )
        return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode="rich")

    def without_options(self) -> dict[str, Any]:
        """Return what the list of commands shows of each."""
        return {
            name: TyperCommand(name, help=_help(info), rich_help_panel=info.rich_help_panel)
            for name, info in self.data.items()
        }


class RootGroup(TyperGroup):
    """The program itself: listing its commands builds none of them."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  (typer's own)
        super().__init__(**attributes)
        self.commands = Commands()

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  (typer's own click)
        """Print the help of the program."""
        listed = TyperGroup(
            name=self.name,
            commands=Commands().without_options(),
            params=self.params,
            help=self.help,
            epilog=self.epilog,
            rich_markup_mode="rich",
        )
        listed.format_help(ctx, formatter)


def _name(info: CommandInfo) -> str:
    return info.name or get_command_name(getattr(info.callback, "__name__", ""))


def _help(info: CommandInfo | TyperInfo) -> str | None:
    group = getattr(info, "typer_instance", None)
    return group.info.help if group else inspect.getdoc(info.callback)


app = typer.Typer(
    name="epilayer",
    cls=RootGroup,
    help="Design the interface between a cathode and a solid electrolyte.",
    epilog="First steps:  epilayer init study && cd study && epilayer run paper_adsorption",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(*, value: bool) -> None:
    if value:
        typer.echo(f"epilayer {__version__}")
        raise typer.Exit


@app.callback()
def options(
    study: Annotated[
        Path | None,
        typer.Option(
            "--study", "-C", metavar="DIR", help="Study directory (default: the nearest above here)."
        ),
    ] = None,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    _version_option: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Design the interface between a cathode and a solid electrolyte."""
    state.study_path, state.debug = study, debug


STUDY, WORK, RESULTS = "Set up a study", "Submit, run and rerun", "Look at results"

registered.command(rich_help_panel=STUDY)(studies.init)
registered.command(rich_help_panel=STUDY)(studies.doctor)
registered.command("list", rich_help_panel=STUDY)(studies.list_inputs)
build.app.command(cls=MillerCommand)(build_match.match)
registered.add_typer(build.app, name="build", rich_help_panel=STUDY)
registered.command(rich_help_panel=STUDY)(inputs.inputs)
registered.command(rich_help_panel=WORK)(runs.submit)
registered.command(rich_help_panel=WORK)(runs.run)
registered.command(rich_help_panel=WORK)(runs.status)
registered.add_typer(jobs.app, name="jobs", rich_help_panel=WORK)
registered.command(rich_help_panel=WORK)(watch.watch)
registered.command(rich_help_panel=WORK)(reruns.rerun)
registered.command(rich_help_panel=WORK)(transfer.transfer)
registered.add_typer(cluster.app, name="cluster", rich_help_panel=WORK)
registered.command(rich_help_panel=WORK)(runs.harvest)
registered.command(rich_help_panel=WORK)(runs.cancel)
registered.command(rich_help_panel=WORK)(runs.pause)
registered.command(rich_help_panel=WORK)(runs.resume)
analyse.app.command()(analyse_bonding.bonding)
analyse.app.command()(analyse_bonding.hydrogen)
analyse.app.command()(analyse_calibration.calibration)
registered.add_typer(analyse.app, name="analyse", rich_help_panel=RESULTS)
registered.command(rich_help_panel=RESULTS)(audit.audit)
registered.command("import", rich_help_panel=RESULTS)(imports.import_calculations)
registered.command(rich_help_panel=RESULTS)(query.query)
registered.command(rich_help_panel=RESULTS)(report.report)
registered.command(rich_help_panel=RESULTS)(verify.verify)
registered.add_typer(db.app, name="db", rich_help_panel=RESULTS)
registered.command(rich_help_panel=RESULTS)(dashboard.dashboard)
registered.command(rich_help_panel=RESULTS)(sensitivity.sensitivity)
registered.command(rich_help_panel=RESULTS)(surfaces.surfaces)
registered.command(rich_help_panel=RESULTS)(benchmark.benchmark)
