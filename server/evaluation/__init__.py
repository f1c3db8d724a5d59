"""How good the server's networks are: against held-out examples, and against what clients tell of theirs."""
