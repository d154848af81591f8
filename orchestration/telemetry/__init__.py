"""What the service tells of itself, in the forms that others take: log, metrics, traces, audit."""
