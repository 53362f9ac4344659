"""One server program per peer and workload; never imported by the runner, each runs in its peer's environment."""
