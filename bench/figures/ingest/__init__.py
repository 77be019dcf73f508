"""How many readings the engine accepts and stores over HTTP, and how soon; and the naive service beside it."""
