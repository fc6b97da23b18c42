"""What VASP writes: every file read once, assessed, and held against the others."""
