"""Spec: a service and its types as data. Structs only; never I/O."""
