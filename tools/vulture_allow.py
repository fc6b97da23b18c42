"""Names that look unused but are not: fields of records, options of other libraries, names in text."""

# Fields that a reader of the record uses.
_.lag_ps  # noqa: B018, F821
_.rate_per_ps  # noqa: B018, F821
_.first_minimum_ang  # noqa: B018, F821
_.lattices_ang  # noqa: B018, F821
_.adsorbate_atom  # noqa: B018, F821
_.slab_atom  # noqa: B018, F821
_.missing_bonds  # noqa: B018, F821
# RDKit's embedding parameters and maggma's and jobflow's own argument names.
_.randomSeed  # noqa: B018, F821
_.useRandomCoords  # noqa: B018, F821
_.all_exist  # noqa: B018, F821
_.function_args  # noqa: B018, F821
# Named by a study's configuration.
_.FaultyEngine  # noqa: B018, F821
_.LennardJonesEngine  # noqa: B018, F821
# Read by the dashboard's templates.
_.telling  # noqa: B018, F821
_.tails  # noqa: B018, F821
_.subtitle  # noqa: B018, F821
_.tone  # noqa: B018, F821
_.cautions  # noqa: B018, F821
# Called by FireWorks.
_.to_dict  # noqa: B018, F821
