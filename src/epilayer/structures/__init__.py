"""Crystals, slabs, molecules and adsorption poses: pure construction, no files, no clock, seeded randomness."""
