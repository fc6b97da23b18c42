"""Crystals, slabs, molecules and poses: pure, seeded construction; no files, no clock."""
