"""Who does the work: agent kinds, pools, probes, autoscaling, the message network."""
