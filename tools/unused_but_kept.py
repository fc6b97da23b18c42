"""Names that nothing in the package calls, and why they stay (vulture reads this file as their use)."""

# ruff: noqa: B018, F821  (a list of names, not a program)

# Public Python interface: documented, for scripts, notebooks and workflow files.
import_  # a directory of calculations into a study
estimate_diffusion  # the interval of one species from an array of paths
check_overlap  # a workflow file that places a molecule by hand
append_source  # the next raw file of a stored trajectory

# Read from outside Python.
telling, tails, subtitle, tone, cautions  # by the templates of the dashboard
deviation_ev, search_missed_probability  # by who reads report --json, and by the report's template
to_dict  # by FireWorks, of an exception
undone  # a field of what a queue says of its reruns

# Demanded by the libraries that call us.
all_exist, ensure_index  # maggma's Store
formatwarning  # the module warnings, for warnings about input in one line
randomSeed, useRandomCoords  # RDKit's embedding parameters

# Copied field by field into the record of the same fields.
activation_energy_ev, lower_ev, upper_ev, prefactor_cm2_per_s

# What a value holds in addition to what we use of it.
first_atom, lattices_ang
conserved_ev  # an integrator's; only a test can watch its conservation
