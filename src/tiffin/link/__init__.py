"""Link: the connection between engine and worker: frames, the shared arena, socket and in-process ends."""
