"""The practice chain: real lending contracts on a local node, with a market that lives."""
