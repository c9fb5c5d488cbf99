"""HTTP services that make the calls of swaps. What they answer is a claim; nothing here decides anything."""
