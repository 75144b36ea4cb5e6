"""Where an engine keeps its runs: the protocol, and the stores that follow it."""
