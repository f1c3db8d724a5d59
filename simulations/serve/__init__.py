"""``fedgan serve``: runs over HTTP, read from their run directories alone."""
