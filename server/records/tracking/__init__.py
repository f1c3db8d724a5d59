"""Experiment trackers, fed from the journal: one file a tracker."""

from server.records.tracking.follower import following
from server.records.tracking.tracker_sync import TRACKERS, TrackerSync

__all__ = ["TRACKERS", "TrackerSync", "following"]
