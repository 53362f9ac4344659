"""Config: every setting, its default and its meaning. Never I/O."""
