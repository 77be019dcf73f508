"""Reads, on a fleet day."""
