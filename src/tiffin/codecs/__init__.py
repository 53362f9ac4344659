"""Codecs: bytes ↔ values. The front checks by the type grammar, the worker reads and writes values; no I/O but `fetch`."""
