"""Federations of several hosts: certificates, service files, and runs handed in to a SuperLink."""
