"""Tests: unit (no I/O but a database), contract (the wire), integration (real tmux, both runtimes), faults."""
