"""Command line: one file per command; parses, calls, prints."""
