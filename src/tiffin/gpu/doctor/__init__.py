"""Doctor: ordered checks of driver, devices, containers and frameworks, each with evidence, cause and cure."""
