"""Clients and server of a simulation in one process, or on worker processes of one host."""
