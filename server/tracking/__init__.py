"""Experiment trackers, fed from the journal: one file a tracker."""

from server.tracking.follower import following

__all__ = ["following"]
