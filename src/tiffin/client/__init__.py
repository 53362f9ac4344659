"""Client: calls of a served application over HTTP, its methods read from /schema.json; never imports the service or a worker."""
