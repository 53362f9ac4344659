"""A service class and all that it depends on, as one `Application`.

Owns the order and the check for circles; never imports a module.
"""

from __future__ import annotations

from tiffin.errors import SpecError
from tiffin.service.define import Definition, definition_of
from tiffin.spec.service import Application, ServiceSpec


def application_of(service: type, *, importable: bool = False) -> Application:
    """Return the application whose entry is `service`.

    Args:
        service: the decorated class. importable: other processes will import it and what it depends on.

    Raises:
        SpecError: a service cannot be served, two share a name, or they depend on each other in a circle (the path is named).
    """
    specs: dict[str, ServiceSpec] = {}
    owners: dict[str, Definition] = {}

    def add(definition: Definition, path: tuple[str, ...]) -> None:
        name = definition.name
        if name in path:
            circle = " → ".join((*path[path.index(name) :], name))
            raise SpecError(f"services depend on each other in a circle: {circle}", hint="one of them must do without")
        known = owners.get(name)
        if known is not None:
            if known.service is not definition.service:
                raise SpecError(
                    f"two services are named {name!r}: {known.target()} and {definition.target()}",
                    hint="give one another name: @tiffin.service(name=…)",
                )
            return
        for dependency in definition.dependencies().values():
            add(dependency.definition, (*path, name))
        if importable and "<locals>" in definition.target():
            raise SpecError(
                f"service {definition.service.__qualname__} is defined inside a function, where a worker cannot import it",
                hint="define it at the top level of a module, or give it a name there",
            )
        owners[name] = definition
        specs[name] = definition.spec()

    add(definition_of(service), ())
    return Application(services=tuple(specs.values()))
