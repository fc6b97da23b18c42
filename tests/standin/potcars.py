"""Synthetic pseudopotentials for the stand-in: headers in VASP's format, with no pseudopotential in them."""

# ruff: noqa: E501  (a table)
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

VALENCES = {
    "H": 1, "Li_sv": 3, "C": 4, "N": 5, "O": 6, "F": 7, "Na_pv": 7, "Al": 3, "Si": 4, "P": 5, "S": 6, "Cl": 7,
    "K_sv": 9, "Ti_pv": 10, "V_pv": 11, "Cr_pv": 12, "Mn_pv": 13, "Fe_pv": 14, "Co": 9, "Ni_pv": 16, "Cu": 11, "Zn": 12,
}  # fmt: skip
POTCAR = """\
  PAW_PBE {symbol} 01Jan2001 synthetic
   {zval:.8f}
 parameters from PSCTR are:
   VRHFIN ={element}: a synthetic header, no pseudopotential
   LEXCH  = PE
   EATOM  =   100.0000 eV,    7.0000 Ry

   TITEL  = PAW_PBE {symbol} 01Jan2001
   LULTRA =        F    use ultrasoft PP ?
   IUNSCR =        1    unscreen: 0-lin 1-nonlin 2-no
   RPACOR =    1.200    partial core radius
   POMASS =   10.000; ZVAL   =   {zval:.3f}    mass and valenz
   RCORE  =    1.500    outmost cutoff radius
   RWIGS  =    1.500; RWIGS  =    0.800    wigner-seitz radius (au A)
   ENMAX  =  300.000; ENMIN  =  200.000 eV
   RCLOC  =    1.000    cutoff for local pot
   LCOR   =        T    correct aug charges
   LPAW   =        T    paw PP
   EAUG   =  400.000
   DEXC   =    0.000
   RMAX   =    1.500    core radius for proj-oper
   RAUG   =    1.300    factor for augmentation sphere
   RDEP   =    1.500    radius for radial grids
   RDEPT  =    1.300    core radius for aug-charge

   Description
     l       E           TYP  RCUT    TYP  RCUT
   Error from kinetic energy argument (eV)
   NDATA  =      100
   STEP   =   20.000   1.050
END of PSCTR-controll parameters
 local part
  0.1000000000000E+01  0.2000000000000E+01
 End of Dataset
"""


def write_potcars(root: Path) -> Path:
    for symbol, zval in VALENCES.items():
        folder = root / "POT_GGA_PAW_PBE_54" / symbol
        folder.mkdir(parents=True, exist_ok=True)
        text = POTCAR.format(symbol=symbol, element=symbol.split("_")[0], zval=zval)
        (folder / "POTCAR").write_text(text, encoding="utf-8")
    return root
