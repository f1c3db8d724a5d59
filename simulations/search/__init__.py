"""``fedgan search``: settings searched by trials, each of them a run; Optuna proposes them."""
