"""Worker: the process that runs the user's class. Never parses HTTP, never decides an order of calls."""
