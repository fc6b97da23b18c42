"""What is shown of ion transport after a run and in the report: each figure beside the paper's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from epilayer.cli.common import out

if TYPE_CHECKING:
    from collections.abc import Sequence


def show_transport(rows: Sequence[dict[str, Any]]) -> None:
    """Print the rows."""
    for row in rows:
        out.print()
        out.print(f"[bold]{escape(row['system'])}[/], {row['temperature_k']:g} K, {escape(row['level'])}")
        grid = Table.grid(padding=(0, 2))
        for _ in range(3):
            grid.add_column(overflow="fold")
        grid.add_row("", "[bold]here[/]", "[bold]paper[/]")
        for name, here, key in _lines(row):
            grid.add_row(name, here, escape(row["paper"].get(key) or ""))
        out.print(grid)
        for text in row["warnings"]:
            out.print(f"[yellow]warning[/] {escape(text)}", soft_wrap=True)


def _lines(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    per_frame = row["time_step_fs"]
    production = row["steps"] - row["equilibration_steps"]
    replicas = f", {row['replicas']} replicas" if row["replicas"] > 1 else ""
    steps = (
        f"{row['equilibration_steps']} + {production} steps of {per_frame:g} fs in {row['segments']} segments"
    )
    warm = f"{row['mean_temperature_k']:.0f} K on average"
    lines = [
        ("dynamics", f"{row['atoms']} atoms, {steps}{replicas}, {warm}", "steps"),
        ("moves", escape(row["moves"]), ""),
        *(("at the joins" if k == 0 else "", escape(text), "") for k, text in enumerate(row["lost"])),
        (f"D of {escape(row['cation'])}", f"[bold]{escape(row['verdict'])}[/]{_value(row)}", ""),
    ]
    lines += [("ranking", escape(text), "ranking") for text in row["ranking"]]
    for item in row["transference"]:
        ends = "" if item["lower"] is None else f" {item['lower']:.2f} to {item['upper']:.2f}"
        lines.append((item["name"], f"{item['verdict']}{ends}: {escape(item['reason'])}", ""))
    peak = "none found" if row["first_peak_ang"] is None else f"{row['first_peak_ang']:.2f} A"
    number = "" if row["coordination"] is None else f", {row['coordination']:.1f} O within the first shell"
    pair = f"first peak of {row['cation'].capitalize()}-O"
    lines.append((pair, f"[bold]{peak}[/]{number}", "first_peak_ang"))
    mean = ", ".join(f"{value:.1f} {name}" for name, value in row["mean_neighbours"].items())
    lines.append((f"within {row['shell_cutoff_ang']:.2f} A", escape(mean) or "nothing", ""))
    share = row["share_with_anion_and_chain"]
    if share is not None:
        lines.append(
            ("solvation", f"{100 * share:.0f} % of the time by anion and chain", "share_with_anion_and_chain")
        )
    if row["nve_drift_mev_per_atom_ps"] is not None:
        lines.append(("NVE drift", f"{row['nve_drift_mev_per_atom_ps']:+.3f} meV/atom/ps", ""))
    memory = "" if row["peak_memory_mb"] is None else f", {row['peak_memory_mb'] / 1024:.1f} GB"
    cpu_s = row["cpu_seconds_per_step"]
    cpu = "" if cpu_s is None else f" ({cpu_s:.2g} s of CPU)"
    lines.append(("cost", f"{row['seconds_per_step']:.2g} s a step{cpu}{memory}", ""))
    lines += [("trajectory", escape(path), "") for path in row["trajectories"]]
    return lines


def _value(row: dict[str, Any]) -> str:
    value, lower, upper = (row[k] for k in ("diffusion_cm2_per_s", "lower_cm2_per_s", "upper_cm2_per_s"))
    text = "" if value is None else f" {value:.3g} cm2/s"
    if lower is not None or upper is not None:
        text += (
            f" ({'...' if lower is None else f'{lower:.2g}'} to {'...' if upper is None else f'{upper:.2g}'})"
        )
    if row["ion_ps_needed"] is not None:
        text += f" {row['ion_ps']:.2g} ion-ps; about {row['ion_ps_needed']:.2g} would resolve it."
    return text
