"""The server side: who takes part, what may be averaged, scores, checkpoints, the journal."""
