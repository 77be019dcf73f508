"""The clients. `full_speed.py`: as fast as they are answered, with wrk. `paced.py`: at a rate, whatever the answers."""
