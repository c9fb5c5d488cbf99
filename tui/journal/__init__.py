"""The durable record in SQLite: intents, attempts, decisions, budgets; what a restart goes on from."""
