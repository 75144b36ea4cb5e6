"""The pure core: statements, linked programs, state and the machine. Stdlib only; no clock, no I/O, no async."""
