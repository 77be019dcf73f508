"""What storing costs: drains, shards and processes, memory, disk."""
