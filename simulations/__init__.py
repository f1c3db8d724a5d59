"""Experiments: who takes part, on how many workers, which runs."""
