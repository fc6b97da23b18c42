"""``epilayer transfer``: the study's queue and outputs, moved to a cluster or back."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from epilayer.cli.common import JsonOption, out, print_json, study
from epilayer.study.names import EMBEDDED, STUDY_FILE


def transfer(
    to: Annotated[str, typer.Argument(metavar="QUEUE", help="A cluster's name, or embedded.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Copy the queue and all outputs to another home; then change one line of epilayer.yaml.

    The old home stays as it is. Nothing is computed again.

    Example: [cyan]epilayer transfer mycluster[/], then [cyan]queue: mycluster[/] in epilayer.yaml
    """
    used = study()
    report = used.transfer(to)
    if as_json:
        print_json({"from": used.settings.queue, "to": to, **dataclasses.asdict(report)})
        return
    out.print(f"Moved {report.jobs} jobs, {report.documents} outputs, {report.objects} large objects.")
    where = "" if to == EMBEDDED else " (other machines must see the study's folder)"
    out.print(f"Now write [cyan]queue: {to}[/] in {STUDY_FILE}{where}.")
