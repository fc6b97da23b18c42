"""Small files in VASP's layouts, written here, to put single things wrong or in another way."""

from __future__ import annotations

HEAD = """<?xml version="1.0" encoding="ISO-8859-1"?>
<modeling>
 <generator>
  <i name="program" type="string">{program} </i>
  <i name="version" type="string">6.3.2  </i>
 </generator>
 <incar>
  <i type="int" name="NSW">     {nsw}</i>
  <i type="int" name="IBRION">    {ibrion}</i>
{incar} </incar>
 <kpoints>
  <generation param="Gamma">
   <v type="int" name="divisions">       2        2        1 </v>
  </generation>
  <varray name="kpointlist" >
   <v>       0.00000000       0.00000000       0.00000000 </v>
  </varray>
 </kpoints>
 <parameters>
  <separator name="electronic" >
   <i name="ENMAX">    500.00000000</i>
   <i name="EDIFF">      0.00001000</i>
   <i type="int" name="ISPIN">     2</i>
   <i type="int" name="NELM">    10</i>
   <i type="int" name="ISMEAR">     0</i>
   <i name="NELECT">      6.00000000</i>
   <i type="logical" name="LDAU"> F  </i>
   <i type="int" name="NSW">     {nsw}</i>
   <i type="int" name="IBRION">    {ibrion}</i>
   <i name="EDIFFG">     -0.02000000</i>
   <i type="string" name="GGA">PE</i>
  </separator>
 </parameters>
 <atominfo>
  <atoms>       1 </atoms>
  <types>       1 </types>
  <array name="atoms" >
   <set>
    <rc><c>O </c><c>   1</c></rc>
   </set>
  </array>
  <array name="atomtypes" >
   <set>
    <rc><c>   1</c><c>O </c><c>  16.00</c><c>      6.00000000</c><c>  PAW_PBE O 08Apr2002       </c></rc>
   </set>
  </array>
 </atominfo>
"""
CELL = """  <structure>
   <crystal>
    <varray name="basis" >
     <v>       9.00000000       0.00000000       0.00000000 </v>
     <v>       0.00000000       9.00000000       0.00000000 </v>
     <v>       0.00000000       0.00000000      20.00000000 </v>
    </varray>
   </crystal>
   <varray name="positions" >
    <v>       0.10000000       0.20000000       0.30000000 </v>
   </varray>
  </structure>
  <varray name="forces" >
   <v> {force} </v>
  </varray>
"""
ENERGY = """<energy>
<i name="e_fr_energy">{0} </i>
<i name="e_wo_entrp">{1} </i>
<i name="e_0_energy">{2} </i>
</energy>
"""


def step(
    free: float = -2.0, force: str = "      0.00100000       0.00200000       0.00300000", scf: int = 4
) -> str:
    """Return a step with a smearing correction of 0.1 eV and, as in real files, a wrong e_0_energy."""
    loop = "".join(
        "<scstep>\n"
        + ENERGY.format(*(f"{x + (scf - 1 - i) * 3e-6:.8f}" for x in (free, free + 0.2, free + 0.1)))
        + "</scstep>\n"
        for i in range(scf)
    )
    final = ENERGY.format(f"{free:.8f}", f"{free:.8f}", f"{0.1:.8f}")
    return f" <calculation>\n{loop}{CELL.format(force=force)}{final} </calculation>\n"


def vasprun(
    *steps: str, nsw: int = 0, ibrion: int = -1, incar: str = "", program: str = "vasp", end: bool = True
) -> str:
    head = HEAD.format(nsw=nsw, ibrion=ibrion, incar=incar, program=program)
    return head + "".join(steps) + ("</modeling>\n" if end else "")


OUTCAR_HEAD = """ {program} 27Jun22 (build Feb 22 2024 13:53:45) complex
 INCAR:
{incar} POTCAR:    PAW_PBE O 08Apr2002
   SHA256 =  {sha} O/POTCAR
   VRHFIN =O: s2p4
   TITEL  = PAW_PBE O 08Apr2002
   POMASS =   16.000; ZVAL   =    6.000    mass and valenz
   ions per type =               1
   ENCUT  =  500.0 eV  36.75 Ry    6.06 a.u.   4.00  4.00 10.00*2*pi/ulx,uly,ulz
   NELM   =     {nelm};   NELMIN=  2; NELMDL= -5     # of ELM steps
   EDIFF  = 0.1E-04   stopping-criterion for ELM
   ISPIN  =      2    spin polarized calculation?
   ISMEAR =     0;   SIGMA  =   0.05
   NSW    =      {nsw}    number of steps for IOM
   IBRION =     {ibrion}    ionic relax: 0-MD 1-quasi-New 2-CG
   LEPSILON=      {epsilon}    determine dielectric tensor
   NELECT =       6.0000    total number of electrons
   EDIFFG = -.2E-01   stopping-criterion for IOM
"""
OUTCAR_END = " General timing and accounting informations for this job:\n Voluntary context switches: 1\n"
OUTCAR_STEP = """
  direct lattice vectors                 reciprocal lattice vectors
     9.000000000  0.000000000  0.000000000     0.111111111  0.000000000  0.000000000
     0.000000000  9.000000000  0.000000000     0.000000000  0.111111111  0.000000000
     0.000000000  0.000000000 20.000000000     0.000000000  0.000000000  0.050000000

 POSITION                                       TOTAL-FORCE (eV/Angst)
 -----------------------------------------------------------------------------------
      0.90000      1.80000      6.00000         0.001000      0.002000      0.003000
 -----------------------------------------------------------------------------------

  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)
  ---------------------------------------------------
  free  energy   TOTEN  = {free:18.8f} eV

  energy  without entropy={bare:18.8f}  energy(sigma->0) ={zero:18.8f}
"""


def iteration(step: str, electronic: int, change: float = 1e-6) -> str:
    """Return the lines of one electronic step."""
    change_ev = f" total energy-change (2. order) :{change:15.7E}  ({change:15.7E})\n"
    return f"--- Iteration {step}({electronic:4d})  ---\n{change_ev}"


def outcar_step(number: int, free: float = -2.0, scf: int = 4) -> str:
    """Return an ionic step of a run whose energy(sigma->0) is 0.1 eV above its free energy."""
    loop = "".join(iteration(f"{number:6d}", i) for i in range(1, scf + 1))
    return loop + OUTCAR_STEP.format(free=free, bare=free + 0.2, zero=free + 0.1)


def outcar(
    *steps: str,
    nsw: int = 0,
    ibrion: int = -1,
    nelm: int = 60,
    incar: str = "",
    epsilon: str = "F",
    end: str = OUTCAR_END,
) -> str:
    """Return an OUTCAR of one oxygen atom."""
    head = OUTCAR_HEAD.format(
        program="vasp.6.3.2", incar=incar, sha="0" * 64, nelm=nelm, nsw=nsw, ibrion=ibrion, epsilon=epsilon
    )
    return head + "".join(steps) + end
