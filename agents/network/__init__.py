"""Messages between agents, graphs and clients: mailboxes that lose nothing."""
