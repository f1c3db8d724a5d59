"""Who takes part: the roll call, nodes that come and go, how long a round waits, and which replies may be averaged."""
