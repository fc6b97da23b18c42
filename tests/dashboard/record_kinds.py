"""One record of every kind that a study can hold, small and made up; for tests of what shows them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from pymatgen.core import Lattice, Structure

from epilayer.analysis.loaded import HOST, Loaded, Run, solvation_of, transport_of
from epilayer.model.bonding import BondChange, BondMeasure, BondStudy, HydrogenAbstraction, OrientedBonds
from epilayer.model.calibration import BondCalibration, CalibrationPair
from epilayer.model.cohp import Bonding, BondResult
from epilayer.model.dynamics import ABOUT, DynamicsSettings, FileReference
from epilayer.model.epitaxy import EpitaxialMatch, FacetMatch
from epilayer.model.files import sha256_file
from epilayer.model.imported import (
    CalculationKind,
    Code,
    ImportedAdsorption,
    ImportedCalculation,
    ImportedLeg,
    ImportStatus,
)
from epilayer.model.ion_transport import ArrheniusEstimate, IonTransport
from epilayer.model.level import EngineKind, LevelOfTheory
from epilayer.model.records import (
    AdsorptionEnergy,
    Calculation,
    CompetingAdsorption,
    Competitor,
    FacetBinding,
    GrowthMode,
    GrowthVerdict,
    Leg,
    Provenance,
    Refusal,
    RefusalCode,
    Status,
)
from epilayer.model.sensitivity import ChoiceShift, Sensitivity
from epilayer.model.surface import SurfaceEnergy, SurfaceThickness, WulffFace, WulffFacet, WulffShape
from epilayer.model.transport import Verdict
from epilayer.outputs.vasp.poscar import file_order
from epilayer.trajectory.log import TrajectoryFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from epilayer.model.base import Frozen

LEVEL = LevelOfTheory(
    name="chgnet+d3",
    kind=EngineKind.MLIP,
    method="CHGNet (machine-learned potential)",
    dispersion="D3(BJ)",
    numerics={"max_force_ev_per_ang": 0.05},
)
FROM = Provenance(
    job="job-1", run_directory="runs/1", files={"relaxation.extxyz": "cd" * 32}, versions={"ase": "3.29"}
)


def slab() -> Structure:
    lattice = Lattice.orthorhombic(6.0, 6.0, 25.0)
    return Structure(
        lattice,
        ["V", "O", "Na", "N", "H"],
        [[0, 0, 3], [3, 3, 3], [0, 0, 5.5], [0, 0, 8.0], [0.9, 0, 8.5]],
        coords_are_cartesian=True,
    )


def adsorption(value_ev: float | None = -0.39) -> AdsorptionEnergy:
    refusal = Refusal(
        code=RefusalCode.FORCES_NOT_CONVERGED, subject="slab", what="forces too large", remedy="more steps"
    )
    leg: dict[str, Any] = {
        "energy_ev": -1.0,
        "dispersion_energy_ev": -0.1,
        "max_force_ev_per_ang": 0.04,
        "steps": 3,
        "residual_ev": 0.0,
        "formula": "V O",
        "level_fingerprint": LEVEL.fingerprint,
        "provenance": FROM,
    }
    legs = tuple(Leg(role=role, **leg) for role in ("slab", "molecule", "adslab"))
    return AdsorptionEnergy(
        cathode="nvopf", facet="001", termination="001-t0", ligand="triazole", level=LEVEL,
        status=Status.REFUSED if value_ev is None else Status.CERTIFIED, adsorption_energy_ev=value_ev,
        uncertainty_ev=None if value_ev is None else 0.02, without_dispersion_ev=None, pose_spread_ev=None,
        refusals=(refusal,) if value_ev is None else (), anomalies=(), legs=legs, poses=(), structure=slab(),
        adsorbate_atoms=(3, 4), closest_contact="N3...Na2", closest_contact_ang=2.5, area_ang2=36.0,
        code_version="0.1.0", parameters={"search_seed": 0},
    )  # fmt: skip


def growth() -> GrowthVerdict:
    facet = FacetBinding(facet="001", values_ev={"chgnet+d3": -0.39}, low_ev=-0.4, high_ev=-0.3, binds=True)
    return GrowthVerdict(
        cathode="nvopf", ligand="triazole", mode=GrowthMode.ISOTROPIC, binding_facets=("001",),
        facets=(facet,), threshold_ev=-0.2, margin_ev=0.1, statement="holds on (001)",
        stand_in=False, code_version="0.1.0",
    )  # fmt: skip


def competition() -> CompetingAdsorption:
    water = Competitor(ligand="water", values_ev={"a": -0.7}, low_ev=-0.7, high_ev=-0.6, outbids=("dmf",))
    return CompetingAdsorption(
        cathode="nvopf", facet="001", termination="t", competitors=(water,), statement="water outbids dmf",
        stand_in=False, code_version="0.1.0",
    )  # fmt: skip


def bonds() -> BondStudy:
    bond = BondChange(
        name="C0-O1", atoms=(0, 1), elements=("C", "O"), free_ang=1.41, adsorbed_ang=1.45, free_ev=10.5,
        adsorbed_ev=9.8, change_ratio=-0.07, intact=True,
    )  # fmt: skip
    oriented = OrientedBonds(
        label="flat", turn_deg=0.0, tilt_deg=0.0, site="V0", converged=True, adsorption_energy_ev=-0.5,
        closest_contact="O1...V0", closest_contact_ang=2.1, anomalies=(), bonds=(bond,), refusal=None,
        structure=slab(), provenance=FROM,
    )  # fmt: skip
    taken = HydrogenAbstraction(
        spontaneous=(), donor=None, hydrogen=None, acceptor=None, energy_ev=None, refusal="none near",
        structure=None,
    )  # fmt: skip
    return BondStudy(
        cathode="nvopf", state="charged", facet="100", termination="t", molecule="peo2", level=LEVEL,
        measure=BondMeasure.INDEX_GFN1, program="tblite", basis="GFN1", k_points="Gamma",
        status=Status.CERTIFIED, refusal=None, orientations=(oriented,), weakest_bond="C0-O1",
        strongest_weakening_ratio=-0.07, orientation_spread_ratio=0.0, spilling_percent=None,
        abstraction=taken, statement="weakened by 7 %", stand_in=False, code_version="0.1.0", parameters={},
    )  # fmt: skip


def wulff() -> WulffShape:
    """A cube."""
    faces = []
    for axis in range(3):
        for sign in (-1, 1):
            u, v = (np.eye(3)[k] for k in range(3) if k != axis)
            corners = [
                sign * np.eye(3)[axis] + a * u + b * v for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))
            ]
            miller = [0, 0, 0]
            miller[axis] = sign
            faces.append(
                WulffFace(facet="100", miller=tuple(miller), corners_j_per_m2=[tuple(c) for c in corners])
            )
    facet = WulffFacet(
        facet="100", termination="t", surface_energy_j_per_m2=1.0, uncertainty_j_per_m2=0.01,
        area_fraction=1.0, low_area_fraction=1.0, high_area_fraction=1.0, faces=6, corners=4,
        aspect_ratio=1.0, right_angled=True,
    )  # fmt: skip
    return WulffShape(
        cathode="nvopf", level=LEVEL, status=Status.CERTIFIED, point_group="m-3m", facets=(facet,),
        faces=tuple(faces), mean_surface_energy_j_per_m2=1.0, left_out=("(111) was refused",), refusals=(),
        code_version="0.1.0", parameters={},
    )  # fmt: skip


def calculation() -> Calculation:
    return Calculation(
        task="relax", label="slab", level=LEVEL, structure=slab(), energy_ev=-2.0, max_force_ev_per_ang=0.04,
        force_target_ev_per_ang=0.05, ionic_converged=True, energies_ev=(-1.0, -1.8, -2.0),
        max_forces_ev_per_ang=(1.0, 0.3, 0.04), wall_time_s=1.0, provenance=FROM,
    )  # fmt: skip


def surface() -> SurfaceEnergy:
    thick = SurfaceThickness(
        thickness_ang=8.4, atoms=5, surface_energy_j_per_m2=0.9, unrelaxed_j_per_m2=1.0, held_face=False
    )
    return SurfaceEnergy(
        cathode="nvopf", facet="001", termination="t", ordering="ordered", level=LEVEL,
        status=Status.CERTIFIED, surface_energy_j_per_m2=0.9, surface_energy_ev_per_ang2=0.056,
        uncertainty_j_per_m2=0.01, thickness_change_j_per_m2=0.005, without_dispersion_j_per_m2=0.6,
        unrelaxed_j_per_m2=1.0, refusals=(), thicknesses=(thick,), area_ang2=36.0,
        broken_bonds_per_nm2={"V-O": 11.3}, tasker="I", moved="", largest_move_ang=0.1, largest_mover="O1",
        legs=(), structure=slab(), code_version="0.1.0", parameters={},
    )  # fmt: skip


def epitaxy() -> EpitaxialMatch:
    match = FacetMatch(
        facet="001", mof_facet="111", area_ang2=160.0, mof_area_ang2=167.0, cells=4, mof_cells=1,
        transformation=((1, 0), (0, 1)), mof_transformation=((1, 0), (0, 1)), strain=((0.02, 0), (0, 0.02)),
        principal=(0.02, 0.02), von_mises=0.01, area_mismatch=0.04, repeat_ang=10.2,
    )  # fmt: skip
    return EpitaxialMatch(
        cathode="nvopf", facet="001", mof="met6", mof_formula="ZnC4N6H4", formula_units=6, level=LEVEL,
        status=Status.CERTIFIED, match=match, alternatives=(match,), deformation_energy_ev=0.013,
        deformation_energy_ev_per_ang2=0.0005, uncertainty_ev=0.002, odd_part_ev=None, normal="held",
        normal_strain=0.0, refusals=(), runs=(), structure=slab(), code_version="0.1.0", parameters={},
    )  # fmt: skip


def sensitivity() -> Sensitivity:
    changed = ChoiceShift(axis="dispersion", choice="none", value_ev=-0.1, shift_ev=0.29)
    refused = ChoiceShift(
        axis="anion", choice="2-methylimidazolate", value_ev=None, shift_ev=None, in_band=False, refusal="no"
    )
    return Sensitivity(
        cathode="nvopf", facet="001", termination="001-t0", ligand="triazole", level=LEVEL, base_ev=-0.39,
        base_refusal="", low_ev=-0.39, high_ev=-0.1, shifts=(changed, refused), not_applicable={},
        complete=False, statement="between -0.39 and -0.10 eV", stand_in=False, code_version="0.1.0",
        parameters={},
    )  # fmt: skip


def calibration() -> BondCalibration:
    pairs = tuple(
        CalibrationPair(
            run=f"/elsewhere/{k}", bond="C0-O1", elements=("C", "O"), length_ang=1.4 + 0.02 * k,
            index_ev=10.0 - 0.3 * k, icohp_ev=9.0 - 0.2 * k, functions="pbeVaspFit2015",
        )
        for k in range(8)
    )  # fmt: skip
    return BondCalibration(
        bonds="C-O", measure=BondMeasure.INDEX_GFN1, program="LOBSTER 5.1.0", functions="pbeVaspFit2015",
        status=Status.CERTIFIED, refusal=None, pairs=pairs, slope=0.7, slope_low=0.6, slope_high=0.8,
        intercept_ev=2.3, residual_ev=0.1, index_low_ev=7.9, index_high_ev=10.0,
        statement="-ICOHP of C-O goes with 0.70 of the index", stand_in=False, code_version="0.1.0",
    )  # fmt: skip


def imported() -> ImportedCalculation:
    return ImportedCalculation(
        path="/elsewhere/relax", code=Code.VASP, kind=CalculationKind.RELAX,
        status=ImportStatus.CONVERGED, energy_ev=-39.6626, species=("Na", "Cl"),
        lattice_ang=((4.0, 0, 0), (0, 4.0, 0), (0, 0, 4.0)), positions_frac=((0, 0, 0), (0.5, 0.5, 0.5)),
        files={"OUTCAR.gz": "ab" * 32},
    )  # fmt: skip


def imported_adsorption() -> ImportedAdsorption:
    legs = tuple(
        ImportedLeg(
            role=role, path=f"/elsewhere/{role}", label="", formula="Au16 O1", task=CalculationKind.STATIC,
            energy_ev=-1.0, max_force_ev_per_ang=0.01, files={"OUTCAR": "ab" * 32},
        )
        for role in ("slab", "molecule", "adsorbed")
    )  # fmt: skip
    return ImportedAdsorption(
        status=Status.CERTIFIED, adsorption_energy_ev=-3.07, functional="RPBE", encut_ev=700.0,
        dispersion="none", refusals=(), caveats=("no dipole correction in any leg",), legs=legs,
        level_fingerprint="f", stand_in=False, code_version="0.1.0",
    )  # fmt: skip


def walkers(folder: Path, frames: int = 1500) -> FileReference:
    """Write a trajectory of a held host, four cations that walk (D = 1e-4 cm^2/s) and four anions at rest."""
    chance = np.random.default_rng(5)
    box_ang = 20.0
    symbols = ["Zn", "N"] * 4 + ["Na"] * 4 + ["F"] * 4
    start = chance.uniform(0, box_ang, (len(symbols), 3))
    frame_fs, diffusion_ang2_per_ps = 100.0, 1.0
    steps = chance.standard_normal((frames, 4, 3)) * np.sqrt(2 * diffusion_ang2_per_ps * frame_fs * 1e-3)
    steps[0] = 0.0
    positions = np.repeat(start[None], frames, axis=0)
    positions[:, 8:12] += np.cumsum(steps, axis=0)
    positions[1:, 12:] += 0.05 * chance.standard_normal((frames - 1, 4, 3))
    folder.mkdir(parents=True, exist_ok=True)
    log = TrajectoryFolder().open(folder, symbols, [20.0] * len(symbols), frame_fs)
    for number, frame in enumerate(positions):
        log.append(number, frame, box_ang * np.eye(3), -10.0 + 0.01 * (number % 7), 350.0 + number % 11)
    molecules = [0] * 8 + [1, 2, 3, 4, 5, 6, 7, 8]
    names = [HOST] * 8 + ["na"] * 4 + ["fsi"] * 4
    about = {
        "label": "dynamics of walkers", "level": "made up", "molecules": molecules, "names": names,
        "settings": {"steps": 2 * (frames - 1), "temperature_k": 353.15},
    }  # fmt: skip
    (folder / ABOUT).write_text(json.dumps(about), encoding="utf-8")
    return log.close()


def transport(folder: Path | None = None) -> IonTransport:
    """Return what two ions that walk say; its trajectory is that of the walkers, or gone."""
    gone = FileReference(path="/gone/trajectory.h5", sha256="0" * 64, size=0)
    reference = gone if folder is None else walkers(folder)
    chance = np.random.default_rng(6)
    box_ang = 20.0
    loaded = Loaded(
        symbols=("Zn", "N", "Na", "F"), masses_amu=(65.0, 14.0, 23.0, 19.0), molecule=(0, 0, 1, 2),
        name=(HOST, HOST, "na", "fsi"), charges_e={"na": 1.0, "fsi": -1.0},
    )  # fmt: skip
    tracks = np.repeat(chance.uniform(0, box_ang, (1, 4, 3)), 400, axis=0)
    tracks[:, 2:] += np.cumsum(0.4 * chance.standard_normal((400, 2, 3)), axis=0)
    run = Run(tracks, box_ang * np.eye(3), 100.0)
    report = transport_of(loaded, [run], 353.15, 3.0)
    estimate = report.of("na")
    return IonTransport(
        system="walkers", formula="ZnN", atoms=16, cation="na", temperature_k=353.15, level=LEVEL,
        settings=DynamicsSettings(time_step_fs=100.0, steps=1499, temperature_k=353.15),
        equilibration_steps=0, steps=1499, frames=1500, seeds=(0,), moves="the guests",
        verdict=estimate.verdict, statement=f"{estimate.verdict.value}: {estimate.reason}", report=report,
        solvation=solvation_of(loaded, [run]), segments=(), mean_temperature_k=353.0, minimised_steps=3,
        minimised_max_force_ev_per_ang=0.1, seconds_per_step=0.1, peak_memory_mb=None,
        trajectories=(reference,), code_version="0.1.0",
    )  # fmt: skip


def arrhenius() -> ArrheniusEstimate:
    return ArrheniusEstimate(
        system="walkers", species="na", level=LEVEL, verdict=Verdict.RESOLVED, reason="three temperatures",
        temperatures_k=(353.0, 373.0, 393.0), asked_temperatures_k=(353.0, 373.0, 393.0),
        activation_energy_ev=0.21, lower_ev=0.17, upper_ev=0.26, prefactor_cm2_per_s=1e-3,
        code_version="0.1.0",
    )  # fmt: skip


def lobster_run(folder: Path, structure: Structure) -> Bonding:
    """Write a COHPCAR of one bond of the structure's first atoms, and return the record of its run."""
    folder.mkdir(parents=True)
    order = file_order(structure)
    one, two = (f"{structure[k].specie.symbol}{order.index(k) + 1}" for k in (0, 1))
    length_ang = structure.get_distance(0, 1)
    energies_ev = np.linspace(-10.0, 5.0, 31)
    cohp = -np.exp(-((energies_ev + 5) ** 2))
    icohp = np.cumsum(cohp) * 0.5
    head = [
        "COHPs made up for a test", f"2 1 {len(energies_ev)} -10.0 5.0 0.0", "Average",
        f"No.1:{one}->{two}({length_ang:.5f})",
    ]  # fmt: skip
    rows = [
        " ".join(f"{v:.5f}" for v in (e, c, i, c, i))
        for e, c, i in zip(energies_ev, cohp, icohp, strict=True)
    ]
    path = folder / "COHPCAR.lobster"
    path.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")
    bond = BondResult(
        name="C0-O1", atoms=(0, 1), elements=("C", "O"), length_ang=length_ang, icohp_ev=-9.8,
        icohp_per_spin_ev=(-9.8,), icoop=None, icoop_per_spin=None,
    )  # fmt: skip
    origin = Provenance(job="job-2", run_directory=str(folder), files={path.name: sha256_file(path)})
    return Bonding(
        label="bonds", method="LOBSTER 5.1.1", level=LEVEL, status=Status.CERTIFIED, refusals=(),
        bonds=(bond,), basis={}, basis_functions=10, bands=12, bands_ignored_from=None, spilling=(),
        spilling_limit_percent=5.0, spilling_passes=True, energy_window_ev=(-10.0, 5.0),
        max_band_overlap_deviation=None, energy_ev=-1.0, structure=structure, corrections=(),
        provenance=origin,
    )  # fmt: skip


EVERY_KIND: dict[str, Callable[[], Frozen]] = {
    "adsorption": adsorption, "growth": growth, "competition": competition, "sensitivity": sensitivity,
    "surface": surface, "wulff": wulff, "epitaxy": epitaxy, "transport": transport, "arrhenius": arrhenius,
    "bond_strength": bonds, "bond_calibration": calibration, "calculation": imported,
    "imported_adsorption": imported_adsorption,
}  # fmt: skip
