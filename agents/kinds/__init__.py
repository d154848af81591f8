"""The kinds of agents. Each is reached through the port, and known by its module only."""
