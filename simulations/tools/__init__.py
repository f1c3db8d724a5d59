"""Scripts that make the project's own data files and the page of its architecture."""
