"""Messages: what may cross each wall. Structs only; never I/O."""
