"""What a run has learned, in forms that need no fedgan: networks for other programs, and labelled images."""
