"""Protocols over algorithms and seeds: runs, tables, figures, and the page of results."""
