"""Web: HTTP/1.1 from the socket to the engine's port and back: protocol, routes, endpoints, responses, pages."""
