"""full_speed.py: sends as fast as requests are answered, with wrk. clients.py: runs the load tool's pacer."""
