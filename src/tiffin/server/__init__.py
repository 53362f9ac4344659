"""Server: the supervisor and the front process; the one place where everything is wired together."""
