"""The ``epilayer`` command and its groups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from epilayer import __version__
from epilayer.cli import (
    analyse,
    analyse_bonding,
    analyse_calibration,
    audit,
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

app = typer.Typer(
    name="epilayer",
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

app.command(rich_help_panel=STUDY)(studies.init)
app.command(rich_help_panel=STUDY)(studies.doctor)
app.command("list", rich_help_panel=STUDY)(studies.list_inputs)
build.app.command(cls=MillerCommand)(build_match.match)
app.add_typer(build.app, name="build", rich_help_panel=STUDY)
app.command(rich_help_panel=STUDY)(inputs.inputs)
app.command(rich_help_panel=WORK)(runs.submit)
app.command(rich_help_panel=WORK)(runs.run)
app.command(rich_help_panel=WORK)(runs.status)
app.add_typer(jobs.app, name="jobs", rich_help_panel=WORK)
app.command(rich_help_panel=WORK)(watch.watch)
app.command(rich_help_panel=WORK)(reruns.rerun)
app.command(rich_help_panel=WORK)(transfer.transfer)
app.add_typer(cluster.app, name="cluster", rich_help_panel=WORK)
app.command(rich_help_panel=WORK)(runs.cancel)
app.command(rich_help_panel=WORK)(runs.pause)
app.command(rich_help_panel=WORK)(runs.resume)
analyse.app.command()(analyse_bonding.bonding)
analyse.app.command()(analyse_bonding.hydrogen)
analyse.app.command()(analyse_calibration.calibration)
app.add_typer(analyse.app, name="analyse", rich_help_panel=RESULTS)
app.command(rich_help_panel=RESULTS)(audit.audit)
app.command("import", rich_help_panel=RESULTS)(imports.import_calculations)
app.command(rich_help_panel=RESULTS)(query.query)
app.command(rich_help_panel=RESULTS)(report.report)
app.command(rich_help_panel=RESULTS)(verify.verify)
app.add_typer(db.app, name="db", rich_help_panel=RESULTS)
app.command(rich_help_panel=RESULTS)(dashboard.dashboard)
app.command(rich_help_panel=RESULTS)(sensitivity.sensitivity)
app.command(rich_help_panel=RESULTS)(surfaces.surfaces)
