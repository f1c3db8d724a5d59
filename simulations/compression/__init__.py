"""Smaller generators out of trained ones: distillation without data, and pruning."""
