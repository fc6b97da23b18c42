"""Single points of VASP, made up: the vasprun.xml of atoms and an energy that a test names."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ENERGY = "<energy>\n" + "".join(
    f'<i name="{name}">{{0:16.8f}} </i>\n' for name in ("e_fr_energy", "e_wo_entrp", "e_0_energy")
)
ENERGY += "</energy>\n"


def single_point(
    folder: Path,
    atoms: list[tuple[str, tuple[float, float, float]]],
    energy_ev: float,
    *,
    edge_ang: float = 20.0,
    cutoff_ev: float = 500.0,
    force_ev_per_ang: float = 0.001,
    whole: bool = True,
    packed: bool = False,
) -> Path:
    """Write the vasprun.xml of a single point in a cell of 6 x 6 x ``edge_ang`` A (a box: all of it)."""
    species = list(dict.fromkeys(element for element, _ in atoms))
    wide = edge_ang if len(atoms) < 3 else 6.0
    rows = "".join(f"<rc><c>{e} </c><c>{species.index(e) + 1}</c></rc>\n" for e, _ in atoms)
    kinds = "".join(
        f"<rc><c>{sum(e == k for e, _ in atoms)}</c><c>{k} </c><c>16.0</c><c>6.0</c>"
        f"<c>PAW_PBE {k} 08Apr2002</c></rc>\n"
        for k in species
    )
    scf = "".join(
        f"<scstep>\n{ENERGY.format(energy_ev + shift)}</scstep>\n" for shift in (1e-2, 1e-4, 3e-6, 0.0)
    )
    basis = "".join(
        f"<v> {x:.8f} {y:.8f} {z:.8f} </v>\n" for x, y, z in ((wide, 0, 0), (0, wide, 0), (0, 0, edge_ang))
    )
    places = "".join(f"<v> {x / wide:.8f} {y / wide:.8f} {z / edge_ang:.8f} </v>\n" for _, (x, y, z) in atoms)
    forces = f"<v> {force_ev_per_ang:.8f} 0.00000000 0.00000000 </v>\n" * len(atoms)
    text = f"""<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">vasp </i>
  <i name="version" type="string">6.3.2  </i>
 </generator>
 <incar>
  <i type="int" name="NSW">     0</i>
  <i type="int" name="IBRION">    -1</i>
 </incar>
 <parameters>
  <separator name="electronic" >
   <i name="ENMAX">{cutoff_ev:16.8f}</i>
   <i name="EDIFF">      0.00001000</i>
   <i type="int" name="ISPIN">     2</i>
   <i type="int" name="NELM">    60</i>
   <i type="int" name="ISMEAR">     0</i>
   <i type="logical" name="LDAU"> F  </i>
   <i type="int" name="NSW">     0</i>
   <i type="int" name="IBRION">    -1</i>
   <i type="string" name="GGA">PE</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>{len(atoms)} </atoms>
  <types>{len(species)} </types>
  <array name="atoms" >
   <set>
{rows}   </set>
  </array>
  <array name="atomtypes" >
   <set>
{kinds}   </set>
  </array>
 </atominfo>
 <calculation>
{scf}  <structure>
   <crystal>
    <varray name="basis" >
{basis}    </varray>
   </crystal>
   <varray name="positions" >
{places}   </varray>
  </structure>
  <varray name="forces" >
{forces}  </varray>
{ENERGY.format(energy_ev)} </calculation>
</modeling>
"""
    folder.mkdir(parents=True, exist_ok=True)
    if not whole:
        text = text[: len(text) // 2]
    if packed:
        (folder / "vasprun.xml.gz").write_bytes(gzip.compress(text.encode()))
    else:
        (folder / "vasprun.xml").write_text(text, encoding="ascii")
    return folder


SLAB = [("Mg", (1.0 + 3 * i, 1.0 + 3 * j, 2.0 + 2.1 * k)) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
OXYGEN = ("O", (1.0, 1.0, 6.1))
