"""ASE calculators of the embedded engines, built once per process from checked weights."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epilayer.model.errors import SetupError
from epilayer.model.failure import FailedRunError, Failure, FailureClass
from epilayer.model.level import Dispersion, EngineKind, EngineSpec

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator
    from numpy.typing import NDArray


def load(spec: dict[str, Any], dispersion: dict[str, Any] | None = None) -> Calculator:
    """Return the calculator of an engine, with its dispersion correction added.

    Takes plain dictionaries because atomate2's force-field makers store their arguments.

    Raises
    ------
    SetupError
        If a package is not installed, or the weights are missing or not the expected ones.
    """
    engine = EngineSpec.model_validate(spec)
    # The checksum is part of the cache key: weights that were replaced on disk are read again.
    base = (
        _toy() if engine.kind is EngineKind.TOY else _base(engine.model_dump_json(), weights_sha256(engine))
    )
    if dispersion is None:
        return base
    from ase.calculators.mixing import SumCalculator

    return SumCalculator([base, dispersion_calculator(Dispersion.model_validate(dispersion))])


def dispersion_calculator(dispersion: Dispersion) -> Calculator:
    """Return the calculator of a D3 correction."""
    dftd3 = _import("dftd3.ase", "dftd3")
    damping = {"d3bj": "RationalDampingParam", "d3zero": "ZeroDampingParam"}[dispersion.method]
    try:
        getattr(_import("dftd3.interface", "dftd3"), damping)(method=dispersion.functional)
    except RuntimeError as error:
        raise SetupError(
            f"There are no {dispersion.damping} parameters for the functional {dispersion.functional!r}.",
            "Correct dispersion.functional in the level's YAML (pbe, rpbe, pbesol ...).",
        ) from error
    return dftd3.DFTD3(method=dispersion.functional, damping=dispersion.method)


def dispersion_version() -> str:
    """Return the version of the dispersion package, as installed."""
    _import("dftd3", "dftd3")
    return metadata.version("dftd3")


def weights_file(spec: EngineSpec) -> Path | None:
    """Return the path of an engine's weights after checking that they are the expected ones."""
    if spec.weights is None:
        return None
    path = spec.weights.path
    if spec.weights.package is not None:
        _import(spec.weights.package, spec.weights.package)
        path = Path(str(resources.files(spec.weights.package))) / path
    if not path.is_file():
        raise SetupError(
            f"Engine {spec.name!r}: no weights at {path}.",
            f"Reinstall the package ({_install_hint(spec)}), or correct weights.path in its YAML.",
        )
    found = _sha256(path, path.stat().st_mtime_ns)
    if spec.weights.sha256 is not None and found != spec.weights.sha256:
        raise SetupError(
            f"Engine {spec.name!r}: the weights {path.name} have SHA-256 {found[:12]}..., "
            f"expected {spec.weights.sha256[:12]}....",
            "Install the tested package version, or describe the new weights as an engine of their own.",
        )
    return path


def weights_sha256(spec: EngineSpec) -> str | None:
    """Return the checksum of the weights in use, ``None`` for an engine without any."""
    path = weights_file(spec)
    return None if path is None else _sha256(path, path.stat().st_mtime_ns)


def package_version(spec: EngineSpec) -> str | None:
    """Return the version of the package that computes, as installed."""
    if spec.package is None:
        return None
    try:
        return metadata.version(spec.package)
    except metadata.PackageNotFoundError:
        raise SetupError(
            f"Engine {spec.name!r} needs the package {spec.package!r}, which is not installed.",
            f"Install it: {_install_hint(spec)}.",
        ) from None


def not_finite(label: str, remedy: str) -> FailedRunError:
    """Return the error of a potential that gave no number: the atoms it was shown are at fault."""
    what = f"{label}: the potential gave a non-finite energy or force."
    return FailedRunError(Failure(kind=FailureClass.INPUT, cause="not_finite", what=what, remedy=remedy))


def begin_from(calculator: Calculator, atoms: Atoms) -> None:
    """Show a potential that remembers its first geometry (the toy) the one that a trajectory began with."""
    for part in getattr(getattr(calculator, "mixer", None), "calcs", [calculator]):
        if hasattr(part, "tie"):
            part.tie(atoms)


def magnetic_moments(calculator: Calculator, atoms: Atoms) -> NDArray[Any] | None:
    """Return site moments (mu_B, shape (atoms,)) where the potential gives them."""
    for part in getattr(getattr(calculator, "mixer", None), "calcs", [calculator]):
        if hasattr(part, "site_moments"):
            moments: NDArray[Any] = part.site_moments(atoms)
            return moments
    return None


def _toy() -> Calculator:
    from epilayer.engines.mlip.toy import ToyPotential

    return ToyPotential()  # never shared: it remembers the geometry it began with


@lru_cache(maxsize=4)
def _base(spec_json: str, _weights_sha256: str | None) -> Calculator:
    spec = EngineSpec.model_validate_json(spec_json)
    weights = weights_file(spec)
    package_version(spec)
    if spec.force_field == "CHGNet" and weights is not None:
        return _chgnet(weights)
    from atomate2.forcefields.utils import ase_calculator

    arguments: dict[str, Any] = dict(spec.calculator_kwargs)
    if weights is not None:
        arguments[spec.weights_argument] = str(weights)
    try:
        return ase_calculator(spec.force_field, **arguments)
    except ImportError as error:
        raise SetupError(f"Engine {spec.name!r}: {error}.", f"Install it: {_install_hint(spec)}.") from error
    except (TypeError, ValueError, OSError, RuntimeError) as error:
        raise SetupError(
            f"Engine {spec.name!r}: the force field {spec.force_field!r} cannot be loaded ({error}).",
            "Correct force_field, weights and calculator_kwargs in its YAML.",
        ) from error


def _chgnet(weights: Path) -> Calculator:
    torch = _import("torch", "torch")
    dynamics = _import("chgnet.model.dynamics", "chgnet")
    model = _import("chgnet.model", "chgnet").CHGNet.from_file(str(weights))
    from pymatgen.io.ase import AseAtomsAdaptor

    class ChgnetForces(dynamics.CHGNetCalculator):  # type: ignore[misc, name-defined]  # imported at run time
        """CHGNet without the stress and moment heads, which a fixed-cell step does not need.

        The stress alone doubles the cost of a step (a second derivative through the graph).
        """

        implemented_properties = ("energy", "forces")

        def calculate(
            self,
            atoms: Atoms | None = None,
            properties: list[str] | None = None,
            system_changes: list[str] | None = None,
        ) -> None:
            # Denormal numbers, which the cut-off makes, take a quarter of the time; only this call
            # may round them to zero, the rest of the process keeps IEEE arithmetic.
            torch.set_flush_denormal(True)
            try:
                super().calculate(atoms, properties, system_changes, task="ef")
            finally:
                torch.set_flush_denormal(False)

        def site_moments(self, atoms: Atoms) -> NDArray[Any]:
            """Magnitudes of the site moments (mu_B), shape (atoms,)."""
            structure = AseAtomsAdaptor.get_structure(atoms)
            moments: NDArray[Any] = self.model.predict_structure(structure, task="em")["m"]
            return moments.reshape(-1)

    return ChgnetForces(model=model, use_device="cpu", on_isolated_atoms="error")


def _import(module: str, package: str) -> Any:  # noqa: ANN401  (a module)
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise SetupError(
            f"The package {package!r} is not installed ({error}).",
            "Install the embedded engines: pip install 'epilayer[mlip]'.",
        ) from error


def _install_hint(spec: EngineSpec) -> str:
    return f"pip install {spec.package}" if spec.package else "pip install 'epilayer[mlip]'"


@lru_cache(maxsize=16)
def _sha256(path: Path, _mtime_ns: int) -> str:
    # The modification time is part of the cache key, so that a replaced file is read again.
    return hashlib.sha256(path.read_bytes()).hexdigest()
