"""Observe: what the system counts about itself, and how that is shown."""
