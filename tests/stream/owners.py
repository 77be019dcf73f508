"""Owners by the shard, of two, to which their entries go."""

OWNERS = {0: "4", 1: "0"}
