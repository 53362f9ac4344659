"""Benchmarks of Tiffin against its peers; owns no code that the package imports."""
