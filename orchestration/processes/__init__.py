"""Worker processes, in which graphs run apart from the server."""
