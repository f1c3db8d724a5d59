"""Experiment trackers, fed from the journal: one file a tracker."""

from server.records.tracking.follower import following
from server.records.tracking.telling import TRACKERS, Telling

__all__ = ["TRACKERS", "Telling", "following"]
