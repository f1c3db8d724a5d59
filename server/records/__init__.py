"""What a run leaves: its directory, journal and report, what they say of the run, and the trackers that follow it."""
