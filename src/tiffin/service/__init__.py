"""Service: the user's decorators, annotations and classes → `ServiceSpec`."""
