"""What the server keeps of a round, and what happens to each finished one: a hook a file, listed in server/run.py."""
