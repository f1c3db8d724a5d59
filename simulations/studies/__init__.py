"""Studies: rows of settings over seeds and folds, cell by cell, with tables, tests between rows and figures."""
