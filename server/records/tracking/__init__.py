"""Experiment trackers, fed from the journal: one file a tracker."""

from server.records.tracking.background_sync import in_background
from server.records.tracking.tracker_sync import TRACKERS, TrackerSync

__all__ = ["TRACKERS", "TrackerSync", "in_background"]
