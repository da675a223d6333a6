"""Speed: training steps and predictions, timed in one run so that ratios hold."""
