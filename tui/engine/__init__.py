"""The loop and its states, READ_ONLY -> WATCHING -> ARMED -> HELD; publishes views, knows no terminal."""
