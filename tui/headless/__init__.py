"""Commands without a screen: run, positions, plan, journal, kill, doctor."""
