"""Networks and losses as functions of their weights, for many clients or examples at once."""
