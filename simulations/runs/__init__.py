"""What reads a run directory: its record as it grows, and the generator that it holds."""
