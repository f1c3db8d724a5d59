"""Many clients of one process trained as one computation: the second backend of the trainer."""
