"""What LOBSTER writes: integrals and curves of named bonds, spilling, and how a run ended."""
